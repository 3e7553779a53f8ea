"""The application: tasks, settings and connections in one object."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from typing_extensions import Unpack

from stem_amqp.assembly import Connected, StandIn, check_before_work, connect
from stem_amqp.blocking.producer import BlockingProducer
from stem_amqp.clock import Clock
from stem_amqp.definition import Registry, TaskDefinition
from stem_amqp.dependencies.check import check_factory
from stem_amqp.dependencies.declare import name_of
from stem_amqp.dependencies.place import Factory
from stem_amqp.durations import Duration
from stem_amqp.errors import StemError
from stem_amqp.middleware import Middleware, Stack
from stem_amqp.options import CallKeywords, CallOptions, TaskKeywords, TaskOptions, check_name
from stem_amqp.portal import Portal, run_in
from stem_amqp.producer import Call
from stem_amqp.results.base import TaskRecord
from stem_amqp.results.handle import TaskHandle
from stem_amqp.results.lookup import Results
from stem_amqp.settings import Settings
from stem_amqp.signals import Signals
from stem_amqp.signing.keyring import KeyChange, KeyRing
from stem_amqp.signing.source import ring_from
from stem_amqp.task import TaskDecorator
from stem_amqp.topology.lint import lint_time_limits
from stem_amqp.topology.load import load_topology
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import MemoryTransport
from stem_amqp.worker.context import TaskContext, current_or_none
from stem_amqp.worker.runner import Worker, WorkerParts

T = TypeVar("T")

log = logging.getLogger("stem_amqp.worker")


class Stem:
    """A task application.

    What is not given here comes from ``STEM_*`` variables and the ``.env`` file.

    Args:
        broker_url: such as ``amqp://user:password@host:5672/vhost``, ``amqps://…``, ``memory://``;
            several for failover.
        backend_url: ``rpc://``, ``redis://host``, ``sqlite:///path`` or ``memory://``.
        namespace: the prefix of every exchange and queue: one per environment.
        topology: the topology, or the path of its YAML file.
        settings: settings made elsewhere; the other arguments come before them.
        clock: the time that an in-memory broker measures with; for tests.
        middleware: what is around runs and publishes, the outermost first; see `Middleware`.

    Attributes:
        stand_in: connections that are used instead of its own, in tests; see `stem_amqp.testing`.

    Raises:
        ConfigurationError: a setting or the topology file cannot be used.
    """

    registry_type: ClassVar[type[Registry]] = Registry
    """What keeps the tasks."""

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
    ) -> None:
        given: dict[str, Any] = {
            "broker_url": broker_url,
            "backend_url": backend_url,
            "namespace": namespace,
        }
        given = {name: value for name, value in given.items() if value is not None}
        if isinstance(topology, (str, Path)):
            given["topology"] = Path(topology)
        self.settings = settings.replace(**given) if settings else Settings.load(**given)
        self.topology = self._read_topology(topology)
        if "namespace" not in self.settings.model_fields_set and self.topology.namespace:
            self.settings = self.settings.replace(namespace=self.topology.namespace)
        self.names = Names(self.settings.namespace)
        self.registry = self.registry_type()
        self.signals = Signals()
        self.signals.configure(
            enabled=self.settings.signals_enabled,
            enabled_signals=self.settings.enabled_signals,
        )
        self.clock = clock
        self.stand_in: StandIn | None = None
        self.overrides: dict[Factory, Factory] = {}
        """Dependencies that are replaced; see `override`."""
        self.middleware = Stack()
        for one in middleware:
            self.middleware.add(one)
        self._connected: Connected | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._portal: Portal | None = None
        self._blocking = BlockingProducer(self)
        self._keys: KeyRing | None = None
        self._users = 0
        self._lock = asyncio.Lock()

    def _read_topology(self, topology: Topology | Path | str | None) -> Topology:
        if isinstance(topology, Topology):
            return topology
        if self.settings.topology is not None:
            return load_topology(self.settings.topology)
        return Topology.default()

    def task(self, name: str, **options: Unpack[TaskKeywords]) -> TaskDecorator:
        """Make a function a task.

        Args:
            name: its name on the wire: dotted words such as ``orders.sync``, unique here.
            **options: see `stem_amqp.options.TaskKeywords`.

        Returns:
            A decorator for a plain or an async function.

        Raises:
            ConfigurationError: the name or an option cannot be used.
        """
        return TaskDecorator(self, check_name("task", name), TaskOptions.build(options))

    def add_middleware(self, middleware: Middleware) -> None:
        """Put something around every run and publish from now on, inside of what is there already.

        Args:
            middleware: an object of a class of your own that inherits from `Middleware`.

        Raises:
            ConfigurationError: it is none, or overrides nothing.
        """
        self.middleware.add(middleware)

    @contextlib.contextmanager
    def override(self, original: Factory, replacement: Factory) -> Iterator[None]:
        """Replace a dependency for a block, in this process: for tests.

        ``with stem.override(open_session, lambda: fake):`` It counts for what is opened inside of the
        block, by workers, by plain calls, and for what other dependencies need.

        Args:
            original: the factory as it stands in ``Depends(…)`` or ``Shared(…)``.
            replacement: the factory to call instead. It may be async where the original is not, and
                has dependencies of its own.

        Raises:
            TaskDefinitionError: the replacement cannot be called.
        """
        check_factory(f"the replacement of {name_of(original)}", replacement, TaskContext)
        before = self.overrides.get(original)
        self.overrides[original] = replacement
        try:
            yield
        finally:
            if before is None:
                del self.overrides[original]
            else:
                self.overrides[original] = before

    @property
    def queues(self) -> tuple[str, ...]:
        """The logical queues: those of the topology, those that tasks name, and the default one."""
        named = [task.options.queue for task in self.registry if task.options.queue]
        routed = [
            self.topology.route(task.name) or self.settings.default_queue
            for task in self.registry
            if not task.options.queue
        ]
        default = [] if self.registry or self.topology.declared else [self.settings.default_queue]
        return tuple(dict.fromkeys([*self.topology.declared, *named, *routed, *default]))

    @property
    def time_limits(self) -> tuple[tuple[str, str, float], ...]:
        """The tasks that have a time limit: their names, their queues, and the limit in seconds."""
        return tuple(
            (task.name, self._queue_of(task), task.options.time_limit)
            for task in self.registry
            if task.options.time_limit is not None
        )

    def _queue_of(self, task: TaskDefinition) -> str:
        routed = task.options.queue or self.topology.route(task.name)
        return routed or self.settings.default_queue

    @property
    def keys(self) -> KeyRing | None:
        """The keys that the settings name; None where they name none.

        Raises:
            ConfigurationError: they cannot be used.
        """
        if self._keys is None:
            self._keys = ring_from(self.settings)
        return self._keys

    def reload_keys(self) -> KeyChange | None:
        """Read the key file, or the variables, again; what runs goes on with the new keys.

        Returns:
            What has changed; None where there are no keys.

        Raises:
            ConfigurationError: the new keys cannot be used; the old ones stay.
        """
        return None if self.keys is None else self.keys.reload()

    async def connect(self) -> Connected:
        """Connect to the broker and the backend, and see to the topology as the settings say.

        Connecting twice is one connection; each `close` takes back one `connect`.

        Raises:
            BrokerError: the broker cannot be reached, refuses, or has another topology.
            BackendError: the backend cannot be reached.
            ConfigurationError: the keys cannot be used.
        """
        if self.stand_in is not None:
            return self.stand_in.connected
        async with self._lock:
            if self._connected is None:
                self._connected = await connect(self, self.clock)
                self._loop = asyncio.get_running_loop()
            self._users += 1
            return self._connected

    async def close(self) -> None:
        """Close the connections; closing what is not connected is no error."""
        if self.stand_in is not None:
            return
        async with self._lock:
            self._users = max(0, self._users - 1)
            if self._users == 0 and self._connected is not None:
                connected, self._connected = self._connected, None
                await connected.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __enter__(self) -> Self:
        """Connect for synchronous code, with an event loop in a thread of its own; see `run`."""
        if self._portal is not None:
            raise StemError("`with stem:` is open already; open it once, and use `stem.run`")
        self._portal = Portal()
        try:
            run_in(self._portal.loop, self.connect())
        except BaseException:
            self._close_portal()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._portal is not None:
            try:
                run_in(self._portal.loop, self.close())
            finally:
                self._close_portal()

    def _close_portal(self) -> None:
        if self._portal is not None:
            self._portal.close()
            self._portal = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine from synchronous code, and wait for it.

        Inside ``with stem:``, or in a synchronous task: ``stem.run(sync_order.enqueue("42"))``.

        Args:
            coroutine: such as ``task.enqueue(…)`` or ``handle.result()``.

        Raises:
            StemError: not connected, or called where the coroutine can be awaited.
        """
        loop = self._loop if self.stand_in is None else self.stand_in.loop()
        if loop is None or (self._connected is None and self.stand_in is None):
            coroutine.close()
            raise StemError("not connected: use `with stem:` first")
        return run_in(loop, coroutine)

    def blocking(self, *, timeout: Duration | None = None) -> BlockingProducer:
        """Make a producer for code without an event loop: Django, Flask, scripts, the REPL.

        ``with stem.blocking() as producer:`` opens and closes it; without ``with`` it opens on its
        first call, and closes at the interpreter's exit.

        Args:
            timeout: seconds or a duration such as ``"5s"`` that a call may take, connecting
                included; None: the settings' connect timeout and publish timeout together.

        Raises:
            ConfigurationError: the timeout cannot be used.
        """
        return BlockingProducer(self, timeout=timeout)

    @property
    def blocking_producer(self) -> BlockingProducer:
        """The producer that every ``task.enqueue_blocking(…)`` of this process shares."""
        return self._blocking

    def in_memory(self) -> tuple[asyncio.AbstractEventLoop, Connected] | None:
        """Return event loop and connections where the in-memory broker is in use here, else None.

        It lives in one event loop at a time, so a blocking producer works in that one too.
        """
        if self.stand_in is not None:
            return self.stand_in.loop(), self.stand_in.connected
        if self._connected is None or self._loop is None or not self._loop.is_running():
            return None
        in_memory = isinstance(self._connected.transport, MemoryTransport)
        return (self._loop, self._connected) if in_memory else None

    @property
    def connected(self) -> Connected:
        """The open connections.

        Raises:
            StemError: there are none.
        """
        if self.stand_in is not None:
            return self.stand_in.connected
        if self._connected is None:
            raise StemError("not connected: use `async with stem:` or `await stem.connect()` first")
        return self._connected

    def prepare(
        self, task: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> Call:
        """Make a call by name for `enqueue_many`; the task's code need not be here.

        Args:
            task: the task's name.
            args: its arguments by name, JSON values. They are checked if the task is known here.
            **options: see `stem_amqp.options.CallKeywords`.

        Raises:
            ConfigurationError: the name or an option cannot be used.
            ArgumentsError: the task is known here, and the arguments do not fit it.
        """
        definition = self.registry.get(check_name("task", task))
        packed = dict(args or {})
        if definition is not None:
            packed = definition.arguments.pack_named(packed)
        return Call(
            task=task, args=packed, options=CallOptions.build(options), definition=definition
        )

    async def enqueue(
        self, task: str, args: Mapping[str, Any] | None = None, **options: Unpack[CallKeywords]
    ) -> TaskHandle[Any]:
        """Enqueue a task by name, and wait until the broker has it safe.

        Args:
            task: the task's name; its code need not be here.
            args: its arguments by name, JSON values.
            **options: see `stem_amqp.options.CallKeywords`.

        Raises:
            ConfigurationError: the name or an option cannot be used.
            ArgumentsError: the task is known here, and the arguments do not fit it.
            PublishError: the broker did not take it.
        """
        return await self.enqueue_call(self.prepare(task, args, **options))

    async def enqueue_call(self, call: Call) -> TaskHandle[Any]:
        """Enqueue a prepared call; see `enqueue`."""
        context = current_or_none()
        lineage = context.lineage if context is not None else None
        producer = self.connected.producer
        return producer.handle(call, await producer.enqueue(call, lineage))

    async def enqueue_many(self, calls: Iterable[Call]) -> list[TaskHandle[Any]]:
        """Enqueue many calls, with a window of them awaiting their confirm at a time.

        Args:
            calls: from ``task.prepare(…)``, ``task.options(…).prepare(…)`` or ``stem.prepare(…)``;
                a generator is read as the window moves.

        Returns:
            A handle for each, in their order.

        Raises:
            EnqueueManyError: the broker did not take some; it says which.
        """
        context = current_or_none()
        lineage = context.lineage if context is not None else None
        kept: list[Call] = []

        def keeping() -> Iterable[Call]:
            for call in calls:
                kept.append(call)
                yield call

        producer = self.connected.producer
        enqueued = await producer.enqueue_many(keeping(), lineage)
        return [producer.handle(call, one) for call, one in zip(kept, enqueued, strict=True)]

    def handle(self, task_id: str) -> TaskHandle[Any]:
        """Return a handle for a task by its id."""
        return TaskHandle(task_id, backend=self.connected.backend)

    @property
    def results(self) -> Results:
        """Lists and counts of tasks: ``await stem.results.list(state="failed")``."""
        return Results(lambda: self.connected.backend)

    async def record(self, task_id: str) -> TaskRecord | None:
        """Return what the backend knows of a task, or None."""
        return await self.connected.backend.get(task_id)

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
        for warning in lint_time_limits(self.topology, self.time_limits):
            log.warning("%s", warning)
        return Worker(
            parts, queues or self.queues, concurrency=concurrency, prefetch=prefetch, name=name
        )

    def worker_parts(self) -> WorkerParts:
        """Return what a worker of this application is made of.

        Raises:
            StemError: the application is not connected.
        """
        connected = self.connected
        return WorkerParts(
            transport=connected.transport,
            backend=connected.backend,
            writer=connected.writer,
            names=self.names,
            topology=self.topology,
            registry=self.registry,
            signals=self.signals,
            settings=self.settings,
            app=self,
            seal=connected.seal,
            overrides=self.overrides,
            middleware=self.middleware,
            check=lambda: check_before_work(self),
        )

    def __repr__(self) -> str:
        state = "connected" if self._connected else "not connected"
        return f"<Stem {self.settings.namespace!r}, {len(self.registry)} tasks, {state}>"
