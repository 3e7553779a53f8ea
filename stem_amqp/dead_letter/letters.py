"""The dead letters of one queue: list, show, replay, purge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from stem_amqp.dead_letter.browse import DeadLetterQueue
from stem_amqp.dead_letter.letter import DeadLetter
from stem_amqp.dead_letter.replay import OnEach, Replayer, ReplayReport
from stem_amqp.dead_letter.selection import ALL, Selection
from stem_amqp.durations import Rate
from stem_amqp.errors import ConfigurationError, DeadLetterNotFoundError
from stem_amqp.text import matches_id, resolve_id

if TYPE_CHECKING:
    from stem_amqp.dead_letter.application import Application


class DeadLetters:
    """The dead letters of one queue.

    Listing them removes none and keeps their order, however often it is done. While one process
    browses, the letters delivered to it are not ready for another process.

    Args:
        app: the application, connected.
        queue: the logical queue, such as ``orders``.
    """

    def __init__(self, app: Application, queue: str) -> None:
        self.queue = queue
        self._app = app
        self._dlq = DeadLetterQueue(app, queue)

    async def count(self) -> int:
        """Return the number of ready dead letters.

        Raises:
            TopologyMissingError: the dead-letter queue does not exist; the message lists those that do.
        """
        return await self._dlq.count()

    async def list(
        self, selection: Selection = ALL, limit: int | None = 50
    ) -> Sequence[DeadLetter]:
        """Return dead letters, the oldest first.

        Args:
            selection: which letters.
            limit: maximum number; None for all that fit into memory.

        Raises:
            TopologyMissingError: the dead-letter queue does not exist.
            ConfigurationError: the limit is less than 1.
        """
        _check_limit(limit)
        found: list[DeadLetter] = []
        now = self._now()
        async with self._dlq.browse() as letters:
            async for _, letter in letters:
                if selection.matches(letter, now):
                    found.append(letter)
                if len(found) == limit:
                    break
        return found

    async def show(self, task_id: str) -> DeadLetter:
        """Return the oldest dead letter of a task.

        Args:
            task_id: the task's id, or `DeadLetter.id` if the body cannot be decoded; or a unique
                prefix of it.

        Raises:
            DeadLetterNotFoundError: no dead letter in the queue has the id.
            ConfigurationError: several ids have the prefix.
            TopologyMissingError: the dead-letter queue does not exist.
        """
        wanted = await self.resolve(Selection(ids=frozenset({task_id})))
        found = await self.list(wanted, limit=1)
        if not found:  # removed since
            raise self._not_found([task_id])
        return found[0]

    async def resolve(self, selection: Selection) -> Selection:
        """Return the selection with each id prefix completed.

        Args:
            selection: its ids may be unique prefixes; without ids it is returned unchanged.

        Raises:
            DeadLetterNotFoundError: no dead letter in the queue has one of the ids.
            ConfigurationError: several ids have the same prefix.
            TopologyMissingError: the dead-letter queue does not exist.
        """
        given = selection.ids
        if given is None:
            return selection
        present: set[str] = set()
        async with self._dlq.browse() as letters:
            async for _, letter in letters:
                name = letter.id
                if name is not None and any(matches_id(name, one) for one in given):
                    present.add(name)
        ids = {one: resolve_id(one, present) for one in sorted(given)}
        missing = [one for one, found in ids.items() if found is None]
        if missing:
            raise self._not_found(missing)
        return replace(selection, ids=frozenset(found for found in ids.values() if found))

    def _not_found(self, ids: Sequence[str]) -> DeadLetterNotFoundError:
        tasks, have = ("tasks", "have") if len(ids) > 1 else ("task", "has")
        return DeadLetterNotFoundError(
            f"{tasks} {', '.join(ids)} {have} no dead letter in {self._dlq.name!r}\n"
            "  It may have been replayed or purged, or be in the dead-letter queue of another queue."
            f" List them: stem-amqp dlq list {self.queue}"
        )

    async def replay(
        self,
        selection: Selection,
        *,
        dry_run: bool = False,
        rate: Rate | None = None,
        limit: int | None = None,
        on_each: OnEach | None = None,
    ) -> ReplayReport:
        """Requeue dead letters: the same body, attempt 0, the replay counter increased by one.

        One by one and in order, each letter is published to the work queue, confirmed, and then
        removed from the dead-letter queue; the others keep their order. Only letters that were
        in the queue at the beginning are replayed, so a task that fails again is not replayed
        twice. A letter whose body cannot be decoded is skipped unless it is selected by its id.

        Args:
            selection: which letters; `ALL` for every one.
            dry_run: only count the letters that would be replayed.
            rate: maximum rate.
            limit: maximum number of letters.
            on_each: called for each letter, with the error if it could not be replayed.

        Returns:
            The report. A lost connection during the replay is reported in it and not raised.

        Raises:
            TopologyMissingError: the dead-letter queue does not exist.
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
        """Delete dead letters permanently.

        Args:
            selection: which letters; None purges the whole queue in one command.

        Returns:
            The number of deleted letters.

        Raises:
            TopologyMissingError: the dead-letter queue does not exist.
            BrokerUnavailableError: the connection was lost; letters not deleted yet remain.
        """
        if selection is None:
            await self._dlq.count()
            return await self._app.connected.transport.purge(self._dlq.name)
        now = self._now()
        async with self._dlq.browse() as letters:
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
        raise ConfigurationError(f"a limit must be 1 or more, not {limit}; omit it for no limit")
