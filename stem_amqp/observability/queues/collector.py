"""Turns measurements into Prometheus metrics when they are scraped."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeAlias

from stem_amqp.durations import format_seconds
from stem_amqp.errors import BrokerError
from stem_amqp.observability.queues import catalogue
from stem_amqp.observability.queues.catalogue import QueueMetric
from stem_amqp.observability.queues.measure import Measurement, Measurer, QueueNumbers

if TYPE_CHECKING:
    from prometheus_client.core import Metric

log = logging.getLogger("stem_amqp.observability")

DOWN = Measurement(up=False)
"""The measurement while the broker does not answer: no value of a queue."""
_MARGIN = 1.0
"""Seconds that a scrape waits longer than a measurement may take."""

Value: TypeAlias = tuple[QueueMetric, tuple[str, ...], float | None]
"""A metric, the values of its labels, and its value; None if it is not known."""


class Sampler:
    """Measures in an event loop for the threads that serve scrapes.

    Args:
        measurer: measures.
        loop: the event loop that it runs in.
        interval: the least seconds between two measurements; scrapes in between get the last one.
        timeout: the most seconds of a measurement.
    """

    def __init__(
        self,
        measurer: Measurer,
        loop: asyncio.AbstractEventLoop,
        *,
        interval: float,
        timeout: float,
    ) -> None:
        self._measurer = measurer
        self._loop = loop
        self._interval = interval
        self._timeout = timeout
        self._lock = threading.Lock()
        self._last = DOWN
        self._at = float("-inf")
        self._failed = False

    def current(self) -> Measurement:
        """Return a measurement that is not older than the interval; called in any thread."""
        with self._lock:
            if time.monotonic() - self._at >= self._interval:
                self._last = self._take()
                self._at = time.monotonic()
            return self._last

    def _take(self) -> Measurement:
        try:
            future: Future[Measurement] = asyncio.run_coroutine_threadsafe(
                self._measure(), self._loop
            )
            return future.result(self._timeout + _MARGIN)
        except (TimeoutError, RuntimeError, asyncio.CancelledError):  # the event loop has ended
            return DOWN

    async def _measure(self) -> Measurement:
        try:
            async with asyncio.timeout(self._timeout):
                measurement = await self._measurer.measure()
        except (BrokerError, TimeoutError) as error:
            self._note_outage(str(error) or f"no answer within {format_seconds(self._timeout)}")
            return DOWN
        except Exception:
            log.exception("a measurement of the queues failed")
            return DOWN
        if self._failed:
            self._failed = False
            log.info("the broker answers again")
        return measurement

    def _note_outage(self, problem: str) -> None:
        if not self._failed:
            log.error("the broker does not answer, and queues are not reported: %s", problem)
        self._failed = True


class QueueCollector:
    """A collector of prometheus-client: every scrape gets the current measurement.

    Args:
        sampler: the source of measurements.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering it does not measure."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics that have values now."""
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - optional: extra prometheus

        families: dict[str, GaugeMetricFamily] = {}
        for metric, labels, value in values(self._sampler.current()):
            if value is None:
                continue
            family = families.get(metric.name)
            if family is None:
                family = GaugeMetricFamily(metric.name, metric.description, labels=metric.labels)
                families[metric.name] = family
            family.add_metric(labels, value)
        yield from families.values()


def values(measurement: Measurement) -> Iterator[Value]:
    """Yield the values of a measurement, with None for those that are not known."""
    yield catalogue.BROKER_UP, (), float(measurement.up)
    up = measurement.management_up
    yield catalogue.MANAGEMENT_UP, (), None if up is None else float(up)
    for queue in measurement.queues:
        yield from _of_queue(queue)
    for seconds, messages in measurement.delayed.items():
        yield catalogue.DELAYED, (f"{seconds:.10g}s",), messages
    yield catalogue.OVERDUE, (), measurement.overdue
    for (queue_name, task), held in measurement.held.items():
        yield catalogue.HELD, (queue_name, task), held
    yield catalogue.UNROUTABLE, (), measurement.unroutable
    yield catalogue.SCHEDULERS, (), measurement.schedulers
    for labels, on in measurement.alarms.items():
        yield catalogue.ALARM, labels, float(on)


def _of_queue(queue: QueueNumbers) -> Iterator[Value]:
    name = (queue.queue,)
    yield catalogue.READY, name, queue.ready
    yield catalogue.UNACKED, name, queue.unacked
    yield catalogue.CONSUMERS, name, queue.consumers
    yield catalogue.OLDEST_READY, name, queue.oldest_ready
    yield catalogue.MAX_READY_AGE, name, queue.limit
    yield catalogue.DEAD_IN_QUEUE, name, queue.dead
    for reason, messages in queue.reasons.items():
        yield catalogue.DEAD, (queue.queue, reason), messages
    yield catalogue.OLDEST_DEAD, name, queue.oldest_dead
