"""The blocking producer: what code without an event loop enqueues with."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

from typing_extensions import Unpack

from stem_amqp.assembly import Connected
from stem_amqp.blocking.bulk import enqueue_in_parts
from stem_amqp.blocking.handle import BlockingHandle
from stem_amqp.blocking.process import leave_behind, producers
from stem_amqp.blocking.results import BlockingResults
from stem_amqp.blocking.session import Session
from stem_amqp.blocking.waiting import check_may_block, wait
from stem_amqp.durations import Duration, seconds
from stem_amqp.errors import ConfigurationError, PublishTimeoutError
from stem_amqp.message import new_id
from stem_amqp.options import CallKeywords
from stem_amqp.producer import Call, Enqueued
from stem_amqp.results.handle import TaskHandle
from stem_amqp.settings import Settings
from stem_amqp.worker.context import current_or_none

if TYPE_CHECKING:
    from stem_amqp.app import Stem
    from stem_amqp.task import BoundTask, Task

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

PUBLISH_SHARE = 0.9
"""Of a time limit, what a publish may take: so its own error, which says more, comes first."""
CLOSE_LIMIT = 5.0
"""Seconds that `close` waits."""
MARGIN = 1.0
"""Seconds that another thread may take to say that the time is over."""


class BlockingProducer:
    """Enqueues from code without an event loop; see `Stem.blocking`.

    Threads may share it. The child of a fork gets connections of its own, on its first use.

    Args:
        app: the application.
        timeout: seconds or a duration such as ``"5s"`` that a call may take, connecting included;
            None: the settings' connect timeout and publish timeout together.

    Raises:
        ConfigurationError: the timeout cannot be used.
    """

    def __init__(self, app: Stem, *, timeout: Duration | None = None) -> None:
        settings = app.settings
        if timeout is None:
            self.timeout = settings.connect_timeout + settings.publish_timeout
        else:
            self.timeout = seconds(timeout)
        if self.timeout <= 0:
            raise ConfigurationError(f"a timeout must be more than 0 s, not {self.timeout:g} s")
        self._app = app
        self._session: Session | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()
        producers.add(self)

    def open(self) -> Self:
        """Connect now, and not on the first call; opening what is open is no error.

        Raises:
            BrokerError: the broker cannot be reached, refuses, or has another topology.
            BackendError: the backend cannot be reached.
            ConfigurationError: the keys cannot be used.
            StemError: an event loop runs in this thread.
        """

        async def nothing(_: Connected) -> None:
            return

        self.ask(nothing, instead="await stem.connect()", unclear="it is not known to be open")
        return self

    def close(self) -> None:
        """Close the connections, within a few seconds; a later call opens them again.

        What other threads wait for ends with a `BrokerUnavailableError`. The interpreter's exit
        closes what is still open.
        """
        self._check_process()
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.begin_to_close()
            session.join(CLOSE_LIMIT)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @overload
    def enqueue(
        self, task: Task[P, R] | BoundTask[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> BlockingHandle[R]: ...
    @overload
    def enqueue(
        self,
        task: str,
        /,
        args: Mapping[str, Any] | None = None,
        **options: Unpack[CallKeywords],
    ) -> BlockingHandle[Any]: ...
    def enqueue(self, task: Any, /, *args: Any, **kwargs: Any) -> BlockingHandle[Any]:
        """Enqueue a task, and wait until the broker has it safe.

        Args:
            task: the task; with options of the call, ``task.options(…)``; or its name.
            *args: the function's arguments, without the context; for a name, a mapping of them.
            **kwargs: the same by name; for a name, options: see `stem_amqp.options.CallKeywords`.

        Returns:
            A handle to wait for the result with.

        Raises:
            ArgumentsError: the arguments do not fit the function; nothing was sent.
            ConfigurationError: the name, an option or the task itself cannot be used.
            PublishError: the broker did not take it; after a `PublishTimeoutError` it may have.
            BrokerUnavailableError: there is no connection within the timeout.
            StemError: an event loop runs in this thread.
        """
        if isinstance(task, str):
            return self.enqueue_call(self._app.prepare(task, *args, **kwargs))
        prepare = getattr(task, "prepare", None)
        if prepare is None:
            raise ConfigurationError(
                f"{task!r} is no task.\n"
                '  Give a function with @stem.task("…"), or the name of a task as text.'
            )
        return self.enqueue_call(prepare(*args, **kwargs))

    def enqueue_call(self, call: Call) -> BlockingHandle[Any]:
        """Enqueue a prepared call; see `enqueue`."""
        if call.options.task_id is None:  # known before, so that an interrupted call has an id
            call = replace(call, options=replace(call.options, task_id=new_id()))
        context = current_or_none()
        lineage = context.lineage if context is not None else None
        unclear = f"task {call.task} {call.options.task_id} may or may not have been sent"

        async def publish(connected: Connected) -> Enqueued:
            return await connected.producer.enqueue(call, lineage)

        enqueued = self.ask(
            publish, instead="await task.enqueue(…)", unclear=unclear, limit=self.timeout
        )
        return self._handle_of(call, enqueued)

    def enqueue_many(self, calls: Iterable[Call]) -> list[BlockingHandle[Any]]:
        """Enqueue many calls, with a window of them awaiting their confirm at a time.

        Args:
            calls: from ``task.prepare(…)``, ``task.options(…).prepare(…)`` or ``stem.prepare(…)``;
                a generator is read in this thread, a window at a time.

        Returns:
            A handle for each, in their order.

        Raises:
            EnqueueManyError: the broker did not take some; it says which. Where it took none of a
                window, the calls after that are not read.
            PublishTimeoutError: a window took longer than twice the timeout.
            BrokerUnavailableError: there is no connection within the timeout.
            StemError: an event loop runs in this thread.
        """
        context = current_or_none()
        lineage = context.lineage if context is not None else None

        def publish(part: list[Call], begin: int) -> list[Enqueued]:
            async def work(connected: Connected) -> list[Enqueued]:
                return await connected.producer.enqueue_many(part, lineage)

            return self.ask(
                work,
                instead="await stem.enqueue_many(…)",
                unclear=f"of the calls from position {begin} to {begin + len(part) - 1} any number"
                " may have been sent",
                limit=self.timeout * 2,
            )

        window = self._app.settings.publish_window
        return [
            self._handle_of(call, one) for call, one in enqueue_in_parts(calls, window, publish)
        ]

    def handle(self, task_id: str) -> BlockingHandle[Any]:
        """Return a handle for a task by its id."""

        def make(connected: Connected) -> TaskHandle[Any]:
            return TaskHandle(task_id, backend=connected.backend)

        return BlockingHandle(self, make, id=task_id)

    @property
    def results(self) -> BlockingResults:
        """Lists and counts of tasks: ``producer.results.list(state="failed")``."""
        return BlockingResults(self)

    def ask(
        self,
        work: Callable[[Connected], Coroutine[Any, Any, T]],
        *,
        instead: str,
        unclear: str,
        limit: float | None = None,
    ) -> T:
        """Do something with the connections in their thread, and wait for it.

        Args:
            work: makes the coroutine.
            instead: what to write where an event loop runs.
            unclear: what is to be known when the wait is interrupted.
            limit: seconds that it may take with connecting; None: only connecting has a limit.

        Raises:
            StemError: an event loop runs in this thread.
            PublishTimeoutError: the limit is over.
            BrokerUnavailableError: there is no connection within the timeout.
        """
        check_may_block(instead)

        async def bounded(connected: Connected) -> T:
            deadline = asyncio.timeout(limit)
            try:
                async with deadline:
                    return await work(connected)
            except TimeoutError as error:
                if not deadline.expired():
                    raise
                raise PublishTimeoutError(f"no confirm within {limit:g} s: {unclear}") from error

        future = self._submit(bounded)
        return wait(future, None if limit is None else limit + MARGIN, unclear)

    def start_afresh(self) -> None:
        """Forget what the parent has open, in the child of a fork."""
        self._session = None
        self._lock = threading.Lock()  # the parent's may have been held by another thread
        self._pid = os.getpid()

    def _submit(self, work: Callable[[Connected], Coroutine[Any, Any, T]]) -> Future[T]:
        self._check_process()
        shared = self._app.in_memory()
        if shared is not None:  # the in-memory broker lives in one event loop: this one
            loop, connected = shared
            return asyncio.run_coroutine_threadsafe(work(connected), loop)
        with self._lock:
            if self._session is None or self._session.closed:
                self._session = Session(self._app, self._limited_settings())
            return self._session.submit(work, self.timeout)

    def _check_process(self) -> None:
        if self._pid != os.getpid():  # forked by something that does not run Python's hooks
            leave_behind()

    def _limited_settings(self) -> Settings:
        settings = self._app.settings
        return settings.replace(
            connect_timeout=min(settings.connect_timeout, self.timeout),
            publish_timeout=min(settings.publish_timeout, self.timeout * PUBLISH_SHARE),
        )

    def _handle_of(self, call: Call, enqueued: Enqueued) -> BlockingHandle[Any]:
        def make(connected: Connected) -> TaskHandle[Any]:
            return connected.producer.handle(call, enqueued)

        return BlockingHandle(
            self,
            make,
            id=enqueued.message.id,
            task=call.task,
            queue=enqueued.queue,
            existing=enqueued.existing,
        )

    def __repr__(self) -> str:
        state = "open" if self._session is not None else "not open"
        return f"<BlockingProducer of {self._app.settings.namespace!r}, {state}>"
