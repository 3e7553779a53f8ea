"""The instruments of one task in one queue, and of one queue, looked up once."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import Any

from typing_extensions import override

from stem_amqp.clock import parse_timestamp
from stem_amqp.observability.metrics import catalogue as of
from stem_amqp.observability.metrics.instruments import Counter, Instruments
from stem_amqp.observability.metrics.model import Instrument


class _Series(ABC):
    """Something counted that is passed on in batches, and counters that are made when they are first needed.

    Attributes:
        dirty: whether a flush is to come.
    """

    def __init__(self, instruments: Instruments, labels: tuple[str, ...]) -> None:
        self._instruments = instruments
        self._labels = labels
        self._counters: dict[tuple[str, ...], Counter] = {}
        self.dirty = False

    def flush_soon(self) -> None:
        """Let it be flushed within the interval of the instruments; call it in an event loop."""
        self.dirty = True
        self._instruments.later(self)

    @abstractmethod
    def flush(self) -> None:
        """Pass on what was counted; any thread may call it, one at a time."""

    def counter(self, instrument: Instrument, *more: str) -> Counter:
        """Return a counter.

        Args:
            instrument: the counter.
            more: the values of the labels after those of the series.
        """
        key = (instrument.name, *more)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._instruments.counter(instrument, (*self._labels, *more))
            self._counters[key] = counter
        return counter


class TaskSeries(_Series):
    """The instruments of a task in a queue, with what was collected for them.

    On the hot path values are only added to a list; counters and histograms get them in batches. The values
    are numbers and texts and nothing else: an object of the task, such as its delivery, would be kept until
    the next flush, and every one of a few thousand more objects is work for the garbage collector.

    Attributes:
        starts: of each run that started, two values: when it was due, a timestamp, and the seconds since the
            epoch at which it started. A text that is no timestamp is not observed.
        successes: of each run that returned, three values: since when its task was due, a timestamp; the
            seconds since the epoch at which it was settled; and the seconds that it took.

    Args:
        instruments: makes them.
        task: the task's name, or ``other``.
        queue: the logical queue, or ``other``.
    """

    def __init__(self, instruments: Instruments, task: str, queue: str) -> None:
        labels = (task, queue)
        super().__init__(instruments, labels)
        self.starts: list[Any] = []
        self.successes: list[Any] = []
        self.published = instruments.counter(of.PUBLISHED, labels)
        self.started = instruments.counter(of.STARTED, labels)
        self.succeeded = instruments.counter(of.SUCCEEDED, labels)
        self.run_time = instruments.histogram(of.RUN_TIME, labels)
        self.queue_wait = instruments.histogram(of.QUEUE_WAIT, labels)
        self.end_to_end = instruments.histogram(of.END_TO_END, labels)

    @override
    def flush(self) -> None:
        self.dirty = False  # first: what is added from here on is flushed now or later
        due, started = _columns(self.starts, 2)
        self.started.add_many(len(started))
        self.queue_wait.observe_many(_waits(due, started))
        born, ended, durations = _columns(self.successes, 3)
        self.succeeded.add_many(len(ended))
        self.run_time.observe_many(durations)
        self.end_to_end.observe_many(_waits(born, ended))


class QueueSeries(_Series):
    """The instruments of a queue, with what was counted for them.

    Attributes:
        arrived: the number of messages that were received.

    Args:
        instruments: makes them.
        queue: the logical queue, or ``other``.
    """

    def __init__(self, instruments: Instruments, queue: str) -> None:
        labels = (queue,)
        super().__init__(instruments, labels)
        self.arrived = self._passed = 0
        self.confirm = instruments.histogram(of.PUBLISH_CONFIRM, labels)
        self.received = instruments.counter(of.RECEIVED, labels)
        self.redelivered = instruments.counter(of.REDELIVERED, labels)

    @override
    def flush(self) -> None:
        self.dirty = False  # first: what is counted from here on is flushed later
        arrived = self.arrived
        increase, self._passed = arrived - self._passed, arrived
        self.received.add_many(increase)


_parsed = functools.lru_cache(4096)(parse_timestamp)
"""Times have milliseconds, so that many tasks share one, and each is needed twice."""


def moment(value: Any) -> float | None:
    """Return a timestamp as seconds since the epoch; None for anything else, as any client may write it."""
    try:
        return _parsed(value)
    except (TypeError, ValueError, AttributeError):
        return None


def seconds(since: float, until: float) -> float:
    """Return the seconds between two times of two machines' clocks; 0 if the order is wrong."""
    return until - since if until > since else 0.0


def _columns(rows: list[Any], width: int) -> list[list[Any]]:
    """Remove the values of rows that were added one after the other, and return them by columns."""
    # Another thread may add rows meanwhile, each by one call of `extend`, during which no other thread runs
    number = len(rows)
    values = rows[:number]
    del rows[:number]
    return [values[first::width] for first in range(width)]


def _waits(since: list[str], until: list[float]) -> list[float]:
    """Return the seconds between times, without those whose beginning is no timestamp."""
    moments = {text: moment(text) for text in set(since)}
    pairs = zip((moments[text] for text in since), until, strict=True)
    return [seconds(begin, end) for begin, end in pairs if begin is not None]
