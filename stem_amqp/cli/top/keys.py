"""Names the keys in the bytes of a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator

_NAMES = {
    b"\x1b[A": "up",
    b"\x1b[B": "down",
    b"\x1b[C": "right",
    b"\x1b[D": "left",
    b"\x1bOA": "up",
    b"\x1bOB": "down",
    b"\x1bOC": "right",
    b"\x1bOD": "left",
    b"\x1b[H": "home",
    b"\x1bOH": "home",
    b"\x1b[1~": "home",
    b"\x1b[F": "end",
    b"\x1bOF": "end",
    b"\x1b[4~": "end",
    b"\x1b[5~": "pageup",
    b"\x1b[6~": "pagedown",
    b"\x1b[Z": "backtab",
    b"\x1b": "escape",
    b"\r": "enter",
    b"\n": "enter",
    b"\t": "tab",
    b"\x7f": "backspace",
    b"\x08": "backspace",
    b"\x03": "ctrl-c",
}
_PART = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1bO.|\x1b|[^\x1b]", re.DOTALL)


def names(data: bytes) -> Iterator[str]:
    """Yield the name of each key, or its character; unknown keys are left out.

    Args:
        data: what the terminal sent at once.
    """
    plain = bytearray()
    for part in _PART.findall(data):
        if part not in _NAMES and not part.startswith(b"\x1b"):
            plain += part
            continue
        yield from _characters(plain)
        plain.clear()
        if part in _NAMES:
            yield _NAMES[part]
    yield from _characters(plain)


def _characters(plain: bytes | bytearray) -> Iterator[str]:
    yield from (one for one in plain.decode(errors="ignore") if one.isprintable())
