"""The lifetime of a worker: init, ready, work, stop, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from stem_amqp.definition import Registry
from stem_amqp.dependencies.place import Factory
from stem_amqp.durations import format_seconds
from stem_amqp.errors import ConfigurationError
from stem_amqp.message import new_id
from stem_amqp.middleware import Stack
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.batch import ResultWriter
from stem_amqp.settings import Settings
from stem_amqp.signals import Signals
from stem_amqp.signing.seal import Seal
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport
from stem_amqp.worker.announce import Announcer
from stem_amqp.worker.consumer import QueueConsumer
from stem_amqp.worker.context import EnqueuesCalls
from stem_amqp.worker.control_listener import ControlListener
from stem_amqp.worker.executor import Executor
from stem_amqp.worker.logs import task_fields
from stem_amqp.worker.observer import Observer
from stem_amqp.worker.processes import ProcessPool
from stem_amqp.worker.quarantine import Quarantine
from stem_amqp.worker.resources import Resources
from stem_amqp.worker.revocations import Revocations
from stem_amqp.worker.settle import Settler
from stem_amqp.worker.threads import ThreadPool

log = logging.getLogger("stem_amqp.worker")

CANCEL_PERIOD = 5.0
"""Seconds that cancelled tasks get to end, and outcomes to be settled, after the grace period."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerParts:
    """What a worker is made of; the application gives it.

    Args:
        transport: connected.
        backend: open.
        writer: the backend's batching writer.
        names: the names on the broker.
        topology: prefetch, concurrency and retry policies of queues.
        registry: the tasks.
        signals: the application's signals.
        settings: the application's settings.
        app: what contexts enqueue with.
        seal: verifies and decrypts bodies; None takes them as they are.
        overrides: dependencies that are replaced; looked up as they are opened.
        middleware: what is around each run.
        check: looks at the topology once more before the worker takes a task; raises to stop it.
    """

    transport: Transport
    backend: ResultBackend
    writer: ResultWriter
    names: Names
    topology: Topology
    registry: Registry
    signals: Signals
    settings: Settings
    app: EnqueuesCalls
    seal: Seal | None = None
    overrides: Mapping[Factory, Factory] = field(default_factory=dict)
    middleware: Stack = field(default_factory=Stack)
    check: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerStatistics:
    """What a worker does at a moment.

    Args:
        name: the worker's name.
        queues: logical queue to the number of its running tasks.
        consuming: logical queues that the broker delivers from.
        running: tasks that run.
        done: deliveries settled since the start.
        abandoned_threads: threads whose run outlived its time limit.
        signature_invalid: messages that were refused for their signature, and never run.
        settle_refused: messages that were rejected, because the broker refused what was to follow.
        replies_given_up: replies of ``rpc://`` that the broker refused.
    """

    name: str
    queues: Mapping[str, int]
    consuming: tuple[str, ...]
    running: int
    done: int
    abandoned_threads: int
    signature_invalid: int = 0
    settle_refused: int = 0
    replies_given_up: int = 0


def worker_name() -> str:
    """Return a name for a worker that tells operators where to look: ``host:pid:random``."""
    return f"{socket.gethostname()}:{os.getpid()}:{new_id()[-6:]}"


