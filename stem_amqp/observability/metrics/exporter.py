"""Counts what producers and workers report, with instruments of any library."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from typing_extensions import override

from stem_amqp.breakers.opening import State
from stem_amqp.messages.message import NOT_BEFORE, SINCE
from stem_amqp.observability.exporter import Exporter
from stem_amqp.observability.guard import handles_errors, noting
from stem_amqp.observability.metrics import catalogue as of
from stem_amqp.observability.metrics.instruments import Instruments
from stem_amqp.observability.metrics.model import OTHER, Instrument
from stem_amqp.observability.metrics.reasons import ExceptionNames, reason_of
from stem_amqp.observability.metrics.sampler import Sampler
from stem_amqp.observability.metrics.scheduling import ScheduleSeries
from stem_amqp.observability.metrics.series import (
    QueueSeries,
    TaskSeries,
    moment,
    seconds,
)
from stem_amqp.observability.reported import (
    BreakerChange,
    Delivered,
    End,
    Publishing,
    SchedulerLook,
    TicksReport,
    WorkerView,
)
from stem_amqp.outcome import (
    Dead,
    Held,
    Outcome,
    Repeated,
    Retried,
    Returned,
    Revoked,
    Snoozed,
    Succeeded,
)
from stem_amqp.states import Reason
from stem_amqp.transport.base import ConnectionChange

_UNTRUSTED = frozenset({Reason.SIGNATURE_INVALID, Reason.REPLAYED, Reason.NOT_ENCRYPTED})


class MetricsExporter(Exporter):
    """Counts reports; its subclasses choose the library.

    Labels are names that the application knows: its tasks, its queues, the reasons of dead letters and
    at most `stem_amqp.observability.metrics.reasons.MAXIMUM` types of exceptions. Anything else is
    ``other``: nothing that a message contains becomes a label.

    Args:
        instruments: the instruments of the library.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._exceptions = ExceptionNames()
        self._tasks: dict[tuple[str, str], TaskSeries] = {}
        self._queues: dict[str, QueueSeries] = {}
        self._schedules = ScheduleSeries(instruments)
        self._samplers: dict[WorkerView, Sampler] = {}
        self._note_received = noting(self.received)
        self._note_started = noting(self.started)
        self._note_settled = noting(self.settled)

    def flush(self) -> None:
        """Pass everything that was counted to the library; any thread may call it."""
        for sampler in tuple(self._samplers.values()):
            sampler.sample()
        self._instruments.flush()

    def _task(self, task: str, queue: str) -> TaskSeries:
        series = self._tasks.get((task, queue))
        if series is None:
            series = self._tasks[task, queue] = TaskSeries(self._instruments, task, queue)
        return series

    def _queue(self, queue: str) -> QueueSeries:
        series = self._queues.get(queue)
        if series is None:
            series = self._queues[queue] = QueueSeries(self._instruments, queue)
        return series

    def _of(self, delivered: Delivered) -> TaskSeries:
        definition, queue = delivered.definition, delivered.queue
        task = OTHER if definition is None else definition.name
        return self._tasks.get((task, queue)) or self._task(task, queue)

    @override
    def publishing(self, publishing: Publishing) -> End:
        queue = publishing.queue if publishing.known_queue else OTHER
        series = self._task(publishing.task if publishing.known else OTHER, queue)
        begun = time.perf_counter()

        def end(error: BaseException | None) -> None:
            if error is None:
                series.published.add()
                self._queue(queue).confirm.observe(time.perf_counter() - begun)
            else:
                series.counter(of.PUBLISH_FAILURES, reason_of(error)).add()

        return end

    @override
    @handles_errors
    def received(self, delivered: Delivered) -> None:
        try:
            queue = delivered.queue
            series = self._queues.get(queue) or self._queue(queue)
            series.arrived += 1
            if not series.dirty:
                series.flush_soon()
            if delivered.redelivered:
                series.redelivered.add()
        except Exception:  # noqa: BLE001 - logged there
            self._note_received()

    @override
    def rate_limited(self, delivered: Delivered, wait: float) -> None:
        self._of(delivered).counter(of.RATE_LIMITED).add()

    @override
    def not_limited(self, delivered: Delivered) -> None:
        self._of(delivered).counter(of.UNLIMITED).add()

    @override
    def unknown_task(self, delivered: Delivered, waited: float) -> None:
        self._queue(delivered.queue).counter(of.UNKNOWN_TASKS).add()

    @override
    @handles_errors
    def started(self, delivered: Delivered) -> None:
        try:
            series, message = self._of(delivered), delivered.message
            if delivered.redelivered:
                due = ""  # an earlier delivery is part of the time
            elif message is None or delivered.headers:
                due = _written(delivered, NOT_BEFORE, SINCE)
            else:  # most messages have none
                due = message.enqueued_at
            series.starts.extend((due, time.time()))
            if not series.dirty:
                series.flush_soon()
        except Exception:  # noqa: BLE001 - logged there
            self._note_started()

    @override
    @handles_errors
    def settled(self, delivered: Delivered, outcome: Outcome, at: float) -> None:
        try:
            series = self._of(delivered)
            if not isinstance(outcome, Succeeded):
                self._unsuccessful(series, delivered, outcome, at)
                return
            message = delivered.message
            if message is None or delivered.headers:
                born = _written(delivered, SINCE, NOT_BEFORE)
            else:  # most messages have none
                born = message.enqueued_at
            series.successes.extend((born, at, delivered.duration))
            if not series.dirty:
                series.flush_soon()
        except Exception:  # noqa: BLE001 - logged there
            self._note_settled()

    def _unsuccessful(
        self, series: TaskSeries, delivered: Delivered, outcome: Outcome, at: float
    ) -> None:
        if delivered.started:
            series.run_time.observe(delivered.duration)
        if isinstance(outcome, Retried):
            name = self._exceptions.of(outcome.failure)
            series.counter(of.RETRIED, name).add()
        elif isinstance(outcome, Dead):
            self._dead(series, delivered, outcome)
            self._end(series, delivered, at)
        else:
            instrument = _OTHERS.get(type(outcome))
            if instrument is not None:
                series.counter(instrument).add()

    def _end(self, series: TaskSeries, delivered: Delivered, at: float) -> None:
        born = moment(_written(delivered, SINCE, NOT_BEFORE))
        if born is not None:
            series.end_to_end.observe(seconds(born, at))

    def _dead(self, series: TaskSeries, delivered: Delivered, outcome: Dead) -> None:
        reason = outcome.reason
        series.counter(of.DEAD_LETTERED, reason.value).add()
        if reason in _UNTRUSTED:
            self._queue(delivered.queue).counter(of.SIGNATURE_FAILURES, reason.value).add()
        elif reason is Reason.EXPIRED:
            series.counter(of.EXPIRED).add()
        elif reason is Reason.CRASHED:
            series.counter(of.CRASHED).add()
        elif delivered.started:
            series.counter(of.FAILED, self._exceptions.of(outcome.failure)).add()

    @override
    def settle_refused(self, delivered: Delivered, error: str) -> None:
        self._of(delivered).counter(of.DEAD_LETTERED, Reason.REJECTED.value).add()

    @override
    def worker_failed(self, delivered: Delivered, error: BaseException) -> None:
        self._of(delivered).counter(of.DEAD_LETTERED, Reason.WORKER_FAILED.value).add()

    @override
    def connection_changed(self, change: ConnectionChange) -> None:
        if not change.restored:
            return
        if change.consumer:
            self._instruments.counter(of.CONSUMER_RESTARTS, ()).add()
        else:
            self._instruments.counter(of.RECONNECTS, (change.role,)).add()

    @override
    def commanded(self, command: str, outcome: str) -> None:
        self._instruments.counter(of.COMMANDS, (command, outcome)).add()

    @override
    def breaker_changed(self, change: BreakerChange) -> None:
        labels = (change.kind, change.name)
        self._instruments.gauge(of.BREAKER_STATE, labels).set(_BREAKER_STATES[change.state])
        if change.own and change.state == State.OPEN:
            self._instruments.counter(of.BREAKER_OPENED, labels).add()

    @override
    def ticked(self, report: TicksReport) -> None:
        self._schedules.ticks(report)

    @override
    def scheduler_looked(self, look: SchedulerLook) -> None:
        self._schedules.look(look)

    @override
    def worker_started(self, worker: WorkerView) -> None:
        for queue in worker.capacity:
            self._queue(queue)
        self._samplers[worker] = sampler = Sampler(worker, self._instruments)
        sampler.start()

    @override
    def worker_stopped(self, worker: WorkerView) -> None:
        sampler = self._samplers.pop(worker, None)
        if sampler is not None:
            sampler.stop()
        self._instruments.flush()


_BREAKER_STATES: Mapping[str, int] = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
_OTHERS: Mapping[type[Outcome], Instrument] = {
    Snoozed: of.SNOOZED,
    Held: of.HELD,
    Revoked: of.REVOKED,
    Repeated: of.REPEATED,
    Returned: of.RETURNED,
}
"""The counters of outcomes that need nothing else."""


def _written(delivered: Delivered, first: str, second: str) -> str:
    """Return the time in one of two headers, else when the message was enqueued; empty if it is not there."""
    message, headers = delivered.message, delivered.headers
    enqueued_at = "" if message is None else message.enqueued_at
    value: Any = headers.get(first) or headers.get(second) or enqueued_at
    return value if isinstance(value, str) else ""
