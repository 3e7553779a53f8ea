"""The blocking producer: enqueue from code without an event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar, overload

from typing_extensions import Unpack

from stem_amqp.blocking.bulk import enqueue_in_parts
from stem_amqp.blocking.composing import Application, BlockingComposer
from stem_amqp.blocking.control import BlockingControl
from stem_amqp.blocking.handle import BlockingHandle
from stem_amqp.blocking.process import abandon_in_child, producers
from stem_amqp.blocking.results import BlockingResults
from stem_amqp.blocking.schedules import BlockingSchedules
from stem_amqp.blocking.session import Session
from stem_amqp.blocking.waiting import check_may_block, wait
from stem_amqp.connected import Connected
from stem_amqp.context.context import current_or_none
from stem_amqp.control import revoke_matching, revoke_one
from stem_amqp.directives.issue import Issued
from stem_amqp.directives.revocation import RevokeAllKeywords, RevokeKeywords
from stem_amqp.durations import Duration, seconds
from stem_amqp.errors import ConfigurationError, PublishTimeoutError
from stem_amqp.messages.message import new_id
from stem_amqp.results.handle import TaskHandle
from stem_amqp.tasks.call import Call, Enqueued
from stem_amqp.tasks.keywords import CallKeywords
from stem_amqp.tasks.option_values import task_id as check_id

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

CLOSE_LIMIT = 5.0
"""Seconds that `close` waits."""
MARGIN = 1.0
"""Seconds that the other thread may take to report a timeout."""


class Preparable(Protocol[P, R_co]):
    """A task, or a task with options of the call."""

    def prepare(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        """Make a call with the arguments."""
        ...


class BlockingProducer(BlockingComposer):
    """Enqueues from code without an event loop; see `Stem.blocking`.

    Threads may share a producer. A forked child gets connections of its own on first use.

    Args:
        app: the application.
        timeout: seconds or a duration such as ``"5s"`` that a call may take, connecting included;
            None: the settings' connect timeout and publish timeout together.

    Raises:
        ConfigurationError: the timeout cannot be used.
    """

    def __init__(self, app: Application, *, timeout: Duration | None = None) -> None:
        self._own_timeout = None if timeout is None else seconds(timeout)
        if self._own_timeout is not None and self._own_timeout <= 0:
            raise ConfigurationError(
                f"a timeout must be more than 0 s, not {self._own_timeout:g} s"
            )
        self._app = app
        self._session: Session | None = None
        self._lock = threading.Lock()
        self._pid = os.getpid()
        producers.add(self)

    @property
    def timeout(self) -> float:
        """Seconds that a call may take, connecting included."""
        if self._own_timeout is not None:
            return self._own_timeout
        settings = self._app.blueprint.settings
        return settings.connect_timeout + settings.publish_timeout

    def open(self) -> Self:
        """Connect now, and not on the first call; does nothing if the producer is open.

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

        Calls that other threads wait for end with a `BrokerUnavailableError`. The interpreter's exit
        closes producers that are still open.
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
        self, task: Preparable[P, R], /, *args: P.args, **kwargs: P.kwargs
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
        """Enqueue a task, and wait until the broker has confirmed it.

        Args:
            task: the task; with options of the call, ``task.options(…)``; or its name.
            *args: the function's arguments, without the context; for a name, a mapping of them.
            **kwargs: the same by name; for a name, options: see `stem_amqp.tasks.keywords.CallKeywords`.

        Returns:
            A handle to wait for the result with.

        Raises:
            ArgumentsError: the arguments do not fit the function; nothing was sent.
            ConfigurationError: the name, an option or the task itself cannot be used.
            PublishError: the broker did not accept it; after a `PublishTimeoutError` it may have.
            BrokerUnavailableError: there is no connection within the timeout.
            StemError: an event loop runs in this thread.
        """
        if isinstance(task, str):
            return self.enqueue_call(self._app.blueprint.prepare(task, *args, **kwargs))
        prepare = getattr(task, "prepare", None)
        if prepare is None:
            raise ConfigurationError(
                f"{task!r} is not a task.\n"
                '  Give a function with @stem.task("…"), or the name of a task as text.'
            )
        return self.enqueue_call(prepare(*args, **kwargs))

    def enqueue_call(self, call: Call[R]) -> BlockingHandle[R]:
        """Enqueue a prepared call; see `enqueue`."""
        if call.options.task_id is None:  # set before, so that an interrupted call has an id
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

    def enqueue_many(self, calls: Iterable[Call[R]]) -> list[BlockingHandle[R]]:
        """Enqueue many calls, with a window of them awaiting their confirm at a time.

        Args:
            calls: from ``task.prepare(…)``, ``task.options(…).prepare(…)`` or ``stem.prepare(…)``;
                a generator is read in this thread, a window at a time.

        Returns:
            A handle for each call, in the order of the calls.

        Raises:
            EnqueueManyError: the broker did not accept some calls; the error says which. If it
                accepts none of a window, later calls are not read.
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

        window = self._app.blueprint.settings.publish_window
        return enqueue_in_parts(calls, window, publish, self._handle_of)

    def handle(self, task_id: str) -> BlockingHandle[Any]:
        """Return a handle for a task by its id, or raise a ConfigurationError."""
        check_id(task_id)
        return BlockingHandle(
            self, lambda connected: TaskHandle(task_id, backend=connected.backend), id=task_id
        )

    @property
    def results(self) -> BlockingResults:
        """Lists and counts of tasks: ``producer.results.list(state="failed")``."""
        return BlockingResults(self)

    @property
    def control(self) -> BlockingControl:
        """Commands to the workers: ``producer.control.ping()``."""
        return BlockingControl(self, lambda: self._app.blueprint)

    @property
    def schedules(self) -> BlockingSchedules:
        """Schedules at run time: ``producer.schedules.add("nightly", "report", every="1d")``."""
        return BlockingSchedules(self, lambda: self._app.blueprint)

    def revoke(self, task_id: str, **options: Unpack[RevokeKeywords]) -> Issued:
        """Prevent that a task runs, or runs again; see `Stem.revoke`."""
        revoking = partial(revoke_one, task_id=task_id, **options)
        return self.control.issue(revoking, "revoke", f"task {task_id} may or may not be revoked")

    def revoke_all(self, **options: Unpack[RevokeAllKeywords]) -> Issued:
        """Revoke all tasks that match and were enqueued before now; see `Stem.revoke_all`."""
        revoking = partial(revoke_matching, **options)
        return self.control.issue(revoking, "revoke_all", "the tasks may or may not be revoked")

    def ask(
        self,
        work: Callable[[Connected], Coroutine[Any, Any, T]],
        *,
        instead: str,
        unclear: str,
        limit: float | None = None,
    ) -> T:
        """Run a coroutine with the connections in their thread, and return its result.

        Args:
            work: makes the coroutine.
            instead: the expression to use where an event loop runs; for the error.
            unclear: what remains uncertain if the wait is interrupted; for the error.
            limit: seconds that it may take, connecting included; None limits connecting only.

        Raises:
            StemError: an event loop runs in this thread.
            PublishTimeoutError: it took longer than the limit.
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

    def reset_in_child(self) -> None:
        """Forget the parent's session, in a forked child."""
        self._session = None
        self._lock = threading.Lock()  # the parent's may have been held by another thread
        self._pid = os.getpid()

    def _submit(self, work: Callable[[Connected], Coroutine[Any, Any, T]]) -> Future[T]:
        self._check_process()
        shared = self._app.in_memory()
        if shared is not None:  # the in-memory broker works in one event loop only
            loop, connected = shared
            return asyncio.run_coroutine_threadsafe(work(connected), loop)
        with self._lock:
            return self._current_session().submit(work, self.timeout)

    def _current_session(self) -> Session:
        """Return the open session; a new one if none is open, or the application was reconfigured."""
        session, blueprint = self._session, self._app.blueprint
        if session is not None and session.blueprint is not blueprint:
            session.begin_to_close()
            session.join(self.timeout)  # an in-memory broker works in one event loop at a time
        if session is None or session.closed:
            session = self._session = Session(blueprint, self.timeout)
        return session

    def _check_process(self) -> None:
        if self._pid != os.getpid():  # forked by code that does not run Python's fork hooks
            abandon_in_child()

    def _handle_of(self, call: Call[R], enqueued: Enqueued) -> BlockingHandle[R]:
        def make(connected: Connected) -> TaskHandle[R]:
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
        return f"<BlockingProducer of {self._app.blueprint.names.namespace!r}, {state}>"
