"""From the YAML file to the model; every mistake in it is reported, in one go."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stem_amqp.errors import TopologyError
from stem_amqp.topology.document import Document
from stem_amqp.topology.explain import described, mistake_of, place_of
from stem_amqp.topology.mistake import Mistake, Place, dotted
from stem_amqp.topology.model import Topology
from stem_amqp.topology.overlay import compose, read
from stem_amqp.topology.variables import concealed


def load_topology(path: str | Path, environment: Mapping[str, str] | None = None) -> Topology:
    """Read a topology file, and those that it extends.

    Args:
        path: the YAML file.
        environment: what ``${NAME}`` in values stands for; default: the process's environment.

    Returns:
        The topology.

    Raises:
        TopologyError: a file cannot be read, or has mistakes: all of them are in the text, and
            the first one is in the error's ``line`` and ``key``.
    """
    return parse_topology(read(path), str(path), environment)


def parse_topology(
    text: str, file: str = "topology.yaml", environment: Mapping[str, str] | None = None
) -> Topology:
    """Read a topology from a YAML text.

    Args:
        text: the YAML.
        file: its path; what it extends is looked for beside it.
        environment: what ``${NAME}`` in values stands for; default: the process's environment.

    Raises:
        TopologyError: as for `load_topology`.
    """
    document = compose(text, file, os.environ if environment is None else environment)
    topology, found = _validate(document.data)
    # the reference itself is refused, and what stands for it is of no interest
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
    # What is right for itself may still not fit together, which the model looks at only when each
    # part is right: so look again without the wrong parts.
    rest, kept = _without(data, [place_of(details) for details in first])
    try:
        Topology.model_validate(rest)
    except ValidationError as error:
        wrong = {m.place[:-1] for m, d in zip(mistakes, first, strict=True) if _judges_others(d)}
        mistakes += [
            mistake
            for mistake in map(mistake_of, _at_home(error.errors(include_url=False), kept))
            if mistake.place not in {m.place for m in mistakes}
            and not any(mistake.place[: len(place)] == place for place in wrong)
        ]
    return None, mistakes


def _hides_names(details: ErrorDetails) -> bool:
    """Say whether queues, exchanges or retries are so wrong that what refers to them cannot be judged."""
    place = details["loc"]
    whole = len(place) <= 2  # noqa: PLR2004 - the section, or one entry of it
    return whole and place[:1] in {("queues",), ("extra_queues",), ("exchanges",), ("retries",)}


def _judges_others(details: ErrorDetails) -> bool:
    """Say whether other keys are judged by a wrong one, and so cannot be judged yet."""
    judges = {"type", "base", "max", "min", "external", "apply_to", "settings", "namespace"}
    return details["type"] != "extra_forbidden" and details["loc"][-1] in judges


def _without(data: Mapping[str, Any], places: Iterable[Place]) -> tuple[Any, dict[str, list[int]]]:
    """Return the data without the wrong parts, and which entries of each list are left."""
    gone = set(places)

    def copy(value: Any, place: Place) -> Any:
        if isinstance(value, Mapping):
            return {k: copy(v, (*place, k)) for k, v in value.items() if (*place, k) not in gone}
        if isinstance(value, list):
            return [
                copy(item, (*place, index))
                for index, item in enumerate(value)
                # an entry of a list says one thing: without a part of it, it says another
                if not any(wrong[: len(place) + 1] == (*place, index) for wrong in gone)
            ]
        return value

    kept = {
        key: [i for i in range(len(value)) if not any(w[:2] == (key, i) for w in gone)]
        for key, value in data.items()
        if isinstance(value, list)
    }
    return copy(data, ()) | {"version": 1}, kept


def _at_home(errors: list[ErrorDetails], kept: Mapping[str, list[int]]) -> list[ErrorDetails]:
    """Give list entries the positions back that they have in the file."""
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
