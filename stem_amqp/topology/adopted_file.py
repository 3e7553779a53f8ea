"""The text of a topology file that was made from what stands on a broker."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import yaml

from stem_amqp.topology.adopt import Adopted

_HEAD = """\
# A topology file, made from {source}.
#
# What a broker does not know: retry policies, prefetch, concurrency and routes. Add them here.
"""
_WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*|[0-9]+(?:ms|[smhdw])")
_READ_OTHERWISE = {"null", "true", "false"}


class _Dumper(yaml.SafeDumper):
    """Writes values out instead of aliases, and quotes all that YAML might read as no text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - yaml's own signature
        """Have no aliases."""
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(value) and value.lower() not in _READ_OTHERWISE
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def adopted_text(adopted: Adopted, source: str) -> str:
    """Return the file.

    Args:
        adopted: its content and the remarks.
        source: where it comes from, for the first line.
    """
    text = _HEAD.format(source=_one_line(source))
    if adopted.remarks:
        text += "#\n# Not as on the broker, or on the broker and not in this file:\n"
        for remark in adopted.remarks:
            lines = textwrap.wrap(
                _one_line(remark), _WIDTH - 4, break_long_words=False, break_on_hyphens=False
            )
            text += "# - " + "\n#   ".join(lines) + "\n"
    body = yaml.dump(
        dict(adopted.data),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=_WIDTH,
    )
    return f"{text}\n{body}"


def _one_line(text: str) -> str:
    """Keep a name with a line break in it from ending the comment."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
