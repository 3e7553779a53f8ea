"""Enqueue compositions from blocking code."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar, overload

from typing_extensions import Unpack

from stem_amqp.blueprint import Blueprint
from stem_amqp.composition.batch.blocking import BlockingBatch
from stem_amqp.composition.batch.members import Callbacks
from stem_amqp.composition.blocking import BlockingChainHandle, BlockingGroupHandle
from stem_amqp.composition.compile import end_id
from stem_amqp.composition.enqueue import begin, composition_id, current_lineage
from stem_amqp.composition.handle import ChainHandle
from stem_amqp.composition.handles import GroupHandle
from stem_amqp.composition.model import Composition, Group, Partial, check_enqueuable
from stem_amqp.composition.operations import Operations
from stem_amqp.composition.part import Part
from stem_amqp.connected import Connected
from stem_amqp.dead_letter import ConnectedApplication
from stem_amqp.directives.issue import Issued
from stem_amqp.directives.revocation import RevokeAllKeywords
from stem_amqp.durations import Duration
from stem_amqp.messages.links import DEFAULT_TTL
from stem_amqp.producer.linking.batches import BatchSummary
from stem_amqp.tasks.failed import FailedMember
from stem_amqp.tasks.option_values import positive

R = TypeVar("R")
T = TypeVar("T")


class Application(Protocol):
    """An application, as far as a blocking producer uses it."""

    @property
    def blueprint(self) -> Blueprint:
        """The current blueprint."""
        ...

    def in_memory(self) -> tuple[asyncio.AbstractEventLoop, Connected] | None:
        """Return event loop and connections if the in-memory broker is in use, else None."""
        ...


class BlockingComposer:
    """The part of a blocking producer that enqueues compositions."""

    _app: Application

    @property
    @abstractmethod
    def timeout(self) -> float:
        """Seconds that a call may take, connecting included."""

    @abstractmethod
    def ask(
        self,
        work: Callable[[Connected], Coroutine[Any, Any, T]],
        *,
        instead: str,
        unclear: str,
        limit: float | None = None,
    ) -> T:
        """Run a coroutine with the connections in their thread, and return its result."""

    @abstractmethod
    def revoke_all(self, **options: Unpack[RevokeAllKeywords]) -> Issued:
        """Revoke all tasks that match."""

    def batch(
        self,
        *,
        on_complete: Partial[BatchSummary, Any] | Composition[Any] | None = None,
        on_success: Partial[BatchSummary, Any] | Composition[Any] | None = None,
        on_failure: Partial[FailedMember, Any] | Composition[Any] | None = None,
        id: str | None = None,  # noqa: A002 - as task_id
        ttl: Duration = DEFAULT_TTL,
    ) -> BlockingBatch:
        """Return an open group: ``with producer.batch(…) as batch:``; see `Stem.batch`.

        Args:
            on_complete: runs once all members have ended.
            on_success: runs once all members have succeeded.
            on_failure: runs after the first failure.
            id: the id of the batch; None: a new one.
            ttl: how long it is kept.

        Raises:
            ConfigurationError: the id, a callback or the ttl cannot be used.
            ArgumentsError: a callback cannot take what it gets.
        """
        callbacks = Callbacks.of(
            {"on_complete": on_complete, "on_success": on_success, "on_failure": on_failure},
            self._app,
        )
        own, kept = composition_id(id), positive("ttl", ttl)
        return BlockingBatch(
            self, self._app, self._app.blueprint, own, callbacks=callbacks, ttl=kept
        )

    @overload
    def enqueue_composition(
        self,
        composition: Group[R],
        *,
        id: str | None = None,
    ) -> BlockingGroupHandle[R]: ...
    @overload
    def enqueue_composition(
        self,
        composition: Composition[R],
        *,
        id: str | None = None,
    ) -> BlockingChainHandle[R]: ...
    def enqueue_composition(
        self,
        composition: Any,
        *,
        id: str | None = None,  # noqa: A002 - as task_id
    ) -> Any:
        """Enqueue a composition, and wait until the broker has confirmed its first links.

        Args:
            composition: a chain, a group or a link.
            id: the id of the composition; None: a new one.

        Returns:
            A handle to wait for the result with.

        Raises:
            PublishTimeoutError: the time was not enough; some links may have been sent.
            StemError: as for `stem_amqp.composition.model.Composition.enqueue`, or an event loop runs in
                this thread.
        """
        app: Any = self._app
        part: Part = check_enqueuable(composition, app)
        own, lineage = composition_id(id), current_lineage()
        blueprint = self._app.blueprint

        async def work(connected: Connected) -> None:
            await begin(blueprint, connected, part.steps, own, lineage)

        windows = 2 + _first_links(part) // blueprint.settings.publish_window
        self.ask(
            work,
            instead="await composition.enqueue()",
            unclear=f"of composition {own} any number of links may have been sent",
            limit=self.timeout * windows,
        )
        grouped = isinstance(part, Group)
        asynchronous = GroupHandle if grouped else ChainHandle

        def make(connected: Connected) -> ChainHandle[Any]:
            operations = Operations(ConnectedApplication(blueprint, connected))
            return asynchronous(own, part.steps, lambda: connected.backend, operations)

        return (BlockingGroupHandle if grouped else BlockingChainHandle)(
            self, make, own, self.revoke_all, end_id(own, part.steps)
        )


def _first_links(part: Part) -> int:
    """Return about how many links are published at first."""
    return len(getattr(part.steps[0], "branches", ())) if part.steps else 0