class Worker:
    """Consumes queues and runs their tasks until it is stopped.

    Args:
        parts: what it is made of.
        queues: the logical queues.
        concurrency: tasks at once per queue; default: the topology's, else the settings'.
        prefetch: unsettled deliveries per queue; default: the topology's, else the concurrency.
        name: default: host, process id and something random.

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
        if len(parts.registry) == 0:
            raise ConfigurationError("the application has no tasks; did you import their modules?")
        self.name = name or worker_name()
        self.ready = asyncio.Event()
        self._parts = parts
        self._revocations = Revocations()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._stop_reason = ""
        sizes = {queue: self._size(queue, concurrency, prefetch) for queue in dict.fromkeys(queues)}
        self._threads = ThreadPool(
            parts.settings.threads or sum(size for size, _ in sizes.values())
        )
        self._processes = self._make_processes()
        self._resources = Resources(parts.overrides, parts.settings)
        self._announcer = self._make_announcer()
        self._observer = self._make_observer()
        self._consumers = self._make_consumers(sizes)

    def _make_announcer(self) -> Announcer:
        parts = self._parts
        return Announcer(parts.signals, parts.transport.clock, self.name)

    def _make_observer(self) -> Observer:
        parts = self._parts
        return Observer(
            signals=parts.signals,
            announcer=self._announcer,
            backend=parts.backend,
            writer=parts.writer,
            revocations=self._revocations,
            clock=parts.transport.clock,
            worker=self.name,
            tracks_started=parts.settings.track_started and parts.backend.keeps_states,
            result_ttl=parts.settings.result_ttl,
        )

    def _make_processes(self) -> ProcessPool | None:
        """Return the pool if a task asks for one, and it can be had."""
        parts = self._parts
        names = [task.name for task in parts.registry if task.options.executor == "process"]
        if not names or parts.settings.in_memory:
            # an in-memory broker is in this process alone, and so are its tasks
            return None
        pool = ProcessPool(parts.app, parts.settings)
        pool.check(names[0])
        return pool

    def _make_consumers(self, sizes: Mapping[str, tuple[int, int]]) -> list[QueueConsumer]:
        parts = self._parts
        quarantine = Quarantine(parts.app, parts.settings)
        executor = self._executor = Executor(
            registry=parts.registry,
            topology=parts.topology,
            clock=parts.transport.clock,
            threads=self._threads,
            watcher=self._observer,
            quarantine=quarantine,
            processes=self._processes,
            resources=self._resources,
            middleware=parts.middleware,
            app=parts.app,
            worker=self.name,
            max_age=parts.settings.max_age,
            backend=parts.backend,
            result_ttl=parts.settings.result_ttl,
            seal=parts.seal,
        )
        settler = self._settler = Settler(
            transport=parts.transport,
            backend=parts.backend,
            writer=parts.writer,
            names=parts.names,
            announcer=self._announcer,
            worker=self.name,
            result_ttl=parts.settings.result_ttl,
        )
        return [
            QueueConsumer(
                queue=queue,
                names=parts.names.works(queue, parts.topology.queue(queue).version),
                version=parts.topology.queue(queue).version,
                transport=parts.transport,
                executor=executor,
                settler=settler,
                announcer=self._announcer,
                quarantine=quarantine,
                concurrency=size,
                prefetch=unsettled,
                tag=f"{self.name}:{queue}",
                native=parts.topology.queue(queue).native_retry is not None,
            )
            for queue, (size, unsettled) in sizes.items()
        ]

    def _size(self, queue: str, concurrency: int | None, prefetch: int | None) -> tuple[int, int]:
        spec, settings = self._parts.topology.queue(queue), self._parts.settings
        size = concurrency or spec.concurrency or settings.concurrency
        unsettled = prefetch or spec.prefetch or settings.prefetch or size
        if concurrency and not prefetch:
            # Asked for here and now: it comes before what the file or the settings say of prefetch
            unsettled = max(unsettled, concurrency)
        # With fewer deliveries than slots, the slots beyond them would never fill
        return min(size, unsettled), unsettled

    def statistics(self) -> WorkerStatistics:
        """Return what the worker does at this moment."""
        queues = {consumer.queue: consumer.running for consumer in self._consumers}
        return WorkerStatistics(
            name=self.name,
            queues=queues,
            consuming=tuple(c.queue for c in self._consumers if c.consuming),
            running=sum(queues.values()),
            done=sum(consumer.done for consumer in self._consumers),
            abandoned_threads=self._threads.abandoned,
            signature_invalid=self._executor.refused,
            settle_refused=self._settler.refused,
            replies_given_up=self._settler.replies_given_up,
        )

    def stop(self, reason: str = "stop requested") -> None:
        """Stop: no more intake, running tasks get the grace period. A second call hurries."""
        if self._stopping.is_set():
            self._hurry.set()
            return
        self._stop_reason = reason
        self._stopping.set()

    def revoke(self, task_id: str, reason: str, *, terminate: bool = False) -> None:
        """Do not run a task, or cancel it if it runs and ``terminate`` is set."""
        self._revocations.add(task_id, reason)
        if terminate:
            for consumer in self._consumers:
                consumer.revoke(task_id, reason)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Worker]:
        """Run for a block, in the background; for tests and for embedding.

        The block begins when the worker consumes, and ends when it has stopped.
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
        """Work until `stop` is called and everything is settled.

        Raises:
            BrokerError: a queue cannot be consumed at the start, or stands with other arguments where
                nothing is to be declared; later faults are healed.
        """
        if self._parts.check is not None:
            await self._parts.check()
        signals, tell = self._parts.signals, self._observer.tell
        self._parts.transport.on_connection_change = self._observer.connection_changed
        with task_fields():
            await tell(signals.worker_init)
            heartbeat = asyncio.create_task(self._heartbeats(), name="worker heartbeat")
            try:
                async with self._commands():
                    await self._consume_until_stopped()
            finally:
                heartbeat.cancel()
                await asyncio.wait({heartbeat})
                await self._observer.close()
                self._parts.transport.on_connection_change = None
            await tell(signals.worker_stopped)

    async def _consume_until_stopped(self) -> None:
        signals, tell = self._parts.signals, self._observer.tell
        try:
            for consumer in self._consumers:
                await consumer.start()
            self.ready.set()
            log.info("worker %s is ready: %s", self.name, self._describe_queues())
            await tell(signals.worker_ready)
            await self._stopping.wait()
            await tell(signals.worker_stopping, reason=self._stop_reason)
        finally:
            await self._shut_down()

    def _commands(self) -> contextlib.AbstractAsyncContextManager[str]:
        """Hear the commands of the control exchange for a block."""
        names = self._parts.names
        return self._parts.transport.subscribe(
            f"{names.control}.{self.name}",
            ControlListener(
                lambda command: self.revoke(
                    command.task_id, command.reason, terminate=command.terminate
                )
            ),
            exchange=names.control,
        )

    def _describe_queues(self) -> str:
        return ", ".join(f"{c.queue} x{c.concurrency}" for c in self._consumers)

    async def _shut_down(self) -> None:
        """Walk down the ladder: intake, grace, cancel, return."""
        grace = self._parts.settings.grace_period
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
        hurry = asyncio.create_task(self._hurried())
        await asyncio.wait({drained, hurry}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        if not drained.done():
            for consumer in self._consumers:
                consumer.give_back()
            await asyncio.wait({drained}, timeout=CANCEL_PERIOD)
        for task in (hurry, drained):
            task.cancel()
        await asyncio.gather(drained, hurry, return_exceptions=True)
        for consumer in self._consumers:
            await consumer.close()
        await self._parts.writer.flush()
        await self._resources.close()
        self._threads.close()
        if self._processes is not None:
            await self._processes.close()
        log.info("worker %s has stopped: %s", self.name, self._stop_reason or "failed to start")

    async def _drained(self) -> None:
        await asyncio.gather(*(consumer.drained() for consumer in self._consumers))

    async def _hurried(self) -> None:
        await self._hurry.wait()

    async def _heartbeats(self) -> None:
        signal = self._parts.signals.worker_heartbeat
        while True:
            await asyncio.sleep(self._parts.settings.heartbeat_interval)
            if signal.active:
                statistics = self.statistics()
                await self._observer.tell(signal, running=statistics.running, done=statistics.done)
