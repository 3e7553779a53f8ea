"""What a composition needs of the application of its tasks."""

from __future__ import annotations

from typing import Any, Protocol

from stem_amqp.directives.issue import Issued
from stem_amqp.directives.revocation import RevokeKeywords


class BlockingComposes(Protocol):
    """What enqueues compositions without an event loop."""

    def enqueue_composition(self, composition: Any, *, id: str | None = None) -> Any:  # noqa: A002 - the option's name
        """Enqueue a composition."""
        ...


class Composes(Protocol):
    """What enqueues compositions: a `Stem`."""

    @property
    def blocking_producer(self) -> BlockingComposes:
        """The producer for code without an event loop."""
        ...

    async def enqueue_composition(self, composition: Any, *, id: str | None = None) -> Any:  # noqa: A002 - the option's name
        """Enqueue a composition."""
        ...


class Operates(Protocol):
    """What revokes a composition, and replays its dead letters."""

    async def revoke(self, composition: str, options: RevokeKeywords) -> Issued:
        """Revoke all tasks of a composition."""
        ...

    async def replay(self, composition: str) -> int:
        """Replay the dead letters of a composition, and return their number."""
        ...
