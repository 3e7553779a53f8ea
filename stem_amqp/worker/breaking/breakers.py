"""Opens breakers when too many runs fail, and closes them when one run succeeds."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from stem_amqp.blueprint import Blueprint
from stem_amqp.breakers.opening import Opening, State
from stem_amqp.cancellation import end
from stem_amqp.clock import Clock, timestamp
from stem_amqp.connected import Connected
from stem_amqp.directives.model import Directive, Kind
from stem_amqp.directives.state import Directives
from stem_amqp.durations import format_seconds
from stem_amqp.errors import BrokerRefusedError, StemError
from stem_amqp.observability.reported import BreakerChange
from stem_amqp.outcome import Outcome
from stem_amqp.worker.breaking.circuit import Circuit
from stem_amqp.worker.breaking.trial import Trial
from stem_amqp.worker.breaking.verdict import failed
from stem_amqp.worker.consumer import QueueConsumer
from stem_amqp.worker.job import Job
from stem_amqp.worker.pauses.pauses import Issue, Pauses

log = logging.getLogger("stem_amqp.worker")

LAST_CHANGES = 5.0
"""Seconds for which a worker that stops waits until the changes of its breakers are stored, at most."""
AGAIN = 10.0
"""Seconds, on average, until a worker looks again whether another one still tries a run."""
_DIGEST = 16


class Breakers:
    """The breakers of a worker's queues and tasks; false if there are none.

    Each worker counts the runs of its own. A breaker that opens is a directive, so that all workers pause.
    When its pause has ended, one worker tries a run: the one that can declare an exclusive queue, which
    RabbitMQ grants to one connection at a time.

    Args:
        blueprint: the application.
        connected: its open connections.
        directives: what holds in this worker.
        issue: stores a directive and sends it to all workers.
        pauses: carries out the pauses in this worker.
        worker: the worker's name.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        connected: Connected,
        directives: Directives,
        issue: Issue,
        *,
        pauses: Pauses,
        worker: str,
    ) -> None:
        self._connected = connected
        self._clock: Clock = connected.transport.clock
        self._names = blueprint.names
        self._telemetry = blueprint.telemetry
        self._directives = directives
        self._issue = issue
        self._pauses = pauses
        self._worker = worker
        self._queues: dict[str, Circuit] = {}
        self._tasks: dict[str, Circuit] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._trials: dict[Circuit, asyncio.Task[None]] = {}
        self._blueprint = blueprint
        self._consumers: Sequence[QueueConsumer] = ()

    def __bool__(self) -> bool:
        return bool(self._queues or self._tasks)

    def attach(self, consumers: Sequence[QueueConsumer]) -> None:
        """Set the worker's consumers, whose queues and tasks may have breakers.

        Args:
            consumers: the consumers.
        """
        self._consumers = consumers
        queues = [consumer.queue for consumer in consumers]
        for queue in queues:
            spec = self._blueprint.topology.queue(queue).breaker
            if spec is not None:
                circuit = Circuit(kind="queue", name=queue, breaker=spec.breaker())
                self._queues[queue] = circuit
        for task in self._blueprint.registry:
            breaker = task.options.breaker
            if breaker is not None and self._blueprint.queue_of(task) in queues:
                circuit = Circuit(kind="task", name=task.name, breaker=breaker)
                self._tasks[task.name] = circuit
        if self:
            self._directives.listen(self._learn)

    async def run(self) -> None:
        """Report the state of every breaker, and try a run where that is due, until cancelled.

        Then another worker tries a run instead.
        """
        try:
            for circuit in self._circuits():
                self._follow(circuit, own=False, first=True)
            await asyncio.Event().wait()
        finally:
            self._directives.unlisten(self._learn)
            if (
                self._running
            ):  # else the other workers, and this one after a restart, would not know
                await asyncio.wait(set(self._running), timeout=LAST_CHANGES)
            await end(*self._trials.values(), *self._running)

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Count a run that has ended.

        Args:
            job: its job.
            outcome: its outcome, which is not settled yet.
        """
        bad = failed(outcome)
        if bad is None or job.tried:
            return
        at = time.monotonic()
        for circuit in self._of(job):
            if circuit.window.add(at, failed=bad) and not circuit.moving:
                self._trip(circuit)

    def _of(self, job: Job) -> Iterable[Circuit]:
        found = [self._queues.get(job.queue)]
        if job.definition is not None:
            found.append(self._tasks.get(job.definition.name))
        return [circuit for circuit in found if circuit is not None]

    def _circuits(self) -> tuple[Circuit, ...]:
        return (*self._queues.values(), *self._tasks.values())

    def _trip(self, circuit: Circuit) -> None:
        """Open a breaker, unless it is open already or an operator has paused what it is for."""
        if circuit.opening(self._directives) or circuit.is_paused_by_others(self._directives):
            circuit.window.clear()
            return
        why = f"{circuit.window.summary}, {circuit.breaker.needed} of {circuit.breaker.of} open it"
        circuit.window.clear()
        opening = Opening.begin(circuit.breaker, self._clock.time())
        circuit.moving = True
        self._spawn(self._open(circuit, opening, why))

    async def _open(self, circuit: Circuit, opening: Opening, why: str) -> None:
        try:
            await self._publish(circuit, opening, why)
        finally:
            circuit.moving = False

    async def _publish(self, circuit: Circuit, opening: Opening | None, why: str) -> None:
        """Make a new state known to all workers, and obey it here in any case."""
        circuit.moving = True
        try:
            directive = self._directive(circuit, opening, why)
            # here at once: the store may be slow, and the runs that fail do harm now
            self._directives.learn([directive])
            try:
                await self._issue(directive)
            except StemError as error:
                log.error(  # noqa: TRY400 - the error says everything
                    "%s is %s in this worker only, since the others cannot be told: %s",
                    circuit,
                    "closed" if opening is None else opening.state,
                    error,
                )
        finally:
            circuit.moving = False

    def _directive(self, circuit: Circuit, opening: Opening | None, why: str) -> Directive:
        now = self._clock.time()
        before = [
            one for one in self._directives.in_effect(Kind.BREAKER) if one.target == circuit.target
        ]
        latest = max((one.at for one in before), default=0.0)
        return Directive(
            kind=Kind.BREAKER,
            target=circuit.target,
            value=None if opening is None else opening.fields(),
            reason=why,
            by=f"worker {self._worker}",
            at=max(now, latest + 0.001),
            nonce=f"{self._worker[-_DIGEST:]}:{time.monotonic_ns():x}",
            expires=None if opening is None else opening.expires,
            withdrawn=opening is None,
        )

    def _learn(self, news: Iterable[Directive]) -> None:
        targets = [one.target for one in news if one.kind == Kind.BREAKER]
        for circuit in self._circuits():
            if circuit.target in targets:
                self._follow(circuit, own=circuit.moving)

    def _follow(self, circuit: Circuit, *, own: bool, first: bool = False) -> None:
        """Report a change of a breaker's state, and try a run when its pause has ended."""
        opening = circuit.opening(self._directives)
        state = State.CLOSED if opening is None else opening.state
        changed, circuit.state = state is not circuit.state, state
        circuit.changed.set()
        if changed or first:
            self._report(circuit, opening, own=own and changed)
        if opening is None:
            circuit.window.clear()
            return
        trial = self._trials.get(circuit)
        if trial is None or trial.done():
            task = asyncio.create_task(self._try_until_closed(circuit), name=f"try {circuit}")
            self._trials[circuit] = task

    def _report(self, circuit: Circuit, opening: Opening | None, *, own: bool) -> None:
        directive = next(
            (o for o in self._directives.in_effect(Kind.BREAKER) if o.target == circuit.target),
            None,
        )
        change = BreakerChange(
            kind=circuit.kind,
            name=circuit.name,
            state=circuit.state.value,
            reason="" if directive is None else directive.reason,
            own=own,
            until=0.0 if opening is None else opening.until,
        )
        for report in self._telemetry.breaker_changed:
            report(change)
        if own and self._connected.events is not None:
            self._connected.events.worker(
                "breaker-changed",
                self._worker,
                kind=change.kind,
                target=change.name,
                state=change.state,
                reason=change.reason,
                until=timestamp(change.until) if change.until else None,
            )
        self._log(circuit, opening, change)

    def _log(self, circuit: Circuit, opening: Opening | None, change: BreakerChange) -> None:
        if opening is None:
            log.info("%s is closed", circuit)
        elif opening.state is State.HALF_OPEN:
            log.info("%s is half-open: one run is tried", circuit)
        else:
            left = format_seconds(max(0.0, round(opening.until - self._clock.time(), 1)))
            log.warning("%s is open, a run is tried in %s: %s", circuit, left, change.reason)

    async def _try_until_closed(self, circuit: Circuit) -> None:
        """Try a run once the pause has ended; wait while another worker does."""
        while (opening := circuit.opening(self._directives)) is not None:
            left = opening.until - self._clock.time()
            if left > 0:
                await asyncio.sleep(left)
                continue
            try:
                async with self._connected.transport.subscribe(self._lock(circuit), lambda _: None):
                    await self._try(circuit)
            except BrokerRefusedError as error:
                log.debug("%s: another worker tries a run: %s", circuit, error)
                await self._while_unchanged(circuit, AGAIN * random.uniform(0.5, 1.5))
            except StemError as error:
                log.warning("%s: no run can be tried yet: %s", circuit, error)
                await asyncio.sleep(AGAIN)

    async def _while_unchanged(self, circuit: Circuit, seconds: float) -> None:
        """Wait, but not longer than until the breaker's state changes."""
        circuit.changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await circuit.changed.wait()

    async def _try(self, circuit: Circuit) -> None:
        """Let one run start, and decide by its end; called by one worker at a time."""
        await self._pauses.reread()
        opening = circuit.opening(self._directives)
        if opening is None or opening.until > self._clock.time():
            return
        if opening.state is State.OPEN:
            await self._publish(circuit, opening.tried(), "one run is tried")
        trial = Trial(circuit, self._consumers, self._pauses, self._directives)
        bad = await trial.verdict()
        if bad is None or circuit.opening(self._directives) is None:
            return  # closed meanwhile by an operator, or paused
        if bad:
            again = Opening.begin(circuit.breaker, self._clock.time(), opening)
            await self._publish(circuit, again, "the run that was tried failed")
        else:
            await self._publish(circuit, None, "the run that was tried succeeded")

    def _lock(self, circuit: Circuit) -> str:
        """Return the name of the exclusive queue of the worker that tries a run."""
        target = f"{circuit.kind}:{circuit.name}"
        return f"{self._names.control}.try-{hashlib.sha256(target.encode()).hexdigest()[:_DIGEST]}"

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
