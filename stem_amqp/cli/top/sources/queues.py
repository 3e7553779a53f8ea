"""Rows of queues, dead letters and delays, from a measurement of the broker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from stem_amqp.cli.top.snapshot import DeadRow, QueueRow
from stem_amqp.cli.top.sources.trends import Trend
from stem_amqp.observability.queues import NOT_READ, Measurement, QueueNumbers


class QueueTrends:
    """Remembers the last minute of each queue."""

    def __init__(self) -> None:
        self._backlog: defaultdict[str, Trend] = defaultdict(Trend)
        self._throughput: defaultdict[str, Trend] = defaultdict(Trend)

    def rows(
        self, at: float, measurement: Measurement, paused: Mapping[str, str]
    ) -> Iterator[QueueRow]:
        """Yield the row of each queue.

        Args:
            at: seconds on a monotonic clock.
            measurement: the numbers.
            paused: who paused a queue, and why, by its name.
        """
        for numbers in measurement.queues:
            if numbers.ready is None and numbers.dead == 0:
                continue  # the rejected queue, empty
            yield self._row(at, numbers, paused.get(numbers.queue, ""))

    def _row(self, at: float, numbers: QueueNumbers, paused: str) -> QueueRow:
        name = numbers.queue
        if numbers.ready is not None:
            self._backlog[name].note(at, numbers.ready)
        if numbers.acked is not None:
            self._throughput[name].note(at, numbers.acked)
        return QueueRow(
            queue=name,
            ready=numbers.ready,
            unacked=numbers.unacked,
            consumers=numbers.consumers,
            published=numbers.published,
            acked=numbers.acked,
            oldest=numbers.oldest_ready,
            limit=numbers.limit,
            dead=numbers.dead,
            paused=paused,
            backlog=self._backlog[name].values,
            throughput=self._throughput[name].values,
        )


def dead_rows(measurement: Measurement) -> Iterator[DeadRow]:
    """Yield the dead letters of each queue by reason."""
    for numbers in measurement.queues:
        for reason, messages in sorted(numbers.reasons.items(), key=lambda one: -one[1]):
            if messages:
                yield DeadRow(
                    queue=numbers.queue,
                    reason="not read yet" if reason == NOT_READ else reason,
                    messages=messages,
                    oldest=numbers.oldest_dead,
                )


def missing_queues(measurement: Measurement) -> dict[str, str]:
    """Return what a measurement lacks, and why."""
    missing = {}
    absent = [one.queue for one in measurement.queues if one.ready is None and one.dead is None]
    if absent:
        missing["queues"] = (
            f"not on the broker: {', '.join(absent)}; start a worker, or stem-amqp topology apply"
        )
    if not measurement.management_up:
        missing["management"] = "rates, unacked, ages: not available without the management API"
    return missing
