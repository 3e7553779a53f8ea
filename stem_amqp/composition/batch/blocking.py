"""A batch for code without an event loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from typing_extensions import Unpack

from stem_amqp.blocking.handle import BlockingHandle
from stem_amqp.blueprint import Blueprint
from stem_amqp.composition.batch.members import (
    Callbacks,
    add_members,
    member_steps,
    open_batch,
    portions,
    seal_batch,
)
from stem_amqp.composition.batch.reading import (
    PAGE,
    BatchProgress,
    group_of,
    handle_of,
    progress_of,
)
from stem_amqp.composition.ending import failed_member
from stem_amqp.composition.model import Composition
from stem_amqp.composition.step import Steps
from stem_amqp.composition.tree import Tree, read_tree
from stem_amqp.connected import Connected
from stem_amqp.context.context import current_or_none, entered
from stem_amqp.dead_letter import ConnectedApplication, replay_composition
from stem_amqp.directives.issue import Issued
from stem_amqp.directives.revocation import RevokeAllKeywords, RevokeKeywords
from stem_amqp.producer.linking.batches import OPENER
from stem_amqp.results.groups.model import MemberRecord
from stem_amqp.results.handle import TaskHandle
from stem_amqp.states import TaskState

R = TypeVar("R")
T = TypeVar("T")


class Producer(Protocol):
    """What a batch needs of a `BlockingProducer`."""

    @property
    def timeout(self) -> float:
        """Seconds that a call may take, connecting included."""
        ...

    def ask(
        self,
        work: Callable[[Connected], Coroutine[Any, Any, T]],
        *,
        instead: str,
        unclear: str,
        limit: float | None = None,
    ) -> T:
        """Run a coroutine with the connections in their thread, and return its result."""
        ...

    def revoke_all(self, **options: Unpack[RevokeAllKeywords]) -> Issued:
        """Revoke all tasks that match."""
        ...


class BlockingBatch:
    """An open group; see `stem_amqp.composition.batch.opened.OpenBatch`.

    Args:
        producer: the producer whose connections it uses.
        app: the application of its tasks.
        blueprint: what the application is made of.
        id: the id of the batch.
        callbacks: what follows it.
        ttl: seconds for which it is kept.
    """

    def __init__(
        self,
        producer: Producer,
        app: Any,
        blueprint: Blueprint,
        id: str,  # noqa: A002 - it is the attribute's name
        *,
        callbacks: Callbacks,
        ttl: float,
    ) -> None:
        self.id = id
        self._producer = producer
        self._app = app
        self._blueprint = blueprint
        self._callbacks = callbacks
        self._ttl = ttl

    def open(self) -> None:
        """Open the batch; it may be open already, and keeps its callbacks then. `seal` ends it.

        Raises:
            StemError: as for `OpenBatch`, or an event loop runs in this thread.
        """
        self._ask(
            lambda connected: open_batch(
                self._blueprint, connected, self.id, self._callbacks, self._ttl
            ),
            "async with stem.batch(…)",
        )

    def __enter__(self) -> Self:
        """Open the batch; see `open`."""
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Seal the batch, unless the block has failed."""
        if error is None:
            self.seal()

    def add(self, member: Composition[R], /) -> BlockingHandle[R]:
        """Add a member, and enqueue it; see `OpenBatch.add`.

        Args:
            member: a link, or a chain that ends with a link.
        """
        (handle,) = self._add([member_steps(member, self._app)])
        return handle

    def add_many(self, members: Iterable[Composition[R]], /) -> list[BlockingHandle[R]]:
        """Add any number of members, 1,000 at a time; see `OpenBatch.add_many`.

        Args:
            members: as for `add`.
        """
        return [handle for steps in portions(members, self._app) for handle in self._add(steps)]

    def _add(self, steps: list[Steps]) -> list[BlockingHandle[Any]]:
        windows = 1 + len(steps) // self._blueprint.settings.publish_window
        first = self._ask(
            lambda connected: add_members(self._blueprint, connected, self.id, steps),
            "await batch.add(…)",
            limit=self._producer.timeout * windows,
        )
        return [self._handle(index, one) for index, one in enumerate(steps, first)]

    def _handle(self, index: int, steps: Steps) -> BlockingHandle[Any]:
        def make(connected: Connected) -> TaskHandle[Any]:
            return handle_of(self.id, index, steps, lambda: connected.backend)

        known = handle_of(self.id, index, steps, _none)
        return BlockingHandle(self._producer, make, id=known.id, task=known.task, queue=known.queue)

    def seal(self) -> None:
        """Let nobody add members any more; see `OpenBatch.seal`."""
        self._ask(
            lambda connected: seal_batch(self._blueprint, connected, self.id), "await batch.seal()"
        )

    def progress(self) -> BatchProgress:
        """Return how many members have ended; see `OpenBatch.progress`."""
        return self._ask(
            lambda connected: progress_of(connected.backend, self.id), "await batch.progress()"
        )

    def results(self, *, failed: bool | None = None) -> Iterator[Any]:
        """Yield the results of the members that have ended so far; see `OpenBatch.results`.

        Args:
            failed: True for the failed members, False for the others, None for both.
        """
        after = OPENER
        while True:
            page = self._page(after, failed)
            for member in page:
                if member.state is TaskState.SUCCEEDED:
                    yield json.loads(member.value or b"null")
                else:
                    yield failed_member(member)
            if len(page) < PAGE:
                return
            after = page[-1].index

    def _page(self, after: int, failed: bool | None) -> list[MemberRecord]:
        return self._ask(
            lambda connected: connected.backend.group_members(
                group_of(self.id), after=after, limit=PAGE, failed=failed
            ),
            "async for result in batch.results()",
        )

    def cancel(self, **options: Unpack[RevokeKeywords]) -> Issued:
        """Revoke all tasks of the batch, also those that are added later; see `OpenBatch.cancel`."""
        return self._producer.revoke_all(composition=self.id, **options)

    def retry_failed(self) -> int:
        """Replay the dead letters of its failed members, and return their number."""

        async def replay(connected: Connected) -> int:
            application = ConnectedApplication(self._blueprint, connected)
            return (await replay_composition(application, self.id)).replayed

        return self._ask(replay, "await batch.retry_failed()")

    def tree(self) -> Tree:
        """Return what has become of the batch, and of what follows it; see `OpenBatch.tree`."""
        return self._ask(
            lambda connected: read_tree(connected.backend, self.id), "await batch.tree()"
        )

    def _ask(
        self,
        work: Callable[[Connected], Coroutine[Any, Any, T]],
        instead: str,
        limit: float | None = None,
    ) -> T:
        context = current_or_none()

        async def asked(connected: Connected) -> T:
            if context is None:
                return await work(connected)
            with entered(context):  # the connections are in another thread
                return await work(connected)

        return self._producer.ask(
            asked,
            instead=instead,
            unclear=f"batch {self.id} may have been changed",
            limit=limit,
        )

    def __repr__(self) -> str:
        return f"<BlockingBatch {self.id}>"


def _none() -> Any:
    raise RuntimeError("this handle has an id only")
