"""Overlays: topology files that extend another file, such as one for each environment."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from stem_amqp.errors import TopologyError
from stem_amqp.text import UnreadableFileError, read_text
from stem_amqp.topology.file.document import Document, parse
from stem_amqp.topology.spec.mistake import Place, shown

T = TypeVar("T")

EXTENDS = "extends"
_ENDINGS = frozenset({".yaml", ".yml"})
_NAMED = frozenset(
    {"queues", "retries", "limits", "extra_queues", "exchanges", "policies", "operator_policies"}
)
"""Sections of named entries, in which a name without a value is an entry without keys."""


def read(path: str | Path) -> str:
    """Read a topology file's text.

    Raises:
        TopologyError: it cannot be read.
    """
    file = str(path)
    try:
        return read_text(path)
    except UnreadableFileError as error:
        raise TopologyError(
            f"the topology file cannot be read: {error}",
            file=f"{file:.300}",
            remedy="Check the path in STEM_TOPOLOGY or the topology setting, and the"
            " file's permissions.",
        ) from None


def compose(text: str, file: str, environment: Mapping[str, str]) -> Document:
    """Parse a YAML text and merge it over the file that it extends.

    Args:
        text: the YAML.
        file: its path.
        environment: the values of ``${NAME}``.

    Raises:
        TopologyError: one of the files cannot be read, is not YAML, or extends itself.
    """
    return _compose(text, file, environment, (Path(file).resolve(),))


def _compose(
    text: str, file: str, environment: Mapping[str, str], above: tuple[Path, ...]
) -> Document:
    document = parse(text, file, environment)
    base = document.data.get(EXTENDS) if isinstance(document.data, dict) else None
    # the model refuses any other type
    if not isinstance(base, str):
        return document
    path = Path(file).parent / base
    if path.resolve() in above:
        raise TopologyError(
            f"{path} extends itself through {file}",
            file=file,
            line=document.spot((EXTENDS,))[1],
            key=EXTENDS,
            remedy="Remove extends from one of the files.",
        )
    below = _compose(
        _text_of(path, base, document), str(path), environment, (*above, path.resolve())
    )
    if not isinstance(below.data, dict):
        raise TopologyError(
            "must be a mapping of keys to values",
            file=str(path),
            line=1,
            remedy="Begin the file with: version: 1",
        )
    return _merged(below, document)


def _text_of(path: Path, base: str, document: Document) -> str:
    # Errors quote keys and values, and must not show those of a file that is not a topology
    if not {path.suffix, path.resolve().suffix} <= _ENDINGS:
        file, line = document.spot((EXTENDS,))
        raise TopologyError(
            f"{shown(base)} does not have the name of a topology file",
            file=file,
            line=line,
            key=EXTENDS,
            remedy=f"Name a file that ends in {' or '.join(sorted(_ENDINGS))}.",
        )
    try:
        return read(path)
    except TopologyError as error:
        file, line = document.spot((EXTENDS,))
        raise TopologyError(
            f"{shown(base)}: {error.problem}",
            file=file,
            line=line,
            key=EXTENDS,
            remedy=f"The path is relative to this file: looked for {path}.",
        ) from None


def _merged(below: Document, over: Document) -> Document:
    """Merge one file over another, key by key."""
    replaced: set[Place] = set()

    def merge(under: Any, upper: Any, place: Place) -> Any:
        if isinstance(under, dict) and isinstance(upper, dict):
            merged = dict(under)
            for key, value in upper.items():
                inner = (*place, key)
                merged[key] = merge(under[key], value, inner) if key in under else value
            return merged
        if upper is None and _is_section(place):
            return under
        replaced.add(place)
        return upper

    own = {key: value for key, value in over.data.items() if key != EXTENDS}
    base = {key: value for key, value in below.data.items() if key != EXTENDS}
    data = merge(base, own, ())
    return Document(
        data=data,
        positions=_without(below.positions, replaced) | dict(over.positions),
        mistakes=(*over.mistakes, *below.mistakes),
        variables=_without(below.variables, replaced) | dict(over.variables),
        files=(*over.files, *below.files),
    )


def _without(known: Mapping[Place, T], replaced: Collection[Place]) -> dict[Place, T]:
    """Return the entries whose place is not inside of a replaced one."""
    return {
        place: what
        for place, what in known.items()
        if not any(place[:length] in replaced for length in range(len(place) + 1))
    }


def _is_section(place: Place) -> bool:
    """Return whether a key without a value means an empty mapping, instead of turning something off."""
    if len(place) == 1:
        return place[0] in {*_NAMED, "defaults", "bindings", "routes"}
    return len(place) == 2 and place[0] in _NAMED  # noqa: PLR2004 - a section and a name
