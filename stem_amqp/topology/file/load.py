"""Load a topology from a YAML file; report all mistakes in it at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stem_amqp.errors import TopologyError
from stem_amqp.topology.file.document import Document
from stem_amqp.topology.file.explain import described, mistake_of, place_of
from stem_amqp.topology.file.overlay import compose, read
from stem_amqp.topology.file.variables import concealed
from stem_amqp.topology.model import Topology
from stem_amqp.topology.spec.mistake import Mistake, Place, dotted


def load_topology(path: str | Path, environment: Mapping[str, str] | None = None) -> Topology:
    """Read a topology file, and those that it extends.

    Args:
        path: the YAML file.
        environment: the values of ``${NAME}``; default: the process's environment.

    Returns:
        The topology.

    Raises:
        TopologyError: a file cannot be read, or has mistakes. The text lists all of them; the error's
            ``line`` and ``key`` are those of the first one.
    """
    return parse_topology(read(path), str(path), environment)


def parse_topology(
    text: str, file: str = "topology.yaml", environment: Mapping[str, str] | None = None
) -> Topology:
    """Read a topology from a YAML text.

    Args:
        text: the YAML.
        file: its path; an extended file is found relative to it.
        environment: the values of ``${NAME}``; default: the process's environment.

    Raises:
        TopologyError: as for `load_topology`.
    """
    document = compose(text, file, os.environ if environment is None else environment)
    topology, found = _validate(document.data)
    # a reference to an unset variable is reported; its placeholder is not
    unset = {mistake.place for mistake in document.mistakes}
    mistakes = [*document.mistakes, *(m for m in found if m.place not in unset)]
    if topology is None or mistakes:
        raise _error(document, mistakes)
    return topology


def _validate(data: Any) -> tuple[Topology | None, list[Mistake]]:
    try:
        return Topology.model_validate(data), []
    except ValidationError as error:
        first = error.errors(include_url=False)
    mistakes = [mistake_of(details) for details in first]
    if not isinstance(data, Mapping) or any(map(_hides_names, first)):
        return None, mistakes
    # The model checks how parts fit together only if each part is valid, so validate again without
    # the invalid parts.
    rest, kept = _without(data, [place_of(details) for details in first])
    try:
        Topology.model_validate(rest)
    except ValidationError as error:
        wrong = {
            m.place[:-1] for m, d in zip(mistakes, first, strict=True) if _blocks_other_checks(d)
        }
        mistakes += [
            mistake
            for mistake in map(
                mistake_of, _with_original_indices(error.errors(include_url=False), kept)
            )
            if mistake.place not in {m.place for m in mistakes}
            and not any(mistake.place[: len(place)] == place for place in wrong)
        ]
    return None, mistakes


def _hides_names(details: ErrorDetails) -> bool:
    """Return whether queues, exchanges, retries or limits are too invalid to check references to them."""
    place = details["loc"]
    whole = len(place) <= 2  # noqa: PLR2004 - the section, or one entry of it
    return whole and place[:1] in {
        ("queues",),
        ("extra_queues",),
        ("exchanges",),
        ("retries",),
        ("limits",),
    }


def _blocks_other_checks(details: ErrorDetails) -> bool:
    """Return whether other keys depend on an invalid key, so that they cannot be checked."""
    place = details["loc"]
    if place[0] == "schedules" and place[2:]:  # a key of one schedule
        return True
    blocking = {"type", "base", "max", "min", "external", "apply_to", "settings", "namespace"}
    return details["type"] != "extra_forbidden" and place[-1] in blocking


def _without(data: Mapping[str, Any], places: Iterable[Place]) -> tuple[Any, dict[str, list[int]]]:
    """Return the data without the invalid parts, and the indices of the remaining list entries."""
    gone = set(places)

    def copy(value: Any, place: Place) -> Any:
        if isinstance(value, Mapping):
            return {k: copy(v, (*place, k)) for k, v in value.items() if (*place, k) not in gone}
        if isinstance(value, list):
            return [
                copy(item, (*place, index))
                for index, item in enumerate(value)
                # without one of its parts, a list entry would have another meaning
                if not any(wrong[: len(place) + 1] == (*place, index) for wrong in gone)
            ]
        return value

    kept = {
        key: [i for i in range(len(value)) if not any(w[:2] == (key, i) for w in gone)]
        for key, value in data.items()
        if isinstance(value, list)
    }
    return copy(data, ()) | {"version": 1}, kept


def _with_original_indices(
    errors: list[ErrorDetails], kept: Mapping[str, list[int]]
) -> list[ErrorDetails]:
    """Restore the positions of list entries in the file."""
    for details in errors:
        match details["loc"]:
            case (str(key), int(index), *rest) if key in kept:
                details["loc"] = (key, kept[key][index], *rest)
    return errors


def _error(document: Document, mistakes: Iterable[Mistake]) -> TopologyError:
    def spot(mistake: Mistake) -> tuple[str, int]:
        file, line = document.spot(mistake.place)
        return mistake.file or file, mistake.line or line

    def order(mistake: Mistake) -> tuple[int, int]:
        file, line = spot(mistake)
        return document.files.index(file), line

    hidden = [concealed(m, document.variables, described(m.place)) for m in mistakes]
    first, *more = sorted(hidden, key=order)

    def error(mistake: Mistake, more: Iterable[TopologyError] = ()) -> TopologyError:
        file, line = spot(mistake)
        return TopologyError(
            mistake.problem,
            file=file,
            line=line,
            key=dotted(mistake.place) or None,
            remedy=mistake.remedy,
            more=tuple(more),
        )

    return error(first, (error(mistake) for mistake in more))
