"""The lifetime of a worker: start, consume, shut down."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence

from stem_amqp.cancellation import end
from stem_amqp.durations import format_seconds
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.message import new_id
from stem_amqp.worker.breaking.brakes import Brakes
from stem_amqp.worker.capabilities import warnings_of
from stem_amqp.worker.consumer import QueueConsumer
from stem_amqp.worker.executor import Executor
from stem_amqp.worker.isolation.quarantine import Quarantine
from stem_amqp.worker.parts import WorkerParts
from stem_amqp.worker.relief import Relief
from stem_amqp.worker.report.announce import Announcer
from stem_amqp.worker.report.gauges import Gauges
from stem_amqp.worker.report.logs import cover_new_handlers, enable, task_fields
from stem_amqp.worker.report.observer import Observer
from stem_amqp.worker.report.statistics import WorkerStatistics
from stem_amqp.worker.running.resources import Resources
from stem_amqp.worker.running.run import Runs
from stem_amqp.worker.running.threads import ThreadPool
from stem_amqp.worker.settle import Settler
from stem_amqp.worker.steering.command_handlers import make_orders
from stem_amqp.worker.steering.orders import Orders
from stem_amqp.worker.steering.steering import Steering
from stem_amqp.worker.wiring import (
    QueueSize,
    make_admission,
    make_limits,
    make_presence,
    make_processes,
    make_reporter,
    queues_of_threads,
)

log = logging.getLogger("stem_amqp.worker")

CANCEL_PERIOD = 5.0
"""Seconds after the grace period in which cancelled tasks can end and be settled."""


def worker_name() -> str:
    """Return a name for a worker that shows operators where it runs: ``host:pid:random``."""
    return f"{socket.gethostname()}:{os.getpid()}:{new_id()[-6:]}"


class Worker:
    """Consumes queues and runs their tasks until it is stopped.

    Args:
        parts: the parts of the application.
        queues: the logical queues.
        concurrency: tasks at once per queue; default: the topology's, else the settings'.
        prefetch: unsettled deliveries per queue; default: the topology's, else the concurrency.
        name: the worker's name; default: the one that `worker_name` returns.

    Attributes:
        steering: receives the commands to this worker.
        shut_down_by_command: whether an operator's command has stopped it.

    Raises:
        ConfigurationError: there is no queue, or no task is registered.
    """

    def __init__(
        self,
        parts: WorkerParts,
        queues: Sequence[str],
        *,
        concurrency: int | None = None,
        prefetch: int | None = None,
        name: str | None = None,
    ) -> None:
        if not queues:
            raise ConfigurationError("a worker needs at least one queue: -Q orders,emails")
        if len(parts.blueprint.registry) == 0:
            raise ConfigurationError("the application has no tasks; did you import their modules?")
        self.name = name or worker_name()
        self.ready = asyncio.Event()
        self.shut_down_by_command = False
        self._parts = parts
        self.steering = Steering(parts, self.name)
        self._brakes = Brakes(parts, self.steering, self.name)
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._stop_reason = ""
        blueprint, settings = parts.blueprint, parts.blueprint.settings
        sizes = [
            QueueSize.of(queue, blueprint, concurrency, prefetch) for queue in dict.fromkeys(queues)
        ]
        self._threads = ThreadPool(settings.threads or sum(size.concurrency for size in sizes))
        self._processes = make_processes(parts)
        self._resources = Resources(blueprint.overrides, settings)
        self._announcer = self._make_announcer()
        self._observer = self._make_observer()
        quarantine = Quarantine(parts.app, settings)
        self._limits = make_limits(parts)
        self._executor = self._make_executor(quarantine)
        self._settler = self._make_settler()
        self._consumers = [self._make_consumer(size, quarantine) for size in sizes]
        self._gauges = Gauges(
            self.name,
            self._consumers,
            threads=self._threads,
            executor=self._executor,
            settler=self._settler,
            certificates=settings.certificates,
        )
        self._relief = self._make_relief()
        self._presence = make_presence(parts, self._gauges, self._observer)
        self._reporter = make_reporter(parts, self._presence)
        self.steering.attach(self._consumers, self._presence, self._reporter)
        self._orders = self._make_orders()
        self._brakes.attach(self._consumers, self._executor, self._settler)
        self._threads.on_change = self._relief.changed

    def _make_orders(self) -> Orders:
        return make_orders(
            self._parts,
            self.steering,
            gauges=self._gauges,
            consumers=self._consumers,
            threads=self._threads,
            limits=self._limits,
            presence=self._presence,
            stop=self._end,
        )

    def _make_announcer(self) -> Announcer:
        blueprint = self._parts.blueprint
        return Announcer(
            blueprint.signals,
            blueprint.telemetry,
            self._parts.connected.transport.clock,
            self.name,
            log_successes=blueprint.settings.log_successes,
        )

    def _make_observer(self) -> Observer:
        return Observer(
            self._parts.blueprint,
            self._parts.connected,
            announcer=self._announcer,
            revocation=self.steering.revocation,
            worker=self.name,
        )

    def _make_executor(self, quarantine: Quarantine) -> Executor:
        parts = self._parts
        runs = Runs(
            parts.blueprint,
            parts.connected,
            threads=self._threads,
            watcher=self._observer,
            quarantine=quarantine,
            processes=self._processes,
            resources=self._resources,
            app=parts.app,
            worker=self.name,
        )
        return Executor(
            parts.blueprint,
            parts.connected,
            watcher=self._observer,
            runs=runs,
            admission=make_admission(parts, self.name),
            limits=self._limits,
            paused=self._brakes.pauses.tasks,
        )

    def _make_settler(self) -> Settler:
        return Settler(
            self._parts.blueprint,
            self._parts.connected,
            announcer=self._announcer,
            worker=self.name,
        )

    def _make_consumer(self, size: QueueSize, quarantine: Quarantine) -> QueueConsumer:
        return QueueConsumer(
            size.queue,
            self._parts.blueprint,
            self._parts.connected.transport,
            executor=self._executor,
            settler=self._settler,
            announcer=self._announcer,
            quarantine=quarantine,
            concurrency=size.concurrency,
            prefetch=size.prefetch,
            window=size.window,
            tag=f"{self.name}:{size.queue}",
        )

    def _make_relief(self) -> Relief:
        queues = queues_of_threads(self._parts.blueprint, self._processes)
        return Relief(self._threads, [c for c in self._consumers if c.queue in queues])

    def statistics(self) -> WorkerStatistics:
        """Return the worker's current statistics."""
        return self._gauges.statistics()

    def stop(self, reason: str = "stop requested") -> None:
        """Stop consuming, and give running tasks the grace period, which a second call ends."""
        if self._stopping.is_set():
            self._hurry.set()
            return
        self._stop_reason = reason
        self._stopping.set()

    def _end(self, reason: str, *, cold: bool) -> None:
        """Stop on command; a cold stop gives running tasks no grace period."""
        self.shut_down_by_command = True
        if not self._stopping.is_set():
            self.stop(reason)
        if cold:
            self._hurry.set()

    def revoke(self, task_id: str, reason: str, *, terminate: bool = False) -> None:
        """Prevent runs of a task; if ``terminate`` is set, cancel a run that has started."""
        self.steering.revoke(task_id, reason, terminate=terminate)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Worker]:
        """Run in the background for a block; for tests and for embedding.

        The block is entered once the worker consumes, and left once it has stopped.
        """
        task = asyncio.create_task(self.run(), name=f"worker {self.name}")
        ready = asyncio.create_task(self.ready.wait())
        try:
            await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            yield self
        finally:
            ready.cancel()
            self.stop("end of the block")
            await task

    async def run(self) -> None:
        """Consume until `stop` is called and every delivery is settled.

        Raises:
            BrokerError: a queue cannot be consumed at the start, or exists with other arguments
                while declaring is turned off. The worker recovers from later faults.
        """
        if self._parts.check is not None:
            await self._parts.check()
        signals, send = self._parts.blueprint.signals, self._observer.send
        changed = self.steering.following(self._observer.connection_changed)
        self._parts.connected.transport.on_connection_change = changed
        enable()
        for line in warnings_of(self._parts.blueprint, self._parts.connected.backend):
            log.error("%s", line)
        await self._limits.open()
        with task_fields():
            for report in self._parts.blueprint.telemetry.worker_started:
                report(self._gauges)
            await send(signals.worker_init)
            cover_new_handlers()
            background = {
                asyncio.create_task(self._presence.run(), name="worker heartbeat"),
                asyncio.create_task(self._relief.run(), name="worker threads"),
                *self.steering.background(),
            }
            try:
                async with self.steering.listening():
                    await self._consume_until_stopped()
            finally:
                await self._orders.close()  # also if the start has failed
                await end(*background)
                await self._observer.close()
                self._parts.connected.transport.on_connection_change = None
                self._presence.changed("stopped")
                for report in self._parts.blueprint.telemetry.worker_stopped:
                    report(self._gauges)
            await send(signals.worker_stopped)

    async def _consume_until_stopped(self) -> None:
        signals, send = self._parts.blueprint.signals, self._observer.send
        braking: set[asyncio.Task[None]] = set()
        try:
            await self._brakes.prepare()
            for consumer in self._consumers:
                await consumer.start()
            braking = self._brakes.background()
            self.ready.set()
            log.info("worker %s is ready: %s", self.name, self._describe_queues())
            self._presence.changed("running")
            await send(signals.worker_ready)
            await self._stopping.wait()
            await send(signals.worker_stopping, reason=self._stop_reason)
        finally:
            await end(*braking)
            await self._shut_down()

    def _describe_queues(self) -> str:
        return ", ".join(f"{c.queue} x{c.concurrency}" for c in self._consumers)

    async def _shut_down(self) -> None:
        """Shut down in stages: stop consuming, wait for running tasks, cancel them, close."""
        grace = self._parts.blueprint.settings.grace_period
        self._presence.changed("stopping", self._stop_reason)
        for consumer in self._consumers:
            await consumer.stop()
        running = self.statistics().running
        if running:
            log.info(
                "worker %s: %d tasks running, waiting up to %s (a second signal hurries)",
                self.name,
                running,
                format_seconds(grace),
            )
        drained = asyncio.create_task(self._drained())
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({drained, hurry}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        if not drained.done():
            for consumer in self._consumers:
                consumer.requeue_all()
            await asyncio.wait({drained}, timeout=CANCEL_PERIOD)
        for task in (hurry, drained):
            task.cancel()
        await asyncio.gather(drained, hurry, return_exceptions=True)
        for consumer in self._consumers:
            await consumer.close()
        self._announcer.close()
        await self._limits.close()
        await self._orders.close()
        await self._reporter.close()
        await self._parts.connected.writer.flush()
        await self._resources.close()
        self._threads.close()
        if self._processes is not None:
            if self._parts.connected.seal is not None:
                self._parts.connected.seal.ring.listeners.discard(self._processes.reload_keys)
            await self._processes.close()
        log.info("worker %s has stopped: %s", self.name, self._stop_reason or "failed to start")

    async def _drained(self) -> None:
        await asyncio.gather(*(consumer.drained() for consumer in self._consumers))
