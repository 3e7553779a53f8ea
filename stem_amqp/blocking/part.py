"""A part of a blocking producer: the methods of an asynchronous object, for code that cannot await."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from stem_amqp.blocking.ask import Asks
from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected

T = TypeVar("T")
P = TypeVar("P")
P_co = TypeVar("P_co", covariant=True)


class _Makes(Protocol[P_co]):
    def __call__(
        self, blueprint: Callable[[], Blueprint], connected: Callable[[], Connected], /
    ) -> P_co: ...


class BlockingPart(Generic[P]):
    """Asks an asynchronous object in the thread of the connections.

    Args:
        producer: the producer whose connections are used.
        blueprint: returns the application's blueprint.
    """

    __slots__ = ("_blueprint", "_producer")

    _place: ClassVar[str]
    """Where an application has the object: ``stem.control``."""
    _unclear: ClassVar[str]
    """What remains uncertain if a wait is interrupted."""

    def __init__(self, producer: Asks, blueprint: Callable[[], Blueprint]) -> None:
        self._producer = producer
        self._blueprint = blueprint

    def _asked(self, make: _Makes[P], ask: Callable[[P], Coroutine[Any, Any, T]], name: str) -> T:
        """Make the object with the open connections, and ask it.

        Args:
            make: makes it.
            ask: calls its method.
            name: the method's name.
        """
        return self._producer.ask(
            lambda connected: ask(make(self._blueprint, lambda: connected)),
            instead=f"await {self._place}.{name}(…)",
            unclear=self._unclear,
        )
