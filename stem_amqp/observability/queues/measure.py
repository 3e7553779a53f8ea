"""Measures the queues of an application once: from the management API, else by passive declares."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from stem_amqp.cancellation import end
from stem_amqp.management import Management
from stem_amqp.observability.queues.age import ReadyAge
from stem_amqp.observability.queues.dead import NOT_READ, DeadReader
from stem_amqp.observability.queues.plan import Plan, ReportedQueue
from stem_amqp.observability.queues.statistics import Statistics, StatisticsReader
from stem_amqp.provision.former_delays import former_delay_queues
from stem_amqp.provision.versions import status_with_versions
from stem_amqp.topology.names import FormerNames
from stem_amqp.transport.base import QueueStatus, Transport

N = TypeVar("N", int, float)
_DEAD_PATIENCE = 1.0
"""Seconds to wait for dead-letter queues to be read; a longer read is in the next measurement."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueNumbers:
    """One logical queue; its versions are added up.

    Args:
        queue: its name.
        ready: messages that wait for a worker; None if the queue is not on the broker.
        unacked: unsettled deliveries; None if not known.
        consumers: the number of consumers; None if the queue is not on the broker.
        oldest_ready: the least age of its oldest ready message in seconds; None if not known.
        limit: the limit of that age in seconds; None without a limit.
        dead: messages in its dead-letter queue; None if that is not on the broker.
        reasons: the dead letters by reason.
        oldest_dead: seconds since its oldest dead letter failed; None without one.
        published: messages published to it per second; None if not known.
        acked: deliveries acknowledged per second; None if not known.
    """

    queue: str
    ready: int | None = None
    unacked: int | None = None
    consumers: int | None = None
    oldest_ready: float | None = None
    limit: float | None = None
    dead: int | None = None
    reasons: Mapping[str, int] = field(default_factory=dict)
    oldest_dead: float | None = None
    published: float | None = None
    acked: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What was measured.

    Args:
        up: whether the broker answers.
        management_up: whether the management API answers; None if it is not asked.
        queues: each logical queue, and the rejected queue.
        delayed: messages in each delay queue, by waiting time in seconds.
        overdue: delayed messages that their next queue does not confirm; None if not known.
        held: messages of paused tasks in queues of their own, by logical queue and task.
        unroutable: messages in the unroutable queue; None if that is not on the broker.
        schedulers: schedulers that run; None if that is not known, or without schedules.
        alarms: whether a resource alarm is on, by node and resource.
    """

    up: bool
    management_up: bool | None = None
    queues: tuple[QueueNumbers, ...] = ()
    delayed: Mapping[float, int] = field(default_factory=dict)
    overdue: int | None = None
    held: Mapping[tuple[str, str], int] = field(default_factory=dict)
    unroutable: int | None = None
    schedulers: int | None = None
    alarms: Mapping[tuple[str, str], bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Answers:
    """The numbers of all queues, from both sources."""

    statistics: Statistics | None
    status: Mapping[str, QueueStatus | None]

    def ready(self, name: str) -> int | None:
        numbers = self._numbers(name)
        return None if numbers is None else numbers[0]

    def consumers(self, name: str) -> int | None:
        numbers = self._numbers(name)
        return None if numbers is None else numbers[1]

    def unacked(self, name: str) -> int | None:
        if self.statistics is None or name not in self.statistics.queues:
            return None
        return self.statistics.queues[name].unacked

    def published(self, name: str) -> float | None:
        found = None if self.statistics is None else self.statistics.queues.get(name)
        return None if found is None else found.published

    def acked(self, name: str) -> float | None:
        found = None if self.statistics is None else self.statistics.queues.get(name)
        return None if found is None else found.acked

    def messages(self, name: str) -> int | None:
        """Return all messages of a queue, those included that someone browses now."""
        ready = self.ready(name)
        return None if ready is None else ready + (self.unacked(name) or 0)

    def _numbers(self, name: str) -> tuple[int, int] | None:
        if self.statistics is not None and name in self.statistics.queues:
            found = self.statistics.queues[name]
            return found.ready, found.consumers
        status = self.status.get(name)
        return None if status is None else (status.ready, status.consumers)


class Measurer:
    """Measures the queues of an application, again and again; the ages need earlier measurements.

    Args:
        plan: what to report.
        transport: the broker; it need not be connected.
        management: the management API; None does not ask it.
        monotonic: the clock for the age of ready messages, in seconds.
        dead: reads dead letters; None: a reader of its own.
    """

    def __init__(
        self,
        plan: Plan,
        transport: Transport,
        management: Management | None,
        monotonic: Callable[[], float] = time.monotonic,
        dead: DeadReader | None = None,
    ) -> None:
        self._plan = plan
        self._transport = transport
        self._reader = None if management is None else StatisticsReader(management, plan.prefix)
        self._monotonic = monotonic
        self._ages: defaultdict[str, ReadyAge] = defaultdict(ReadyAge)
        self._dead = dead or DeadReader(transport)
        self._reading: asyncio.Task[None] | None = None

    async def measure(self) -> Measurement:
        """Return the numbers now.

        Raises:
            BrokerError: the broker cannot be reached, or refuses access.
        """
        await self._transport.connect()
        # First of all, so that an outage is one problem and not also one of the management API
        answered = await self._transport.status([self._plan.unroutable])
        statistics = await self._reader.read() if self._reader is not None else None
        former = await self._former_delays(statistics)
        delays = self._plan.delays | former
        answers = _Answers(statistics, answered | await self._status(statistics, former))
        at = self._monotonic()
        self._note_ages(at, statistics)
        await self._read_dead(at, answers)
        return Measurement(
            up=True,
            management_up=None if self._reader is None else statistics is not None,
            queues=(
                *(self._queue(at, queue, answers) for queue in self._plan.queues),
                *self._rejected(answers),
            ),
            delayed=_delayed(delays, answers),
            overdue=_overdue(delays, statistics),
            held=_held(self._plan.held, statistics),
            unroutable=answers.messages(self._plan.unroutable),
            schedulers=None
            if self._plan.schedulers is None
            else answers.consumers(self._plan.schedulers),
            alarms={} if statistics is None else statistics.alarms or {},
        )

    async def close(self) -> None:
        """Stop reading dead letters; the transport stays open."""
        await end(self._reading)

    async def _former_delays(self, statistics: Statistics | None) -> dict[str, float]:
        """Return the delay queues of an earlier release that exist, with their TTL in seconds."""
        if statistics is None:
            return await former_delay_queues(self._plan.names, self._transport)
        former = FormerNames(self._plan.names.namespace).delay_queues()
        return {name: ttl for name, ttl in former.items() if name in statistics.names}

    async def _status(
        self, statistics: Statistics | None, former: Iterable[str]
    ) -> dict[str, QueueStatus | None]:
        """Ask the broker for the queues that the API has no numbers of."""
        certain, possible = [*self._plan.certain, *former], self._plan.possible
        if statistics is None:
            return await status_with_versions(self._transport, certain, possible)
        asked = {*certain, *possible} & statistics.names - statistics.queues.keys()
        return await self._transport.status(asked) if asked else {}

    def _note_ages(self, at: float, statistics: Statistics | None) -> None:
        for queue in self._plan.queues:
            for name in queue.works:
                if statistics is None or name not in statistics.queues:
                    self._ages.pop(name, None)
                else:
                    self._ages[name].note(at, statistics.queues[name].counts)

    async def _read_dead(self, at: float, answers: _Answers) -> None:
        if self._reading is None or self._reading.done():
            works = {queue.dead: queue.works for queue in self._plan.queues}
            names = [*works, *([] if self._plan.rejected is None else [self._plan.rejected])]
            counts = {
                name: count for name in names if (count := answers.messages(name)) is not None
            }
            self._reading = asyncio.create_task(self._dead.read(at, counts, works))
        await asyncio.wait({self._reading}, timeout=_DEAD_PATIENCE)
        if self._reading.done():
            self._reading.result()

    def _queue(self, at: float, queue: ReportedQueue, answers: _Answers) -> QueueNumbers:
        ages = [self._ages[name].seconds(at) for name in queue.works if name in self._ages]
        dead = answers.messages(queue.dead)
        reasons, oldest = self._letters(queue.dead, dead)
        return QueueNumbers(
            queue=queue.queue,
            ready=_sum(map(answers.ready, queue.works)),
            unacked=_sum(map(answers.unacked, queue.works)),
            consumers=_sum(map(answers.consumers, queue.works)),
            oldest_ready=max((age for age in ages if age is not None), default=None),
            limit=queue.limit,
            dead=dead,
            reasons=reasons,
            oldest_dead=oldest,
            published=_sum(map(answers.published, queue.works)),
            acked=_sum(map(answers.acked, queue.works)),
        )

    def _rejected(self, answers: _Answers) -> Iterable[QueueNumbers]:
        name = self._plan.rejected
        if name is not None:
            dead = answers.messages(name)
            reasons, oldest = self._letters(name, dead)
            label = name.removeprefix(self._plan.prefix)
            yield QueueNumbers(queue=label, dead=dead, reasons=reasons, oldest_dead=oldest)

    def _letters(self, name: str, count: int | None) -> tuple[dict[str, int], float | None]:
        known = self._dead.known(name)
        if not count:
            return {}, None
        if known is None:
            return {NOT_READ: count}, None
        now = self._transport.clock.time()
        age = None if known.oldest is None else max(0.0, now - known.oldest)
        return known.by_reason(count), age


def _delayed(delays: Mapping[str, float], answers: _Answers) -> dict[float, int]:
    """Return the messages in delay queues by waiting time; several queues may have the same."""
    found: dict[float, int] = {}
    for name, seconds in delays.items():
        ready = answers.ready(name)
        if ready is not None:
            found[seconds] = found.get(seconds, 0) + ready
    return found


def _held(
    places: Mapping[str, tuple[str, str]], statistics: Statistics | None
) -> dict[tuple[str, str], int]:
    """Return the messages of each queue of a paused task that exists.

    By passive declares, each of the many possible queues that do not exist would close a channel.
    """
    if statistics is None:
        return {}
    there = places.keys() & statistics.queues.keys()
    numbers = ((places[name], statistics.queues[name]) for name in there)
    return {place: found.ready + found.unacked for place, found in sorted(numbers)}


def _overdue(delays: Iterable[str], statistics: Statistics | None) -> int | None:
    if statistics is None:
        return None
    found = (statistics.queues.get(name) for name in delays)
    return sum(numbers.overdue for numbers in found if numbers is not None)


def _sum(numbers: Iterable[N | None]) -> N | None:
    """Return the sum of the known numbers; None if none is known."""
    known = [number for number in numbers if number is not None]
    return sum(known[1:], known[0]) if known else None
