"""The dead letters of one queue: list, show, replay, purge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stem_amqp.dead_letter.browse import DeadLetterQueue
from stem_amqp.dead_letter.letter import DeadLetter
from stem_amqp.dead_letter.replay import OnEach, Replayer, ReplayReport
from stem_amqp.dead_letter.selection import ALL, Selection
from stem_amqp.durations import Rate
from stem_amqp.errors import ConfigurationError, DeadLetterNotFoundError

if TYPE_CHECKING:
    from stem_amqp.app import Stem


class DeadLetters:
    """The dead letters of one queue.

    Looking at them takes none out and changes no order, however often it is done. While someone
    looks, the letters that were handed out are not ready for another who looks at the same time.

    Args:
        app: the application, connected.
        queue: the logical queue, such as ``orders``.
    """

    def __init__(self, app: Stem, queue: str) -> None:
        self.queue = queue
        self._app = app
        self._dlq = DeadLetterQueue(app, queue)

    async def count(self) -> int:
        """Return how many dead letters are ready.

        Raises:
            TopologyMissingError: there is no such dead-letter queue; the message says which are.
        """
        return await self._dlq.count()

    async def list(
        self, selection: Selection = ALL, limit: int | None = 50
    ) -> Sequence[DeadLetter]:
        """Return dead letters, the oldest first.

        Args:
            selection: which.
            limit: so many at most; None for all that fit into memory.

        Raises:
            TopologyMissingError: there is no such dead-letter queue.
            ConfigurationError: the limit is less than 1.
        """
        _check_limit(limit)
        found: list[DeadLetter] = []
        now = self._now()
        async with self._dlq.look() as letters:
            async for _, letter in letters:
                if selection.matches(letter, now):
                    found.append(letter)
                if len(found) == limit:
                    break
        return found

    async def show(self, task_id: str) -> DeadLetter:
        """Return the oldest dead letter of a task.

        Args:
            task_id: the task's id, or what stands for it where the body cannot be read.

        Raises:
            DeadLetterNotFoundError: it has none here.
            TopologyMissingError: there is no such dead-letter queue.
        """
        found = await self.list(Selection(ids=frozenset({task_id})), limit=1)
        if not found:
            raise DeadLetterNotFoundError(
                f"task {task_id} has no dead letter in {self._dlq.name!r}\n"
                "  It may have been replayed or purged, or be in another queue's."
            )
        return found[0]

    async def replay(
        self,
        selection: Selection,
        *,
        dry_run: bool = False,
        rate: Rate | None = None,
        limit: int | None = None,
        on_each: OnEach | None = None,
    ) -> ReplayReport:
        """Give dead letters another life: the same body, attempt 0, one more replay.

        One by one and in their order, each is published to the work queue, confirmed, and only
        then taken out of the dead-letter queue; the others stay in their order. Only letters that
        were there at the beginning are replayed, so one that fails again does not go round. A
        letter whose body cannot be read is skipped unless it is chosen by its id.

        Args:
            selection: which; `ALL` for every one.
            dry_run: only count what would be replayed.
            rate: so many in so much time at most.
            limit: so many at most.
            on_each: called for each letter, with the error if it could not be replayed.

        Returns:
            What was done; also after the broker was lost on the way, which is no exception then.

        Raises:
            TopologyMissingError: there is no such dead-letter queue.
            ConfigurationError: the limit is less than 1.
        """
        _check_limit(limit)
        replayer = Replayer(
            self._app,
            self.queue,
            self._dlq,
            selection=selection,
            dry_run=dry_run,
            rate=rate,
            limit=limit,
            on_each=on_each,
        )
        return await replayer.run()

    async def purge(self, selection: Selection | None = None) -> int:
        """Drop dead letters for good.

        Args:
            selection: which; None drops the whole queue in one command.

        Returns:
            How many were dropped.

        Raises:
            TopologyMissingError: there is no such dead-letter queue.
            BrokerUnavailableError: the connection was lost; those not dropped yet are still there.
        """
        if selection is None:
            await self._dlq.count()
            return await self._app.connected.transport.purge(self._dlq.name)
        now = self._now()
        async with self._dlq.look() as letters:
            async for delivery, letter in letters:
                if selection.matches(letter, now):
                    await letters.discard(delivery)
        return letters.removed

    def _now(self) -> float:
        return self._app.connected.transport.clock.time()

    def __repr__(self) -> str:
        return f"<DeadLetters {self._dlq.name!r}>"


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ConfigurationError(f"a limit is 1 or more, not {limit}; leave it out for no limit")
