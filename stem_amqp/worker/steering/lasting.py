"""Obeys the directives that change a worker: concurrency, rates, log level; and tells what each has changed.

Pauses and revocations are obeyed elsewhere: this module only says what they have met.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from fnmatch import fnmatchcase
from typing import Any

from stem_amqp.cancellation import end
from stem_amqp.directives.model import Directive, Kind
from stem_amqp.directives.state import Directives
from stem_amqp.durations import Rate
from stem_amqp.errors import ConfigurationError, StemError
from stem_amqp.messages.answers import HELD, Obeyed
from stem_amqp.messages.commands import (
    LEVELS,
    MOST_CONCURRENCY,
    SKEW,
    ConcurrencyChange,
    Confirm,
)
from stem_amqp.observability import Telemetry
from stem_amqp.observability.events import EventsExporter
from stem_amqp.worker.consumer import QueueConsumer
from stem_amqp.worker.gates.limits.gate import LimitGate
from stem_amqp.worker.job import Job
from stem_amqp.worker.report.quota import Quota
from stem_amqp.worker.steering.concurrency import Concurrency
from stem_amqp.worker.steering.inspection import held_task
from stem_amqp.worker.steering.labels import label
from stem_amqp.worker.steering.log_level import LOG_LEVELS
from stem_amqp.worker.steering.orders import LINES, PERIOD, Done, audit

log = logging.getLogger("stem_amqp.worker")

KEPT = 1000
"""The most directives whose changes are remembered."""
AGAIN = 5.0
"""Seconds until the next attempt to change a queue that could not be consumed."""


class Lasting:
    """Obeys directives in one worker.

    Args:
        worker: the worker's name.
        namespace: the application's namespace.
        directives: what operators have decided.
        consumers: the worker's consumers.
        concurrency: changes how many tasks run at once.
        limits: the limits of tasks.
        telemetry: receives each directive that came.
        events: publishes an event for each; None: there are no events.
    """

    def __init__(
        self,
        worker: str,
        namespace: str,
        directives: Directives,
        *,
        consumers: Sequence[QueueConsumer],
        concurrency: Concurrency,
        limits: LimitGate,
        telemetry: Telemetry,
        events: EventsExporter | None,
    ) -> None:
        self._worker = worker
        self._namespace = namespace
        self._directives = directives
        self._consumers = consumers
        self._concurrency = concurrency
        self._limits = limits
        self._telemetry = telemetry
        self._events = events
        self._obeyed: OrderedDict[str, Obeyed] = OrderedDict()
        self._sized = ""
        self._resizing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines = Quota(LINES, PERIOD)
        self._news = asyncio.Event()
        directives.listen(self._changed)

    def heard(self, directive: Directive) -> None:
        """Remember that a directive has arrived, also one that changes nothing here."""
        self._remember(directive, self._obeyed.get(directive.nonce, Obeyed()))
        self._news.set()

    async def confirm(self, order: Confirm) -> Done:
        """Wait until a directive is obeyed, and return what it has changed.

        Raises:
            StemError: it has not arrived in time.
        """
        limit = max(0.1, order.deadline - order.at)
        try:
            async with asyncio.timeout(min(limit, SKEW)):
                while order.directive not in self._obeyed:
                    self._news.clear()
                    await self._news.wait()
                if self._resizing is not None:
                    await asyncio.shield(self._resizing)
        except TimeoutError:
            raise StemError(
                "the directive is not obeyed yet: it has not arrived, or a queue cannot be consumed; the"
                " worker reads stored directives at least every 90 s"
            ) from None
        return Done(self._obeyed[order.directive])

    async def settled(self) -> None:
        """Wait until queues have the concurrency that was decided before the worker started."""
        if self._resizing is not None:
            await asyncio.wait({self._resizing}, timeout=AGAIN)

    def _changed(self, news: tuple[Directive, ...]) -> None:
        kinds = {one.kind for one in news}
        for one in news:
            self._record(one)
            self._remember(one, self._met(one))
        if Kind.RATE_LIMIT in kinds:
            found = self._directives.in_effect(Kind.RATE_LIMIT)
            self._limits.set_rates(self._rate if found else None)
            if found:
                self._start(self._open_limits())
        if Kind.LOG_LEVEL in kinds:
            self._set_level(news)
        sized = [one.nonce for one in news if one.kind == Kind.CONCURRENCY]
        if sized:
            self._sized = sized[-1]
            if self._resizing is None:
                self._resizing = self._start(self._resize())

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name="stem-amqp directive")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _open_limits(self) -> None:
        try:
            await self._limits.open()
        except StemError as error:
            log.warning("the store of limits cannot be opened yet: %s", error)

    async def close(self) -> None:
        """Obey no more, end what is not finished, and give the level of the log up."""
        self._directives.unlisten(self._changed)
        await end(*self._tasks)
        LOG_LEVELS.release(self)

    def _remember(self, directive: Directive, obeyed: Obeyed) -> None:
        self._obeyed[directive.nonce] = obeyed
        while len(self._obeyed) > KEPT:
            self._obeyed.popitem(last=False)

    def _record(self, directive: Directive) -> None:
        """Write the audit line, the event and the count of a directive."""
        for report in self._telemetry.commanded:
            report(label(directive), "done")
        text = directive_text(directive)
        if self._events is not None:
            self._events.worker(
                "worker-commanded",
                self._worker,
                command=text,
                issuer=directive.by,
                nonce=directive.nonce,
                error=None,
            )
        if self._lines.take():
            skipped = self._lines.skipped()
            more = f" ({skipped} more were not logged)" if skipped else ""
            audit.info("%r by %r, command %r%s", text, directive.by, directive.nonce, more)

    # What each kind does

    def _met(self, directive: Directive) -> Obeyed:
        """Return the runs that a pause or a revocation has met."""
        if directive.withdrawn or directive.kind not in {Kind.PAUSE, Kind.REVOKE}:
            return Obeyed()
        met = [job for consumer in self._consumers for job in consumer.jobs if _runs(job)]
        jobs = [job for job in met if self._is_for(directive, job)]
        if not directive.terminate:
            return Obeyed(running=len(jobs))
        stuck = [job for job in jobs if _in_thread(job)]
        ended = [job for job in jobs if not _in_thread(job)]
        return Obeyed(
            ended=tuple(map(held_task, ended[:HELD])),
            not_ended=tuple(map(held_task, stuck[:HELD])),
        )

    def _is_for(self, directive: Directive, job: Job) -> bool:
        message = job.message
        if message is None:
            return False
        if directive.kind == Kind.REVOKE:
            return directive.revokes(message, job.queue, self._namespace)
        return directive.target.matches(message, job.queue, self._namespace)

    def _rate(self, name: str) -> Rate | None:
        found = self._directives.rate_limit(name)
        try:
            return None if found is None else Rate.parse(found)
        except ConfigurationError as error:
            log.warning("a directive's rate is ignored: %s", error)
            return None

    def _set_level(self, news: tuple[Directive, ...]) -> None:
        queues = [consumer.queue for consumer in self._consumers]
        wanted = [
            one.value
            for one in self._directives.in_effect(Kind.LOG_LEVEL)
            if one.value in LEVELS and any(_is_for_queue(one, queue) for queue in queues)
        ]
        if not wanted and not LOG_LEVELS.held_by(self):
            return
        root = logging.getLogger()
        before = logging.getLevelName(root.level)
        if wanted:
            LOG_LEVELS.hold(self, wanted[-1])
        else:
            LOG_LEVELS.release(self)
        level = logging.getLevelName(root.level)
        for one in news:
            if one.kind == Kind.LOG_LEVEL:
                self._remember(one, Obeyed(level_before=before, level=level))

    def _numbers(self) -> dict[str, int]:
        """Return the concurrency of each queue: the configured one, changed by each directive in turn."""
        numbers = dict(self._concurrency.configured)
        for one in self._directives.in_effect(Kind.CONCURRENCY):
            change = _change(one)
            for queue, number in numbers.items() if change is not None else ():
                if change is not None and _is_for_queue(one, queue):
                    changed = change.applied_to(number)
                    numbers[queue] = max(1, min(changed, MOST_CONCURRENCY))
        return numbers

    async def _resize(self) -> None:
        try:
            while (numbers := self._numbers()) != self._concurrency.current:
                try:
                    changed = await self._concurrency.set(numbers)
                except StemError as error:
                    log.warning("the concurrency cannot be changed yet: %s", error)
                    await asyncio.sleep(AGAIN)
                    continue
                self._obeyed[self._sized] = Obeyed(queues=changed)
        finally:
            self._resizing = None


def directive_text(directive: Directive) -> str:
    """Describe a directive in few words: ``pause queue orders``, ``end of pause queue orders``."""
    value = "" if directive.value is None else f" {directive.value}"
    end = "end of " if directive.withdrawn else ""
    target = f" {directive.target}" if directive.target else ""
    workers = f" in {', '.join(directive.workers)}" if directive.workers else ""
    terminate = " and end its runs" if directive.terminate else ""
    return f"{end}{directive.kind}{value}{target}{workers}{terminate}"


def _change(directive: Directive) -> ConcurrencyChange | None:
    try:
        return ConcurrencyChange.parse(directive.value)
    except ConfigurationError as error:
        log.warning("a directive's concurrency is ignored: %s", error)
        return None


def _is_for_queue(directive: Directive, queue: str) -> bool:
    wanted = directive.target.queue
    return wanted is None or fnmatchcase(queue, wanted)


def _runs(job: Job) -> bool:
    return job.started and job.outcome is None


def _in_thread(job: Job) -> bool:
    task = job.definition
    return task is not None and not task.is_async and not job.in_child
