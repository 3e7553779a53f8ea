"""Files that extend another one: the environments of one topology."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stem_amqp.errors import TopologyError
from stem_amqp.topology.document import Document, parse
from stem_amqp.topology.mistake import Place, shown

EXTENDS = "extends"
_NAMED = frozenset(
    {"queues", "retries", "extra_queues", "exchanges", "policies", "operator_policies"}
)
"""Sections of named entries, in which a name with nothing behind it is an entry without keys."""


def read(path: str | Path) -> str:
    """Read a topology file's text.

    Raises:
        TopologyError: it cannot be read.
    """
    file = str(path)
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise TopologyError(
            f"the topology file cannot be read: {error.strerror or error}",
            file=file,
            remedy="Check the path, which STEM_TOPOLOGY or the topology setting gives, and the"
            " file's permissions.",
        ) from None
    except UnicodeDecodeError as error:
        raise TopologyError(
            f"the topology file is not UTF-8: {error.reason} at byte {error.start}",
            file=file,
            remedy="Save it as UTF-8.",
        ) from None


def compose(text: str, file: str, environment: Mapping[str, str]) -> Document:
    """Read a YAML text, and lay it over what it extends.

    Args:
        text: the YAML.
        file: its path.
        environment: what ``${NAME}`` in values stands for.

    Raises:
        TopologyError: one of the files cannot be read, is no YAML, or extends itself.
    """
    return _compose(text, file, environment, (Path(file).resolve(),))


def _compose(
    text: str, file: str, environment: Mapping[str, str], above: tuple[Path, ...]
) -> Document:
    document = parse(text, file, environment)
    base = document.data.get(EXTENDS) if isinstance(document.data, dict) else None
    # anything but a text is refused by the model, as any wrong value is
    if not isinstance(base, str):
        return document
    path = Path(file).parent / base
    if path.resolve() in above:
        raise TopologyError(
            f"{path} extends itself, by way of {file}",
            file=file,
            line=document.spot((EXTENDS,))[1],
            key=EXTENDS,
            remedy="Let one of the files stand for itself.",
        )
    below = _compose(
        _text_of(path, base, document), str(path), environment, (*above, path.resolve())
    )
    if not isinstance(below.data, dict):
        raise TopologyError(
            f"must be a mapping, not {shown(below.data)}",
            file=str(path),
            line=1,
            remedy="Begin the file with: version: 1",
        )
    return _laid(below, document)


def _text_of(path: Path, base: str, document: Document) -> str:
    try:
        return read(path)
    except TopologyError as error:
        file, line = document.spot((EXTENDS,))
        raise TopologyError(
            f"{shown(base)}: {error.problem}",
            file=file,
            line=line,
            key=EXTENDS,
            remedy=f"The path is relative to this file: {path} was looked for.",
        ) from None


def _laid(below: Document, over: Document) -> Document:
    """Lay one file over another, key by key."""
    spots, variables = dict(below.spots), dict(below.variables)

    def merge(under: Any, upper: Any, place: Place) -> Any:
        if isinstance(under, dict) and isinstance(upper, dict):
            merged = dict(under)
            for key, value in upper.items():
                inner = (*place, key)
                merged[key] = merge(under[key], value, inner) if key in under else value
            return merged
        if upper is None and _is_section(place):
            return under
        for old in [old for old in spots if old[: len(place)] == place]:
            del spots[old]
        for old in [old for old in variables if old[: len(place)] == place]:
            del variables[old]
        return upper

    own = {key: value for key, value in over.data.items() if key != EXTENDS}
    base = {key: value for key, value in below.data.items() if key != EXTENDS}
    data = merge(base, own, ())
    return Document(
        data=data,
        spots=spots | dict(over.spots),
        mistakes=(*over.mistakes, *below.mistakes),
        variables=variables | dict(over.variables),
        files=(*over.files, *below.files),
    )


def _is_section(place: Place) -> bool:
    """Say whether nothing behind a key means no keys, and not that something is turned off."""
    if len(place) == 1:
        return place[0] in {*_NAMED, "defaults", "bindings", "routes"}
    return len(place) == 2 and place[0] in _NAMED  # noqa: PLR2004 - a section and a name
