"""A batch for asynchronous code."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar

from typing_extensions import Unpack

from stem_amqp.composition.batch.members import (
    Callbacks,
    add_members,
    member_steps,
    open_batch,
    portions,
    seal_batch,
)
from stem_amqp.composition.batch.reading import (
    BatchProgress,
    handle_of,
    members_of_batch,
    progress_of,
)
from stem_amqp.composition.ending import failed_member
from stem_amqp.composition.model import Composition
from stem_amqp.composition.step import Steps
from stem_amqp.composition.tree import Tree, read_tree
from stem_amqp.connectable import Connectable
from stem_amqp.control import revoke_matching
from stem_amqp.dead_letter import replay_composition
from stem_amqp.directives.issue import Issued
from stem_amqp.directives.revocation import RevokeKeywords
from stem_amqp.results.handle import TaskHandle
from stem_amqp.states import TaskState

R = TypeVar("R")


class OpenBatch:
    """An open group: ``async with stem.batch(on_complete=done.s()) as batch: await batch.add(task.s(1))``.

    The block opens it, and keeps it from ending. After an exception it stays open: a block with the same id
    goes on. Without a block, ``stem.batch(id=…)`` adds members to a batch that another
    process has opened, and reads it.

    Args:
        app: the application, connected when a method is called.
        id: the id of the batch.
        callbacks: what follows it.
        ttl: seconds for which it is kept.
    """

    def __init__(
        self,
        app: Connectable,
        id: str,  # noqa: A002 - it is the attribute's name
        callbacks: Callbacks,
        ttl: float,
    ) -> None:
        self.id = id
        self._app = app
        self._callbacks = callbacks
        self._ttl = ttl

    async def open(self) -> None:
        """Open the batch; it may be open already, and keeps its callbacks then. `seal` ends it.

        Raises:
            ConfigurationError: the result backend cannot count groups.
            BackendUnavailableError: the backend cannot be reached.
        """
        app = self._app
        await open_batch(app.blueprint, app.connected, self.id, self._callbacks, self._ttl)

    async def __aenter__(self) -> Self:
        """Open the batch; see `open`."""
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the block, unless the block has failed."""
        if error is None:
            await self.seal()

    async def add(self, member: Composition[R], /) -> TaskHandle[R]:
        """Add a member, and enqueue it.

        Args:
            member: a link, or a chain that ends with a link.

        Returns:
            A handle of its last link.

        Raises:
            ConfigurationError: the batch is sealed, or the member cannot be one.
            ResultUnavailableError: there is no such batch (any more).
            PublishError: the broker did not take it; it counts as failed.
        """
        (handle,) = await self._add([member_steps(member, self._app)])
        return handle

    async def add_many(self, members: Iterable[Composition[R]], /) -> list[TaskHandle[R]]:
        """Add any number of members, 1,000 at a time; a generator is read as they are added.

        Args:
            members: as for `add`.

        Returns:
            The handles of their last links, in their order.

        Raises:
            StemError: as for `add`; the members before are added.
        """
        handles: list[TaskHandle[R]] = []
        for steps in portions(members, self._app):
            handles += await self._add(steps)
        return handles

    async def _add(self, steps: list[Steps]) -> list[TaskHandle[Any]]:
        app = self._app
        first = await add_members(app.blueprint, app.connected, self.id, steps)
        return [
            handle_of(self.id, index, one, lambda: app.connected.backend)
            for index, one in enumerate(steps, first)
        ]

    async def seal(self) -> None:
        """End the block: what follows runs once all members have ended, and until then members may add others.

        Sealing again is not an error, and repeats what may be missing.

        Raises:
            ResultUnavailableError: there is no such batch (any more).
            StemError: the backend or the broker cannot be reached.
        """
        await seal_batch(self._app.blueprint, self._app.connected, self.id)

    async def progress(self) -> BatchProgress:
        """Return how many members have ended: ``str`` makes ``37,412 of 100,000`` of it.

        Raises:
            ResultUnavailableError: there is no such batch (any more).
        """
        return await progress_of(self._app.connected.backend, self.id)

    async def results(self, *, failed: bool | None = None) -> AsyncIterator[Any]:
        """Yield the results of the members that have ended so far, by their index, read in pages.

        They are JSON values; a failed member is a `FailedMember`.

        Args:
            failed: True for the failed members, False for the others, None for both.

        Raises:
            ResultUnavailableError: there is no such batch (any more).
        """
        async for member in members_of_batch(self._app.connected.backend, self.id, failed):
            if member.state is TaskState.SUCCEEDED:
                yield json.loads(member.value or b"null")
            else:
                yield failed_member(member)

    async def cancel(self, **options: Unpack[RevokeKeywords]) -> Issued:
        """Revoke all tasks of the batch, also those that are added later.

        Args:
            **options: see `stem_amqp.directives.revocation.RevokeKeywords`.

        Raises:
            StemError: as for `Stem.revoke`.
        """
        app = self._app
        return await revoke_matching(app.blueprint, app.connected, composition=self.id, **options)

    async def retry_failed(self) -> int:
        """Replay the dead letters of its failed members, and return their number.

        Raises:
            BrokerError: the broker does not answer, or refuses.
        """
        return (await replay_composition(self._app, self.id)).replayed

    async def tree(self) -> Tree:
        """Return what has become of the batch, and of what follows it.

        Raises:
            ResultUnavailableError: the backend does not store it.
        """
        return await read_tree(self._app.connected.backend, self.id)

    def __repr__(self) -> str:
        return f"<OpenBatch {self.id}>"
