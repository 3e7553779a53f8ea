r"""Escape untrusted text for a terminal, a log line and JSON.

Text from a message, a task's error or a broker may contain escape sequences that control a terminal,
line ends that forge a log line, and marks that reverse the direction of writing. They are shown as
escapes such as ``\x1b``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import orjson

from stem_amqp.messages.headers import as_text

LONGEST = 100_000
"""The most characters of a text that are shown."""
_JOINERS = "\u200c\u200d"
"""Harmless format characters: parts of emoji and of Persian words."""
_SUSPECT = re.compile(f"[^ -~\u00a1-\u00ac\u00ae-\u034f{_JOINERS}]")
"""Characters that need a check: all but the most common ones."""
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LATIN, _ASTRAL = 0x100, 0x10000


def one_line(text: str, limit: int = LONGEST) -> str:
    """Return a text as one line, with control characters escaped.

    Args:
        text: the text.
        limit: the most characters that are shown.
    """
    return _SUSPECT.sub(_escaped, _cut(text, limit))


def indented(text: str, indent: str, limit: int = LONGEST) -> str:
    """Return a text of several lines, indented so that no line looks like the program's own output.

    Tabs become blanks; control characters are escaped.

    Args:
        text: the text, such as a traceback.
        indent: the prefix of each line after the first.
        limit: the most characters that are shown.
    """
    lines = _cut(text, limit).expandtabs().splitlines()
    return f"\n{indent}".join(_SUSPECT.sub(_escaped, line) for line in lines)


def escaped_lines(text: str) -> str:
    """Return a text with line ends unchanged and other control characters escaped."""
    return _SUSPECT.sub(lambda match: "\n" if match[0] == "\n" else _escaped(match), text)


def json_text(document: Any, *, indent: bool = False) -> str:
    """Write JSON for a terminal: control characters are written as JSON escapes.

    Args:
        document: JSON values, dataclasses, and other objects, which are written by ``str``.
        indent: write several lines.
    """
    option = orjson.OPT_NON_STR_KEYS | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        data = orjson.dumps(document, default=str, option=option)
    except TypeError:  # a lone surrogate, or nested too deep
        data = orjson.dumps(_writable(document, 64), default=str, option=option)
    return _SUSPECT.sub(lambda m: "\n" if m[0] == "\n" else _json_escaped(m), data.decode())


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … ({len(text) - limit} characters more)"


def _harmless(character: str) -> bool:
    # Blanks other than the plain one are not "printable", but harmless
    return character.isprintable() or character in _JOINERS or character in "\u00a0\u3000"


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if _harmless(character):
        return character
    code = ord(character)
    if code < _LATIN:
        return _SHORT.get(character) or f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < _ASTRAL else f"\\U{code:08x}"


def _json_escaped(match: re.Match[str]) -> str:
    character = match[0]
    if _harmless(character):
        return character
    code = ord(character)
    if code < _ASTRAL:
        return f"\\u{code:04x}"
    high, low = divmod(code - _ASTRAL, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def _writable(value: Any, depth: int) -> Any:
    """Return JSON values with lone surrogates escaped and too deep values replaced by an ellipsis."""
    if isinstance(value, str):
        return as_text(value)
    if depth <= 0:
        return "…"
    if isinstance(value, Mapping):
        return {as_text(str(k)): _writable(v, depth - 1) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_writable(item, depth - 1) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _writable(getattr(value, f.name), depth - 1) for f in fields(value)}
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return as_text(str(value))
