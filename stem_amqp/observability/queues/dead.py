"""Counts the letters of dead-letter queues by reason, by browsing them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from stem_amqp.errors import BrokerError
from stem_amqp.messages.death import UNKNOWN, failure_time, reason_of, relevant_death
from stem_amqp.states import Reason
from stem_amqp.transport.base import Transport
from stem_amqp.transport.browsing import fetch_returned
from stem_amqp.transport.delivery import Delivery

log = logging.getLogger("stem_amqp.observability")

MOST_READ = 1000
"""Maximum number of letters that are read of one queue."""
READ_INTERVAL = 30.0
"""Seconds between two reads of a queue whose number of letters changes."""
REFRESH = 600.0
"""Seconds after which a queue is read again although its number of letters is the same."""
NOT_READ = "not-read"
"""The reason of letters that are not read."""
OTHER = "other"
_REASONS = frozenset({UNKNOWN, *Reason})

OnLetter: TypeAlias = Callable[[str, int, Delivery], None]
"""Gets the dead-letter queue's name, the letter's position from 0, and the letter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadRead:
    """The result of reading one dead-letter queue.

    Args:
        at: when it was read; seconds on a monotonic clock.
        count: the number of letters in the queue then.
        reasons: the number of letters that were read, by reason.
        oldest: when the oldest of them failed, in seconds since the epoch; None if not recorded.
    """

    at: float
    count: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    oldest: float | None = None

    def by_reason(self, count: int) -> dict[str, int]:
        """Return the letters by reason; those that were not read have the reason `NOT_READ`.

        Args:
            count: the number of letters in the queue now.
        """
        left = count
        found = {}
        for reason, number in self.reasons.items():
            found[reason] = min(number, left)
            left -= found[reason]
        return found | ({NOT_READ: left} if left else {})


class DeadReader:
    """Reads dead-letter queues, each when its number of letters has changed.

    A dead-letter queue is declared with a delivery limit of 1,000,000, so that reading it often does not
    drop letters. While it is read, its first 1,000 letters are not available to others.

    Args:
        transport: connected.
        interval: seconds between two reads of a queue whose number of letters changes.
        on_letter: gets each letter that is read.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        interval: float = READ_INTERVAL,
        on_letter: OnLetter | None = None,
    ) -> None:
        self._transport = transport
        self._interval = interval
        self._on_letter = on_letter
        self._reads: dict[str, DeadRead] = {}
        self._refused: set[str] = set()

    def known(self, queue: str) -> DeadRead | None:
        """Return the last result for a queue; None if it was not read yet."""
        return self._reads.get(queue)

    def expire(self, queue: str) -> None:
        """Let the next `read` read a queue again, whatever its number of letters."""
        last = self._reads.get(queue)
        if last is not None:
            self._reads[queue] = replace(last, at=float("-inf"))

    async def read(
        self, at: float, counts: Mapping[str, int], works: Mapping[str, Collection[str]]
    ) -> None:
        """Read the queues that have changed.

        Args:
            at: seconds on a monotonic clock.
            counts: the number of letters of each queue.
            works: the work queues that the letters of each queue come from.
        """
        for queue, count in counts.items():
            if not self._changed(at, queue, count):
                continue
            if not count:
                self._reads[queue] = DeadRead(at=at, count=0)
                continue
            try:
                self._reads[queue] = await self._read(at, queue, count, works.get(queue, ()))
            except BrokerError as error:
                self._reads[queue] = DeadRead(at=at, count=count)
                self._warn(queue, error)

    def _changed(self, at: float, queue: str, count: int) -> bool:
        last = self._reads.get(queue)
        if last is None:
            return True
        age = at - last.at
        if last.count == count:
            return bool(count) and age >= REFRESH
        return not last.count or not count or age >= self._interval

    async def _read(
        self, at: float, queue: str, count: int, work_queues: Collection[str]
    ) -> DeadRead:
        reasons: Counter[str] = Counter()
        oldest: float | None = None
        last = None
        async with self._transport.browse(queue) as deliveries:
            for position in range(min(count, MOST_READ)):
                last = await anext(deliveries, None)
                if last is None:
                    break
                if self._on_letter is not None:
                    self._on_letter(queue, position, last)
                death = relevant_death(last.headers, work_queues)
                reason = reason_of(last.headers, death)
                reasons[reason if reason in _REASONS else OTHER] += 1
                failed_at = failure_time(last.headers, death)
                if failed_at is not None:
                    oldest = min(failed_at.timestamp(), oldest or failed_at.timestamp())
            await fetch_returned(deliveries, last)
        return DeadRead(at=at, count=count, reasons=dict(reasons), oldest=oldest)

    def _warn(self, queue: str, error: BrokerError) -> None:
        if queue not in self._refused:
            self._refused.add(queue)
            log.warning("the letters of %s are not counted by reason: %s", queue, error)
