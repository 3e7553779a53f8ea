"""Where a task runs, as far as its dependencies need to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

Factory = Callable[..., Any]
"""Makes a dependency: a function, a generator function, or a class."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a task runs.

    Args:
        overrides: factory to the one that stands in for it.
        fill: type to the value that a factory's parameter of that type gets.
        share: returns what a worker-scoped factory has made, as an awaitable unless there is a
            ``hold``; None where there is no worker, so that it is made for the call.
        hold: makes of something asynchronous what can be entered in this thread; None where it can
            be awaited.
    """

    overrides: Mapping[Factory, Factory] = field(default_factory=dict)
    fill: Mapping[type, Any] = field(default_factory=dict)
    share: Callable[[Factory], Any] | None = None
    hold: Callable[[Any], AbstractContextManager[Any]] | None = None


_NOWHERE = Place()
_place: ContextVar[Place] = ContextVar("stem_amqp_place")


def here() -> Place:
    """Return the place of the call whose dependencies are being opened."""
    return _place.get(_NOWHERE)


class at:  # noqa: N801 - reads as a statement: with at(place)
    """Make a place the current one for a block.

    Args:
        place: the place.
    """

    __slots__ = ("_place", "_token")

    def __init__(self, place: Place) -> None:
        self._place = place

    def __enter__(self) -> None:
        self._token = _place.set(self._place)

    def __exit__(self, *exc_info: object) -> None:
        _place.reset(self._token)
