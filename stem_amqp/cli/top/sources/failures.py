"""Rows of failures, from dead letters and from events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from stem_amqp.cli.top.snapshot import FailureRow
from stem_amqp.dead_letter import DeadLetter
from stem_amqp.errors import BrokerError
from stem_amqp.observability.events import Filters, LifecycleEvent, stream_events
from stem_amqp.observability.queues import Plan
from stem_amqp.signing.seal import Seal
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport
from stem_amqp.transport.delivery import Delivery

KEPT = 200
"""The most failures that are shown."""
_AGAIN = 2.0
"""Seconds until the next attempt to receive events."""
_CLOCKS = 5.0
"""The most seconds between the times of an event and of its dead letter."""
_EVENT = "dead-lettered"


class FailureSource:
    """Keeps the newest failures: a dead letter has the traceback, an event arrives at once.

    Args:
        plan: the queues.
        seal: decrypts letters; None without keys.
    """

    def __init__(self, plan: Plan, seal: Seal | None) -> None:
        self._seal = seal
        self._works = {queue.dead: queue.works for queue in plan.queues}
        self._labels = {queue.dead: queue.queue for queue in plan.queues}
        self._prefix = plan.prefix
        self._letters: dict[str, list[FailureRow]] = {}
        self._events: deque[FailureRow] = deque(maxlen=KEPT)
        self._queues = {label: dead for dead, label in self._labels.items()}
        self.problem = ""

    async def run(self, transport: Transport, names: Names) -> None:
        """Receive events until cancelled.

        Args:
            transport: connected.
            names: the names on the broker.
        """
        filters = Filters(events=(_EVENT,))
        while True:
            try:
                async for event in stream_events(
                    transport, names, seal=self._seal, filters=filters
                ):
                    self.problem = ""
                    self._events.append(_of_event(event))
            except BrokerError as error:
                self.problem = str(error).partition("\n")[0]
            await asyncio.sleep(_AGAIN)

    def dead_queue(self, row: FailureRow) -> str:
        """Return the name of the dead-letter queue of a failure on the broker."""
        return self._queues.get(row.queue, "")

    def take(self, dead: str, position: int, delivery: Delivery) -> None:
        """Note a dead letter that was read.

        Args:
            dead: the dead-letter queue's name on the broker.
            position: its position, from 0; the first one replaces those of the last read.
            delivery: the letter.
        """
        rows = self._letters.setdefault(dead, [])
        if not position:
            rows.clear()
        letter = DeadLetter.read(
            delivery,
            position=position + 1,
            work_queues=self._works.get(dead, frozenset()),
            seal=self._seal,
        )
        rows.append(_row(letter, self._labels.get(dead, dead.removeprefix(self._prefix))))
        del rows[:-KEPT]

    def rows(self, dead: Mapping[str, int | None]) -> tuple[FailureRow, ...]:
        """Return the failures, the newest first.

        Args:
            dead: the number of dead letters by logical queue; a queue without any is left out.
        """
        found = [
            row for rows in self._letters.values() for row in rows if dead.get(row.queue, 1) != 0
        ]
        times: dict[tuple[str, str], float] = {}
        for row in found:
            times[row.queue, row.id] = max(row.at, times.get((row.queue, row.id), 0.0))
        found += [
            row
            for row in self._events
            if times.get((row.queue, row.id), float("-inf")) < row.at - _CLOCKS
        ]
        return tuple(sorted(found, key=lambda row: -row.at)[:KEPT])


def _of_event(event: LifecycleEvent) -> FailureRow:
    return FailureRow(
        at=event.at,
        queue=event.queue or "",
        task=event.task or "(no task name)",
        id=event.id or "",
        reason=event.reason or "",
        error=event.error or "",
        attempt=event.attempt,
        worker=event.worker,
    )


def _row(letter: DeadLetter, queue: str) -> FailureRow:
    return FailureRow(
        at=0.0 if letter.failed_at is None else letter.failed_at.timestamp(),
        queue=queue,
        task=letter.task or "(no task name)",
        id=letter.id or "",
        reason=letter.reason,
        error=letter.error or letter.problem or "",
        attempt=letter.attempt,
        worker=letter.worker or "",
        traceback=letter.traceback or "",
        history=letter.history,
    )
