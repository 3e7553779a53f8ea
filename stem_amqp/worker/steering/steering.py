"""The part of a worker that receives commands, and keeps what they have changed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from stem_amqp.directives.model import Directive, Kind
from stem_amqp.directives.state import Directives
from stem_amqp.messages.commands import Command, Directed, Report, Revoke
from stem_amqp.messages.message import TaskMessage
from stem_amqp.transport.base import ConnectionChange, OnConnectionChange
from stem_amqp.transport.delivery import Delivery
from stem_amqp.worker.consumer import QueueConsumer
from stem_amqp.worker.gates.revocations import Revocations
from stem_amqp.worker.job import Job
from stem_amqp.worker.parts import WorkerParts
from stem_amqp.worker.report.presence import Presence
from stem_amqp.worker.report.reporter import Reporter
from stem_amqp.worker.steering.keeper import DirectiveKeeper
from stem_amqp.worker.steering.listener import ControlListener, Handler
from stem_amqp.worker.steering.topology_watch import TopologyWatch

log = logging.getLogger("stem_amqp.worker")


class Steering:
    """Receives the commands of the control exchange, and carries them out.

    The worker makes it before its consumers, which ask it whether a task is revoked, and then attaches
    what carries out commands.

    Args:
        parts: the worker's parts.
        worker: the worker's name.

    Attributes:
        directives: what operators have decided, as far as it is for this worker.
        desk: reads the stored directives, and issues further ones.
        settled: what waits until the directives are obeyed with which the worker starts.
        heard: what is told of each directive that was sent, after it is obeyed.
        keeper: reads them again when commands may have been missed.
        revocations: the ids of tasks that were revoked by a command of an earlier release.
        handlers: what carries out each class of command; others add theirs before the worker runs.
    """

    def __init__(self, parts: WorkerParts, worker: str) -> None:
        blueprint = parts.blueprint
        clock, namespace = parts.connected.transport.clock, blueprint.settings.namespace
        self.directives = Directives(clock, worker=worker, namespace=namespace)
        self.directives.listen(self._terminate)
        self.desk = parts.connected.desk(blueprint)
        self.keeper = DirectiveKeeper(self.desk, self.directives, clock, blueprint.telemetry)
        self.settled: list[Callable[[], Awaitable[None]]] = []
        self.heard: list[Callable[[Directive], None]] = []
        self.revocations = Revocations()
        self.handlers: dict[type[Command], Handler] = {
            Directed: self._directed,
            Revoke: self._revoke,
            Report: self._report,
        }
        self._parts = parts
        self._worker = worker
        self._queue = f"{blueprint.names.control}.{worker}"
        self._consumers: Sequence[QueueConsumer] = ()
        self._presence: Presence | None = None
        self._reporter: Reporter | None = None
        self._watch = TopologyWatch(
            parts.connected.transport,
            control=blueprint.names.control,
            commands=self._queue,
            interval=blueprint.settings.provision_interval,
        )

    def attach(
        self, consumers: Sequence[QueueConsumer], presence: Presence, reporter: Reporter
    ) -> None:
        """Set what carries out commands.

        Args:
            consumers: the worker's consumers.
            presence: sends heartbeats, and publishes events for listeners.
            reporter: answers requests for the worker's state.
        """
        self._consumers, self._presence, self._reporter = consumers, presence, reporter

    def revoke(self, task_id: str, reason: str, *, terminate: bool = False) -> None:
        """Prevent runs of a task; if ``terminate`` is set, cancel a run that has started.

        Args:
            task_id: the task's id.
            reason: why, for the log and the signals.
            terminate: whether to cancel a run that has started.
        """
        self.revocations.add(task_id, reason)
        if terminate:
            for consumer in self._consumers:
                consumer.revoke(task_id, reason)

    def revocation(self, message: TaskMessage, queue: str) -> str | None:
        """Return why a message must not be run; None if it may run.

        Args:
            message: the message.
            queue: the logical queue that it is in.
        """
        reason = self.revocations.reason(message.id)
        if reason is None and self.directives.revoking:
            reason = self.directives.revocation(message, queue)
        return reason

    def following(self, report: OnConnectionChange) -> OnConnectionChange:
        """Return a function that reports a connection's change, and has what was missed read again.

        Args:
            report: reports the change.
        """

        def changed(change: ConnectionChange) -> None:
            report(change)
            if change.restored:
                self.keeper.want()

        return changed

    def background(self) -> set[asyncio.Task[None]]:
        """Start the tasks that run beside the consumers; the worker ends them."""
        return {
            asyncio.create_task(self._watch.run(), name="worker topology watch"),
            asyncio.create_task(self.keeper.run(), name="worker directives"),
        }

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Receive commands for a block, which is entered once the stored directives are known."""
        connected = self._parts.connected
        listener = ControlListener(
            self.handlers,
            seal=connected.seal,
            clock=connected.transport.clock,
            telemetry=self._parts.blueprint.telemetry,
        )
        async with connected.transport.subscribe(
            self._queue,
            listener,
            exchange=self._parts.blueprint.names.control,
            on_renamed=self._watch.command_queue_renamed,
        ):
            # after the subscription, so that no change in between is missed
            await self.keeper.start()
            for settled in self.settled:
                await settled()
            yield

    def _directed(self, command: Directed, _: Delivery) -> None:
        directive = Directive.decode(command.body)
        self.keeper.heard(directive)
        for listener in self.heard:
            listener(directive)

    def _terminate(self, news: tuple[Directive, ...]) -> None:
        """End the runs that new revocations are for, if they say so."""
        now = self._parts.connected.transport.clock.time()
        namespace = self._parts.blueprint.settings.namespace
        for one in news:
            if one.kind != Kind.REVOKE or not one.terminate or not one.holds(self._worker, now):
                continue
            for consumer in self._consumers:
                for job in consumer.jobs:
                    if job.message and one.revokes(job.message, job.queue, namespace):
                        _log_if_in_thread(job)
                        consumer.revoke(job.message.id, one.reason)

    def _revoke(self, command: Revoke, _: Delivery) -> None:
        if command.directive is not None:
            # an operator of this release sends it for earlier ones, beside the directive
            return
        for report in self._parts.blueprint.telemetry.commanded:
            report(command.NAME, "done")
        self.revoke(command.task_id, command.reason, terminate=command.terminate)

    def _report(self, command: Report, delivery: Delivery) -> None:
        if command.events and self._presence is not None:
            self._presence.listened(command.events)
        if self._reporter is not None:
            self._reporter.answer(delivery.reply_to)


def _log_if_in_thread(job: Job) -> None:
    task = job.definition
    if not job.started or job.outcome is not None or task is None:
        return
    if not task.is_async and not job.in_child:
        log.warning(
            "%s is revoked while it runs in a thread, which cannot be stopped: TimeLimitError is raised in"
            " it at its next line, so it goes on while it waits in a call that blocks",
            job,
        )
