"""Replay dead letters: publish each with a confirm, then remove it from the dead-letter queue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stem_amqp.dead_letter.browse import Browse, DeadLetterQueue
from stem_amqp.dead_letter.letter import DeadLetter
from stem_amqp.dead_letter.replay_signature import sign_replay
from stem_amqp.dead_letter.selection import Selection
from stem_amqp.durations import Rate
from stem_amqp.errors import (
    BackendError,
    BrokerError,
    BrokerUnavailableError,
    ConfigurationError,
    DecodeError,
    StaleDeliveryError,
)
from stem_amqp.messages.message import QUEUE, decode
from stem_amqp.settings import NAME
from stem_amqp.states import TaskState
from stem_amqp.topology.names import collides
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.publication import Publication
from stem_amqp.worker.follow_up import republish
from stem_amqp.worker.follow_up.transition import transition_of
from stem_amqp.worker.gates.rate import TokenBucket
from stem_amqp.worker.job import Job

if TYPE_CHECKING:
    from stem_amqp.dead_letter.application import Application

log = logging.getLogger("stem_amqp.dead_letter")

MAX_CONSECUTIVE_FAILURES = 5
"""Consecutive letters that cannot be published, after which the replay stops."""
MAX_BROWSE_TIME = 600.0
"""Seconds after which all dead letters are requeued and browsed again: RabbitMQ closes a channel that
keeps a message unsettled for 30 minutes, and a replay with a rate may take longer."""
_ERRORS_KEPT = 20

OnEach = Callable[[DeadLetter, Exception | None], None]
"""Called for each letter, with the error if it could not be replayed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayReport:
    """The result of a replay.

    Args:
        matched: selected letters: replayed, failed and skipped ones.
        replayed: letters that are in their work queue again; 0 in a dry run.
        failed: letters that could not be published; they are still dead letters.
        skipped: selected letters that cannot be decoded and were not selected by id.
        errors: the errors of the first failed letters, one line each.
        interrupted: why the replay ended early, or None; run another one for the remaining letters.
        dry_run: whether it was a dry run.
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
        """Whether every selected letter that can be decoded was replayed (or would be)."""
        return self.failed == 0 and self.interrupted is None


class Replayer:
    """One replay of dead letters; create a new instance for each replay.

    Args:
        app: the application, connected.
        queue: the logical queue.
        dlq: its dead-letter queue.
        selection: which letters.
        dry_run: only count.
        rate: maximum rate.
        limit: maximum number of letters.
        on_each: called for each letter.
    """

    def __init__(
        self,
        app: Application,
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
        self._present: int | None = None
        self._replayed = 0
        self._removed = 0
        self._failed: list[str] = []
        self._consecutive_failures = 0
        self._skipped = 0
        self._interrupted: str | None = None
        self._published: set[str] = set()
        self._taken: set[tuple[object, ...]] = set()

    async def run(self) -> ReplayReport:
        """Replay the selected letters that are in the queue now; later ones are not touched.

        Raises:
            TopologyMissingError: the dead-letter queue does not exist.
        """
        again = True
        while again:
            before = self._replayed
            again = await self._browse() and self._replayed > before
        return ReplayReport(
            matched=self._replayed + len(self._failed) + self._skipped,
            replayed=0 if self._dry_run else self._replayed,
            failed=len(self._failed),
            skipped=self._skipped,
            errors=tuple(self._failed[:_ERRORS_KEPT]),
            interrupted=self._interrupted,
            dry_run=self._dry_run,
        )

    async def _browse(self) -> bool:
        """Go through the letters once; return whether another pass is needed."""
        self._failed.clear()
        self._skipped = self._consecutive_failures = 0
        self._interrupted = None
        clock = asyncio.get_running_loop().time
        end = clock() + MAX_BROWSE_TIME
        try:
            remaining = None if self._present is None else self._present - self._removed
            async with self._dlq.browse(remaining) as letters:
                if self._present is None:
                    self._present = letters.present
                async for delivery, letter in letters:
                    if self._selection.matches(letter, self._now):
                        await self._take(letters, delivery, letter)
                    if self._enough():
                        return False
                    if clock() > end and not self._dry_run:
                        self._interrupted = (
                            f"no dead letter was selected within {MAX_BROWSE_TIME:.0f} s"
                        )
                        return True
        except (BrokerUnavailableError, StaleDeliveryError) as error:
            log.warning("replay of %s: the connection was lost: %s", self._dlq.name, error)
            self._interrupted = f"the connection was lost: {error}"
            return not self._dry_run
        return False

    def _enough(self) -> bool:
        if self._consecutive_failures >= MAX_CONSECUTIVE_FAILURES:
            self._interrupted = f"gave up after {MAX_CONSECUTIVE_FAILURES} failures in a row; the last: {self._failed[-1]}"
            return True
        return self._limit is not None and self._replayed + len(self._failed) >= self._limit

    async def _take(self, letters: Browse, delivery: Delivery, letter: DeadLetter) -> None:
        if not letter.replayable and not self._selection.names(letter):
            self._skipped += 1
            return
        if self._dry_run:
            self._done(letter)
            return
        if delivery.message_id in self._published:
            # Replayed before the connection was lost; only its acknowledgement was missing
            await letters.discard(delivery)
            self._removed += 1
            return
        identity = _identity(letter)
        if identity is not None and identity in self._taken:
            # One letter, published twice because its confirm came late: its task was replayed
            log.info("dropped a duplicate of the dead letter of task %s", letter.id)
            await letters.discard(delivery)
            self._removed += 1
            return
        if self._bucket is not None:
            await asyncio.sleep(self._bucket.take(asyncio.get_running_loop().time()))
        await self._replay(letters, delivery, letter)

    async def _replay(self, letters: Browse, delivery: Delivery, letter: DeadLetter) -> None:
        now = self._app.connected.transport.clock.time()
        try:
            queue = self._target(delivery)
            publication = republish.replay(delivery, self._app.names, queue, now=now)
            publication = sign_replay(
                self._app.connected.seal, delivery, publication, queue, now=now
            )
            await letters.replace(delivery, publication)
        except StaleDeliveryError:
            self._published.add(delivery.message_id or "")
            self._done(letter)
            raise
        except (BrokerError, ConfigurationError) as error:
            self._failed.append(f"{letter.task} {letter.id}: {error}")
            self._consecutive_failures += 1
            if self._on_each is not None:
                self._on_each(letter, error)
            return
        self._removed += 1
        self._done(letter)
        if (identity := _identity(letter)) is not None:
            self._taken.add(identity)
        await self._note_queued(publication, queue)

    def _target(self, delivery: Delivery) -> str:
        """Return the logical queue to replay into; a rejected message names it in a header."""
        if self._dlq.name != self._app.names.rejected:
            return self._queue
        named = delivery.headers.get(QUEUE)
        if isinstance(named, str) and NAME.fullmatch(named) and not collides(named):
            return named
        raise ConfigurationError(f"its header {QUEUE} is not a valid queue name: {named!r:.60}")

    def _done(self, letter: DeadLetter) -> None:
        self._replayed += 1
        self._consecutive_failures = 0
        if self._on_each is not None:
            self._on_each(letter, None)

    async def _note_queued(self, publication: Publication, queue: str) -> None:
        """Store that the task is queued again, or send that to its producer.

        The task is queued already, so a failure to store is only logged.
        """
        connected, settings = self._app.connected, self._app.settings
        job = self._job(publication, queue)
        recorded = connected.backend.keeps_states or publication.reply_to is not None
        if job is None or job.ignore_result or not recorded:
            return
        change = transition_of(
            job, TaskState.QUEUED, connected.transport.clock.time(), None, settings.result_ttl
        )
        try:
            await connected.writer.write(change)
        except BackendError as error:
            log.warning("%s was replayed, but its state could not be stored: %s", job, error)

    def _job(self, publication: Publication, queue: str) -> Job | None:
        body, seal = publication.body, self._app.connected.seal
        if seal is not None:
            body = seal.inspect(body, publication.headers).body
        try:
            message = decode(body)
        except DecodeError:
            return None
        return Job(
            body=publication.body,
            headers=publication.headers,
            queue=queue,
            reply_to=publication.reply_to,
            message=message,
            definition=self._app.registry.get(message.task),
        )


def _identity(letter: DeadLetter) -> tuple[object, ...] | None:
    """Return a key that only duplicates of one letter share; None if no worker wrote the letter."""
    if letter.failed_at is None or letter.worker is None:
        return None
    return letter.id, letter.replays, letter.attempt, letter.failed_at, letter.worker
