"""Decides when a limited task starts: now, after a wait in this worker, or after one in the broker."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from dataclasses import replace

from stem_amqp.blueprint import Blueprint
from stem_amqp.clock import SystemClock
from stem_amqp.errors import BackendError, BrokerError, ConfigurationError
from stem_amqp.limits.base import Ask, Lease, LimitStore, Verdict, Wanted, limit_key
from stem_amqp.limits.batch import LimitBatcher
from stem_amqp.messages.message import TaskMessage
from stem_amqp.observability import Telemetry
from stem_amqp.outcome import Postponed
from stem_amqp.transport.base import Transport
from stem_amqp.worker.gates.limits.broker_places import BrokerPlaces
from stem_amqp.worker.gates.limits.leases import Leases
from stem_amqp.worker.gates.limits.outage import StoreOutage
from stem_amqp.worker.gates.limits.place import Place
from stem_amqp.worker.gates.limits.plan import Counter, Plan, RateNow, check_plans, plan_of
from stem_amqp.worker.gates.limits.store_time import StoreTime, seconds_of
from stem_amqp.worker.gates.rate import MAX_HELD, WorkerRates
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

GRACE = 1.0
"""Seconds by which a start may be late, or `GRACE_OF_INTERVAL`; a later one is reserved anew, so that an outage
is followed by no more starts than the limit allows."""
GRACE_OF_INTERVAL = 0.1
"""The part of the time between two starts at a slow rate by which a start may be late."""
LEAD = 0.25
"""Seconds before its start at which a message comes back from the delay queues."""
HELD = 0.6
"""The longest wait in the worker, in seconds: half of the store's horizon, and some time for the broker."""
AWAY = (2.0, 6.0)
"""The shortest and longest wait until a task asks again while the store is away, in seconds."""
PAUSE = 1.0
"""Seconds without further asks after one that failed."""


