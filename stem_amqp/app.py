"""The application: tasks, settings and connections in one object."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar, overload

from typing_extensions import Unpack

from stem_amqp.assembly import check_before_work, create_transport
from stem_amqp.batched import BatchTaskDecorator
from stem_amqp.blueprint import Blueprint
from stem_amqp.clock import Clock
from stem_amqp.composition.entrance import ComposingApp
from stem_amqp.context.context import current_or_none
from stem_amqp.context.middleware import Middleware
from stem_amqp.control import Control, revoke_matching, revoke_one
from stem_amqp.directives.issue import Issued
from stem_amqp.directives.revocation import RevokeAllKeywords, RevokeKeywords
from stem_amqp.errors import EnqueueManyError
from stem_amqp.observability import Exporter
from stem_amqp.observability.events import Filters, LifecycleEvent, stream_events
from stem_amqp.results.base import ResultBackend, TaskRecord
from stem_amqp.results.handle import TaskHandle
from stem_amqp.results.lookup import Results
from stem_amqp.scheduler.managed import Schedules
from stem_amqp.schedules import DefinesSchedules
from stem_amqp.settings import Settings
from stem_amqp.task import TaskDecorator
from stem_amqp.tasks.batch import Batch
from stem_amqp.tasks.call import Call
from stem_amqp.tasks.definition import Registry
from stem_amqp.tasks.keywords import CallKeywords, TaskKeywords
from stem_amqp.tasks.option_values import task_id as check_id
from stem_amqp.tasks.options import TaskOptions, check_name
from stem_amqp.topology.lint import lint_time_limits
from stem_amqp.topology.model import Topology
from stem_amqp.transport.memory import MemoryTransport
from stem_amqp.worker.parts import WorkerParts
from stem_amqp.worker.runner import Worker

R = TypeVar("R")

log = logging.getLogger("stem_amqp.worker")


class Stem(ComposingApp, DefinesSchedules):
    """A task application.

    Settings that are not given come from ``STEM_*`` variables and the ``.env`` file.

    Args:
        broker_url: such as ``amqp://user:password@host:5672/vhost``, ``amqps://…``, ``memory://``;
            several for failover.
        backend_url: ``rpc://``, ``redis://host``, ``postgresql://host/db``, ``sqlite:///path`` or
            ``memory://``.
        namespace: the prefix of every exchange and queue: one per environment.
        topology: the topology, or the path of its YAML file.
        settings: settings made elsewhere; the other arguments take precedence.
        clock: the clock of an in-memory broker; for tests.
        middleware: the middleware of runs and publishes, the outermost first; see `Middleware`.
        exporters: the exporters of what producers and workers report; see
            `stem_amqp.observability.Exporter`.

    Raises:
        ConfigurationError: a setting or the topology file cannot be used.
    """

    registry_type: ClassVar[type[Registry]] = Registry
    """The class of the registry of tasks."""

    def __init__(
        self,
        *,
        broker_url: str | Sequence[str] | None = None,
        backend_url: str | None = None,
        namespace: str | None = None,
        topology: Topology | Path | str | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
        middleware: Sequence[Middleware] = (),
        exporters: Sequence[Exporter] = (),
    ) -> None:
        given: dict[str, Any] = {
            "broker_url": broker_url,
            "backend_url": backend_url,
            "namespace": namespace,
        }
        given = {name: value for name, value in given.items() if value is not None}
        blueprint = Blueprint.build(
            settings.replace(**given) if settings else Settings.load(**given),
            topology=topology,
            registry=self.registry_type(),
            middleware=middleware,
            exporters=exporters,
            clock=clock,
        )
        super().__init__(blueprint)

    @overload
    def task(
        self, name: str = "", *, batch: Batch, **options: Unpack[TaskKeywords]
    ) -> BatchTaskDecorator: ...
    @overload
    def task(self, name: str = "", **options: Unpack[TaskKeywords]) -> TaskDecorator: ...
    def task(
        self, name: str = "", *, batch: Batch | None = None, **options: Unpack[TaskKeywords]
    ) -> TaskDecorator | BatchTaskDecorator:
        """Make a function a task.

        Args:
            name: its name on the wire: dotted words such as ``orders.sync``, unique here.
            batch: a worker collects messages of the task, and calls the function once with a list.
            **options: see `stem_amqp.tasks.keywords.TaskKeywords`.

        Returns:
            A decorator for a plain or an async function.

        Raises:
            ConfigurationError: the name or an option cannot be used.
        """
        check_name("task", name)
        kind = TaskDecorator if batch is None else BatchTaskDecorator
        return kind(self, name, TaskOptions.build(options, batch))

    async def enqueue(
        self, task: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> TaskHandle[Any]:
        """Enqueue a task by name, and wait until the broker has confirmed it.

        Args:
            task: the task's name; its code need not be in this process.
            args: its arguments by name, JSON values.
            **options: see `stem_amqp.tasks.keywords.CallKeywords`.

        Raises:
            ConfigurationError: the name or an option cannot be used.
            ArgumentsError: the task is known here, and the arguments do not fit it.
            PublishError: the broker did not take it.
        """
        return await self.enqueue_call(self.prepare(task, args, **options))

    async def enqueue_call(self, call: Call[R]) -> TaskHandle[R]:
        """Enqueue a prepared call; see `enqueue`."""
        context = current_or_none()
        lineage = context.lineage if context is not None else None
        producer = self.connected.producer
        return producer.handle(call, await producer.enqueue(call, lineage), self._backend)

    async def enqueue_many(self, calls: Iterable[Call[R]]) -> list[TaskHandle[R]]:
        """Enqueue many calls, with a window of calls that await their confirm.

        Args:
            calls: from ``task.prepare(…)``, ``task.options(…).prepare(…)`` or ``stem.prepare(…)``;
                a generator is read as the window moves.

        Returns:
            A handle for each call, in the order of the calls.

        Raises:
            EnqueueManyError: the broker did not take some calls; the error says which, and has the handles
                of the others.
            ConfigurationError: an object is not a call; the calls before it are enqueued.
        """
        context = current_or_none()
        lineage = context.lineage if context is not None else None
        kept: list[Call[R]] = []

        def keeping() -> Iterable[Call[R]]:
            for call in calls:
                kept.append(call)
                yield call

        producer = self.connected.producer
        try:
            enqueued = await producer.enqueue_many(keeping(), lineage)
        except EnqueueManyError as error:
            done = {
                index: producer.handle(kept[index], one, self._backend)
                for index, one in error.done.items()
            }
            raise EnqueueManyError(done, error.failed) from None
        return [
            producer.handle(call, one, self._backend)
            for call, one in zip(kept, enqueued, strict=True)
        ]

    def handle(self, task_id: str) -> TaskHandle[Any]:
        """Return a handle for a task by its id.

        Raises:
            ConfigurationError: the text is not a valid id.
        """
        check_id(task_id)
        self._backend()
        return TaskHandle(task_id, backend=self._backend)

    def _backend(self) -> ResultBackend:
        """Return the current backend: a handle may be older than the connections."""
        return self.connected.backend

    @property
    def results(self) -> Results:
        """Lists and counts of tasks: ``await stem.results.list(state="failed")``."""
        return Results(self._backend)

    @property
    def control(self) -> Control:
        """Commands to the workers: ``await stem.control.ping()``, ``.inspect()``, ``.shutdown(…)``."""
        return Control(lambda: self.blueprint, lambda: self.connected)

    @property
    def schedules(self) -> Schedules:
        """Schedules at run time: ``await stem.schedules.add("nightly", "report", cron="0 3 * * *")``."""
        return Schedules(lambda: self.blueprint, lambda: self.connected)

    async def revoke(self, task_id: str, **options: Unpack[RevokeKeywords]) -> Issued:
        """Prevent that a task runs, or runs again: queued, delayed, or enqueued later under the same id.

        The revocation is stored, and obeyed by the workers that run and by those that start later.

        Args:
            task_id: the task's id.
            **options: see `stem_amqp.directives.revocation.RevokeKeywords`.

        Returns:
            The directive, where it is stored, and whether a worker runs that was told at once.

        Raises:
            ConfigurationError: the id or an option is not valid, or too many directives are stored.
            SignatureError: workers need a signature, and this process has no key for commands.
            BrokerError: the broker does not answer, or refuses.
            BackendError: the result backend does not answer.
        """
        return await revoke_one(self._blueprint, self.connected, task_id, **options)

    async def revoke_all(self, **options: Unpack[RevokeAllKeywords]) -> Issued:
        """Revoke all tasks that match and were enqueued before now: ``stem.revoke_all(task="orders.*")``.

        Args:
            **options: conditions that must all match, and the options of `revoke`; see
                `stem_amqp.directives.revocation.RevokeAllKeywords`.

        Returns:
            As `revoke`.

        Raises:
            ConfigurationError: no condition is given, or one is not valid.
            StemError: as for `revoke`.
        """
        return await revoke_matching(self._blueprint, self.connected, **options)

    async def record(self, task_id: str) -> TaskRecord | None:
        """Return the backend's record of a task, or None.

        Raises:
            ConfigurationError: the text is not a valid id.
        """
        check_id(task_id)
        return await self._backend().get(task_id)

    def events(
        self,
        *,
        task: str | Sequence[str] = (),
        event: str | Sequence[str] = (),
        queue: str | Sequence[str] = (),
    ) -> AsyncGenerator[LifecycleEvent, None]:
        """Receive lifecycle events of all workers: ``async for event in stem.events(task="orders.*")``.

        Workers publish events while somebody listens, and begin within a second. An event may be lost: see
        ``dropped`` of the next one. The iteration ends when the application closes.

        Args:
            task: globs of task names; none: all.
            event: names of events, such as ``failed``; none: all except ``worker-heartbeat``.
            queue: globs of logical queues; none: all.

        Raises:
            ConfigurationError: there is no event of a name.
            StemError: the application is not connected.
        """
        connected = self.connected
        filters = Filters(tasks=_several(task), events=_several(event), queues=_several(queue))
        return stream_events(
            connected.transport,
            self.names,
            seal=connected.seal,
            filters=filters,
            end=connected.ending,
        )

    def worker(
        self,
        queues: Sequence[str] | None = None,
        *,
        concurrency: int | None = None,
        prefetch: int | None = None,
        name: str | None = None,
    ) -> Worker:
        """Make a worker in this process; ``stem-amqp worker`` does so on the command line.

        Args:
            queues: the logical queues; default: all.
            concurrency: tasks at once per queue.
            prefetch: unsettled deliveries per queue.
            name: the worker's name.

        Raises:
            StemError: the application is not connected.
        """
        parts = self.worker_parts()
        for warning in lint_time_limits(self.topology, self._blueprint.time_limits):
            log.warning("%s", warning)
        return Worker(
            parts, queues or self.queues, concurrency=concurrency, prefetch=prefetch, name=name
        )

    def worker_parts(self) -> WorkerParts:
        """Return the parts of a worker of this application.

        Raises:
            StemError: the application is not connected.
        """
        blueprint, connected = self._blueprint, self.connected
        alone = isinstance(connected.transport, MemoryTransport)
        return WorkerParts(
            blueprint=blueprint,
            connected=connected,
            app=self,
            open_transport=None if alone else partial(create_transport, blueprint.settings),
            check=lambda: check_before_work(blueprint, connected),
        )

    def __repr__(self) -> str:
        state = "connected" if self._connected else "not connected"
        return f"<Stem {self.settings.namespace!r}, {len(self.registry)} tasks, {state}>"


def _several(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
