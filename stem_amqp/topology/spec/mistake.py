"""Mistakes in a topology file: the place, the problem and the remedy."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from stem_amqp.settings import NAME, NAME_LIMIT
from stem_amqp.topology.names import collides

Place: TypeAlias = tuple[str | int, ...]
"""The path of a key: keys of mappings and positions in lists."""
OWN = "topology"
"""The type of pydantic errors that contain a problem and a remedy."""
_SHOWN = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """One mistake.

    Args:
        place: the path of the key.
        problem: the problem.
        remedy: what to write instead.
        line: its line, if it differs from the key's.
        file: the file of that line.
    """

    place: Place
    problem: str
    remedy: str
    line: int | None = None
    file: str | None = None


def dotted(place: Place) -> str:
    """Format a place for messages: ``queues.orders.prefetch``, ``bindings[0].key``."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            # a name with dots is quoted, so that it does not look like several keys
            text += f".{part}" if part.replace(".", " ").split() == [part] else f'."{part}"'
    return text.removeprefix(".")


def shown(value: Any) -> str:
    """Format a value as in a YAML file, truncated if it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean …?``, or an empty string if no known word is similar."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def wrong(problem: str, remedy: str) -> PydanticCustomError:
    """Return the error that a validator raises about its value."""
    return PydanticCustomError(OWN, "{problem}", {"problem": problem, "remedy": remedy})


def refusal(title: str, mistakes: Iterable[Mistake]) -> ValidationError:
    """Return the error that a model's validator raises about several keys."""
    return ValidationError.from_exception_data(
        title,
        [
            InitErrorDetails(
                type=wrong(mistake.problem, mistake.remedy), loc=mistake.place, input=None
            )
            for mistake in mistakes
        ],
    )


def queue_name_mistake(name: str, place: Place) -> Mistake | None:
    """Return the mistake in the name of a logical queue, or None."""
    if not NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        return Mistake(
            place=place,
            problem=f"{shown(name)} is not a valid queue name",
            remedy="Use dotted words of letters, digits, '_' and '-', such as billing.eu, at most"
            f" {NAME_LIMIT} characters.",
        )
    if collides(name):
        return Mistake(
            place=place,
            problem=f"the queue name {name} is reserved for stem-amqp's exchanges and queues",
            remedy="Choose another name. Reserved are tasks, dead, deliver, unroutable, control, events,"
            " reply, group, delay and names that begin with zz-, alone or as the first word, and the"
            " endings .dlq, .v2, .v3 and so on.",
        )
    return None