class LimitGate:
    """The limits of a worker's tasks.

    Args:
        blueprint: the application.
        store: counts over all workers; None if the result backend has none.
        transport: the broker, with its clock; without a store it holds the places of running tasks.
        telemetry: the exporters, which receive each wait.
        rate_now: returns the rates that were set at run time.

    Attributes:
        everywhere: whether tasks without limits of their own may be limited.
        outage: notes when the store does not answer.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        store: LimitStore | None,
        *,
        transport: Transport,
        telemetry: Telemetry,
        rate_now: RateNow | None = None,
    ) -> None:
        self._blueprint = blueprint
        self._store = store
        self._namespace = blueprint.settings.namespace
        self.everywhere = _limits_queues(blueprint)
        self._telemetry = telemetry
        self._rate_now = rate_now
        self._plans: dict[tuple[str, str], Plan | None] = {}
        self._rates = WorkerRates()
        clock = transport.clock
        self._now = seconds_of(clock)
        self._places = BrokerPlaces(transport, blueprint.names)
        # The time of a clock that a test advances passes only in the broker
        self._holds = isinstance(clock, SystemClock)
        self._store_time = StoreTime(self._now)
        ttl = blueprint.settings.limit_lease_ttl
        self._batcher = None if store is None else LimitBatcher(store, lease_ttl=ttl)
        self._leases = None if store is None else Leases(store, ttl=ttl)
        self._away_until = float("-inf")
        self.outage = StoreOutage(self._now)

    def plan(self, job: Job) -> Plan | None:
        """Return the limits that apply to a job; None if none does.

        Args:
            job: a job with its task.
        """
        task = job.definition
        if task is None:
            return None
        place = (task.name, job.queue)
        if place not in self._plans:
            found = plan_of(task, job.queue, self._blueprint.topology, self._rate_now)
            if found is not None and self._batcher is None:
                found = found.in_each_worker()
            self._plans[place] = found
        return self._plans[place]

    def set_rates(self, rate_now: RateNow | None) -> None:
        """Change the rates that were set at run time; they hold for the next job.

        Args:
            rate_now: returns the rate of a task or of a named limit; None: there are none.
        """
        self._rate_now = rate_now
        self._plans.clear()
        self.everywhere = rate_now is not None or _limits_queues(self._blueprint)

    async def hold(self, job: Job, plan: Plan) -> Postponed | None:
        """Wait until a job may start; return an outcome if it waits in the broker.

        Args:
            job: the job, with its message. If it may start, it gives its leases back by ``give_back``.
            plan: the limits that apply to it.

        Raises:
            Exception: whatever a function raises that returns the key of a limit.
        """
        if job.message is None:
            raise RuntimeError("a job has a message before its limits are checked")
        own = [self._key(job.message, one) for one in plan.own]
        wants = tuple(self._wanted(job.message, one) for one in plan.shared)
        if plan.own:
            rates = [one.rate for one in plan.own if one.rate is not None]
            wait = self._rates.take(list(zip(own, rates, strict=True)), self._now())
            if wait > MAX_HELD:
                return self._postponed(job, wait)
            if wait > 0:
                self._report(job, wait)
                await _wait(job, wait)
        if not wants:
            return None
        hold = self._hold_shared if self._batcher is not None else self._hold_in_broker
        return await hold(job, plan, wants)

    async def _hold_in_broker(
        self, job: Job, plan: Plan, wants: tuple[Wanted, ...]
    ) -> Postponed | None:
        """Take places for a job in the broker, for a worker without a store."""
        await _take_slot(job)
        try:
            taken = await self._places.take(wants)
        except BrokerError as error:
            return self._without_store(job, plan, Place.of(job, plan.revision), error)
        self.outage.answered()
        if not callable(taken):
            return self._postponed(job, taken)
        job.give_back = taken
        return None

    async def _hold_shared(
        self, job: Job, plan: Plan, wants: tuple[Wanted, ...]
    ) -> Postponed | None:
        grace = max(GRACE, GRACE_OF_INTERVAL * max(wanted.interval for wanted in wants))
        place = Place.of(job, plan.revision)
        if self._is_late(place, grace):
            place = place.renewed()
        while True:
            wait = self._until(place) if place.reserved else None
            if wait is None:
                asked = await self._next(job, plan, place, wants)
                if not isinstance(asked, Place):
                    return asked
                place, wait = asked, (asked.start or 0.0) - (self._store_time.time() or 0.0)
            if wait > 0:
                if not self._may_hold(job, wait):
                    return self._postponed(job, wait, place)
                await _wait(job, wait)
            elif await self._may_run(job, place, grace):
                return None
            else:
                place = place.renewed()

    async def _next(
        self, job: Job, plan: Plan, place: Place, wants: tuple[Wanted, ...]
    ) -> Place | Postponed | None:
        """Ask the store; return the place with the next time, or None if the job has its lease."""
        if plan.leases:  # a lease must not wait for a slot
            await _take_slot(job)
        try:
            verdict = await self._ask(place, wants)
        except (BackendError, ConfigurationError) as error:
            return self._without_store(job, plan, place, error)
        if verdict.wait <= 0 and verdict.lease is not None:
            self._take(job, verdict.lease)
            return None
        if verdict.wait > 0:
            self._report(job, verdict.wait)
        return replace(place, start=verdict.at, reserved=verdict.reserved, waited=True)

    async def _may_run(self, job: Job, place: Place, grace: float) -> bool:
        """Take a slot; return False if the start was missed meanwhile."""
        await _take_slot(job)
        return not self._is_late(place, grace)

    def _is_late(self, place: Place, grace: float) -> bool:
        wait = self._until(place)
        return wait is not None and wait < -grace

    def _until(self, place: Place) -> float | None:
        """Return the seconds until a task's start or next ask; None if that is not known."""
        now = self._store_time.time()
        return None if place.start is None or now is None else place.start - now

    async def _ask(self, place: Place, wants: tuple[Wanted, ...]) -> Verdict:
        if self._batcher is None:
            raise RuntimeError("limits over all workers need a store")
        if self._now() < self._away_until:
            raise BackendError("the store of the limits did not answer")
        ask = Ask(token=place.token, wants=wants, waited=place.waited)
        answer = asyncio.ensure_future(self._batcher.ask(ask))
        try:
            verdict = await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(self._give_up)
            raise
        except (BackendError, ConfigurationError):
            self._away_until = self._now() + PAUSE
            raise
        self.outage.answered()
        self._store_time.learn(verdict.at - verdict.wait)
        return verdict

    def _give_up(self, answer: asyncio.Future[Verdict]) -> None:
        """Release the lease that was granted to a job which is no longer there."""
        if answer.cancelled() or answer.exception() is not None:
            return
        lease = answer.result().lease
        if lease is not None and self._leases is not None:
            self._leases.release(lease)

    def _take(self, job: Job, lease: Lease | None) -> None:
        if lease is not None and self._leases is not None:
            self._leases.add(lease)
            job.give_back = functools.partial(self._leases.release, lease)

    def _without_store(
        self, job: Job, plan: Plan, place: Place, error: Exception
    ) -> Postponed | None:
        """Let a job wait or run while the store is away."""
        self.outage.failed(job, error, closed=plan.closed)
        if not plan.closed:
            for report in self._telemetry.not_limited:
                report(job)
            return None
        wait = random.uniform(*AWAY)
        return self._postponed(job, wait, replace(place, start=None, reserved=False))

    def _may_hold(self, job: Job, wait: float) -> bool:
        return self._holds and wait <= HELD and (job.slot is None or job.slot.may_wait)

    def _postponed(self, job: Job, wait: float, place: Place | None = None) -> Postponed:
        if place is None:
            self._report(job, wait)
            return Postponed(delay=wait)
        lead = LEAD if self._holds and place.reserved else 0.0
        return Postponed(delay=max(wait - lead, 0.001), headers=place.headers())

    def _report(self, job: Job, wait: float) -> None:
        for report in self._telemetry.rate_limited:
            report(job, wait)

    def _wanted(self, message: TaskMessage, counter: Counter) -> Wanted:
        return Wanted(
            key=self._key(message, counter),
            rate=counter.rate,
            concurrency=counter.limit.concurrency,
        )

    def _key(self, message: TaskMessage, counter: Counter) -> str:
        value = None if counter.limit.by is None else counter.limit.key(message)
        return limit_key(f"{self._namespace}/{counter.name}", value)

    async def open(self) -> None:
        """Check the limits of all tasks, and open the store if there are any.

        Raises:
            ConfigurationError: a limit does not exist, or cannot count the calls of a task.
            BackendError: the store cannot be reached.
        """
        check_plans(self._blueprint)
        limited = self.everywhere or any(one.options.limited for one in self._blueprint.registry)
        if limited and self._store is not None:
            await self._store.open()

    async def close(self) -> None:
        """Release all leases."""
        await self._places.close()
        if self._leases is not None:
            await self._leases.close()
        if self._batcher is not None:
            await self._batcher.close()


def _limits_queues(blueprint: Blueprint) -> bool:
    topology = blueprint.topology
    return any(topology.queue(name).limits for name in ("", *topology.declared))


async def _wait(job: Job, seconds: float) -> None:
    """Wait in the worker, without a slot if the job's queue has slots."""
    if job.slot is None:
        await asyncio.sleep(seconds)
    else:
        await job.slot.wait(seconds)


async def _take_slot(job: Job) -> None:
    if job.slot is not None:
        await job.slot.take()
