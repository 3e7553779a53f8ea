"""Write the text of an adopted topology file."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from typing import Any

import yaml

from stem_amqp.topology.adopt.topology import Adopted

_HEAD = """\
# A topology file, created from {source}.
#
# A broker does not store retry policies, prefetch, concurrency and routes. Add them here.
"""
_WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*|[0-9]+(?:ms|[smhdw])")
_READ_OTHERWISE = {"null", "true", "false"}


class _Dumper(yaml.SafeDumper):
    """Writes values instead of aliases, and quotes strings that YAML would read as another type."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - yaml's own signature
        """Write no aliases."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(value) and value.lower() not in _READ_OTHERWISE
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def adopted_text(adopted: Adopted, source: str) -> str:
    """Return the text of the file.

    Args:
        adopted: its content and the remarks.
        source: the source, for the first line.
    """
    text = _HEAD.format(source=_one_line(source))
    if adopted.remarks:
        text += "#\n# Differences from the broker, and entities that are not in this file:\n"
        for remark in adopted.remarks:
            lines = textwrap.wrap(
                _one_line(remark), _WIDTH - 4, break_long_words=False, break_on_hyphens=False
            )
            text += "# - " + "\n#   ".join(lines) + "\n"
    body = yaml.dump(
        {key: _unsubstituted(value) for key, value in adopted.data.items()},
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=_WIDTH,
    )
    return f"{text}\n{body}"


def _unsubstituted(value: Any) -> Any:
    """Escape text that would be read as an environment variable."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, Mapping):
        return {key: _unsubstituted(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_unsubstituted(inner) for inner in value]
    return value


def _one_line(text: str) -> str:
    """Replace control characters, so that a name with a line break cannot end the comment."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
