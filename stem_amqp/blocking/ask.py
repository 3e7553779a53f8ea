"""The protocol of the producer that blocking handles and lists ask."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from stem_amqp.connected import Connected

T = TypeVar("T")


class Asks(Protocol):
    """Runs a coroutine with the connections in their thread; see `BlockingProducer.ask`."""

    def ask(
        self,
        work: Callable[[Connected], Coroutine[Any, Any, T]],
        *,
        instead: str,
        unclear: str,
        limit: float | None = None,
    ) -> T:
        """Run the coroutine, and return its result."""
        ...
