"""A mistake in a topology: where it is, what is wrong and what to write instead."""

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
"""The way to a key: names of mappings, positions in lists."""
OWN = "topology"
"""The type of the pydantic errors that carry a `Mistake`."""
_SHOWN = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """One mistake.

    Args:
        place: where.
        problem: what is wrong.
        remedy: what to write instead.
        line: its line, if it is not the key's own.
        file: the file that the line is of.
    """

    place: Place
    problem: str
    remedy: str
    line: int | None = None
    file: str | None = None


def dotted(place: Place) -> str:
    """Write a place as people do: ``queues.orders.prefetch``, ``bindings[0].key``."""
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            # a name with dots would read as several keys
            text += f".{part}" if part.replace(".", " ").split() == [part] else f'."{part}"'
    return text.removeprefix(".")


def shown(value: Any) -> str:
    """Write a value as it stands in a YAML file, cut if it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean …?``, or nothing if no known word is like it."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def wrong(problem: str, remedy: str) -> PydanticCustomError:
    """Return what a validator raises about its own value."""
    return PydanticCustomError(OWN, "{problem}", {"problem": problem, "remedy": remedy})


def refusal(title: str, mistakes: Iterable[Mistake]) -> ValidationError:
    """Return what a model's validator raises about several of its keys."""
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
    """Return what is wrong with the name of a logical queue, if anything is."""
    if not NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        return Mistake(
            place=place,
            problem=f"{shown(name)} is no queue name",
            remedy="Use dotted words of letters, digits, '_' and '-', such as billing.eu, at most"
            f" {NAME_LIMIT} characters.",
        )
    if collides(name):
        return Mistake(
            place=place,
            problem=f"the queue name {name} is taken by stem-amqp's own exchanges and queues",
            remedy="Choose another one; tasks, dead, deliver, unroutable, control, events, reply,"
            " group and delay, alone or as the first word, and the endings .dlq, .v2, .v3 and so on are"
            " taken.",
        )
    return None
