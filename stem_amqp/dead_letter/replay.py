"""Replaying dead letters: published and confirmed first, taken out of the queue then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stem_amqp.dead_letter.browse import DeadLetterQueue, Look
from stem_amqp.dead_letter.letter import DeadLetter
from stem_amqp.dead_letter.selection import Selection
from stem_amqp.durations import Rate
from stem_amqp.errors import (
    BackendError,
    BrokerError,
    BrokerUnavailableError,
    DecodeError,
    StaleDeliveryError,
)
from stem_amqp.message import decode
from stem_amqp.states import TaskState
from stem_amqp.transport.base import Delivery, Publication
from stem_amqp.worker import republish
from stem_amqp.worker.job import Job
from stem_amqp.worker.rate import TokenBucket
from stem_amqp.worker.settle import transition_of

if TYPE_CHECKING:
    from stem_amqp.app import Stem

log = logging.getLogger("stem_amqp.dead_letter")

GIVE_UP_AFTER = 5
"""Letters in a row that cannot be published, after which the rest is not tried."""
LONGEST_LOOK = 600.0
"""Seconds after which the letters go back and are looked through anew: RabbitMQ closes a channel
that keeps a message unsettled for half an hour, and a replay with a rate may take longer."""
_ERRORS_KEPT = 20

OnEach = Callable[[DeadLetter, Exception | None], None]
"""Called for each letter that is replayed, or with what kept it from that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayReport:
    """What a replay did.

    Args:
        matched: letters that were meant: replayed, failed and skipped ones.
        replayed: letters that are tasks in their work queue again; 0 in a dry run.
        failed: letters that could not be published; they are still dead letters.
        skipped: letters that were meant, but cannot be read and were not chosen by id.
        errors: what the failed ones failed with, a line for each of the first.
        interrupted: what ended it early, or None; what is left can be replayed by another one.
        dry_run: whether nothing was to be done.
    """

    matched: int
    replayed: int
    failed: int = 0
    skipped: int = 0
    errors: tuple[str, ...] = ()
    interrupted: str | None = None
    dry_run: bool = False

    @property
    def complete(self) -> bool:
        """Whether everything that was meant and could be read was replayed, or would be."""
        return self.failed == 0 and self.interrupted is None


class Replayer:
    """Replays dead letters once; made for each replay anew.

    Args:
        app: the application, connected.
        queue: the logical queue.
        dlq: its dead-letter queue.
        selection: which letters.
        dry_run: only count.
        rate: so many in so much time at most.
        limit: so many at most.
        on_each: called for each letter.
    """

    def __init__(
        self,
        app: Stem,
        queue: str,
        dlq: DeadLetterQueue,
        *,
        selection: Selection,
        dry_run: bool,
        rate: Rate | None,
        limit: int | None,
        on_each: OnEach | None,
    ) -> None:
        self._app = app
        self._queue = queue
        self._dlq = dlq
        self._selection = selection
        self._dry_run = dry_run
        self._bucket = TokenBucket(rate) if rate is not None and not dry_run else None
        self._limit = limit
        self._on_each = on_each
        self._now = app.connected.transport.clock.time()
        self._replayed = 0
        self._removed = 0
        self._failed: list[str] = []
        self._in_a_row = 0
        self._skipped = 0
        self._interrupted: str | None = None
        self._published: set[str] = set()

    async def run(self) -> ReplayReport:
        """Replay what is meant of the letters that are there now; what comes later is left alone.

        Raises:
            TopologyMissingError: there is no such dead-letter queue.
        """
        present, again = await self._dlq.count(), True
        while again:
            before = self._replayed
            again = await self._look_through(present - self._removed) and self._replayed > before
        return ReplayReport(
            matched=self._replayed + len(self._failed) + self._skipped,
            replayed=0 if self._dry_run else self._replayed,
            failed=len(self._failed),
            skipped=self._skipped,
            errors=tuple(self._failed[:_ERRORS_KEPT]),
            interrupted=self._interrupted,
            dry_run=self._dry_run,
        )

    async def _look_through(self, present: int) -> bool:
        """Go through the letters once, and say whether another round is to follow."""
        self._failed.clear()
        self._skipped = self._in_a_row = 0
        self._interrupted = None
        clock = asyncio.get_running_loop().time
        end = clock() + LONGEST_LOOK
        try:
            async with self._dlq.look(present) as letters:
                async for delivery, letter in letters:
                    if self._selection.matches(letter, self._now):
                        await self._take(letters, delivery, letter)
                    if self._enough():
                        return False
                    if clock() > end and not self._dry_run:
                        self._interrupted = f"no letter was meant within {LONGEST_LOOK:.0f} s"
                        return True
        except (BrokerUnavailableError, StaleDeliveryError) as error:
            log.warning("replay of %s: the connection was lost: %s", self._dlq.name, error)
            self._interrupted = f"the connection was lost: {error}"
            return not self._dry_run
        return False

    def _enough(self) -> bool:
        if self._in_a_row >= GIVE_UP_AFTER:
            self._interrupted = (
                f"gave up after {GIVE_UP_AFTER} failures in a row; the last: {self._failed[-1]}"
            )
            return True
        return self._limit is not None and self._replayed + len(self._failed) >= self._limit

    async def _take(self, letters: Look, delivery: Delivery, letter: DeadLetter) -> None:
        if not letter.replayable and not self._selection.names(letter):
            self._skipped += 1
            return
        if self._dry_run:
            self._done(letter)
            return
        if delivery.message_id in self._published:
            # Replayed before the connection was lost, and only its acknowledgement was missing
            await letters.discard(delivery)
            self._removed += 1
            return
        if self._bucket is not None:
            await asyncio.sleep(self._bucket.take(asyncio.get_running_loop().time()))
        await self._replay(letters, delivery, letter)

    async def _replay(self, letters: Look, delivery: Delivery, letter: DeadLetter) -> None:
        now = self._app.connected.transport.clock.time()
        publication = republish.replay(delivery, self._app.names, self._queue, now=now)
        try:
            await letters.replace(delivery, publication)
        except StaleDeliveryError:
            self._published.add(delivery.message_id or "")
            self._done(letter)
            raise
        except BrokerError as error:
            self._failed.append(f"{letter.task} {letter.id}: {error}")
            self._in_a_row += 1
            if self._on_each is not None:
                self._on_each(letter, error)
            return
        self._removed += 1
        self._done(letter)
        await self._note_queued(publication)

    def _done(self, letter: DeadLetter) -> None:
        self._replayed += 1
        self._in_a_row = 0
        if self._on_each is not None:
            self._on_each(letter, None)

    async def _note_queued(self, publication: Publication) -> None:
        """Store that the task is queued again, or tell its producer.

        It is queued, so a failing store is only logged.
        """
        connected, settings = self._app.connected, self._app.settings
        job = self._job(publication)
        told = connected.backend.keeps_states or publication.reply_to is not None
        if job is None or job.ignore_result or not told:
            return
        change = transition_of(
            job, TaskState.QUEUED, connected.transport.clock.time(), None, settings.result_ttl
        )
        try:
            await connected.writer.write(change)
        except BackendError as error:
            log.warning("%s is replayed, but its state could not be stored: %s", job, error)

    def _job(self, publication: Publication) -> Job | None:
        body, seal = publication.body, self._app.connected.seal
        if seal is not None:
            body = seal.look(body, publication.headers).body
        try:
            message = decode(body)
        except DecodeError:
            return None
        return Job(
            body=publication.body,
            headers=publication.headers,
            queue=self._queue,
            reply_to=publication.reply_to,
            message=message,
            definition=self._app.registry.get(message.task),
        )
