"""Threads for synchronous tasks, whose runs an exception can interrupt."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from stem_amqp.errors import SoftTimeLimitError, TimeLimitError
from stem_amqp.task_control import TaskControl
from stem_amqp.worker.semaphore import ResizableSemaphore

T = TypeVar("T")


class Abandoned(TaskControl):
    """Raised in a thread whose run was cancelled before the function was called."""


class StoppedIterationError(RuntimeError):
    """A task raised StopIteration, which no coroutine can raise; the cause is the original."""


@dataclass(slots=True)
class Ended:
    """How a function ended in a thread, as a value, since not every exception can be passed on.

    A future refuses StopIteration, and KeyboardInterrupt would end the event loop.

    Args:
        value: the value that it returned.
        error: the exception that it raised instead.
    """

    value: Any = None
    error: BaseException | None = None

    def unwrap(self) -> Any:
        """Return the value, or raise the error.

        Raises:
            BaseException: the exception of the function.
            StoppedIterationError: the function raised StopIteration.
        """
        error = self.error
        if error is None:
            return self.value
        try:
            if isinstance(error, StopIteration):
                raise StoppedIterationError("the task raised StopIteration") from error
            raise error
        finally:
            del error  # or else the traceback and this frame would reference each other


class ThreadUnavailableError(Exception):
    """The system cannot start another thread for this process."""


class ThreadRun:
    """One run of a function in a thread.

    Python can raise an exception in another thread only between two of its own instructions: a
    function that waits in C code (a socket, `time.sleep`) sees it when that call returns.

    Args:
        function: the function.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._over = False

    def __call__(self) -> Ended:
        """Run the function, and return how it ended; called in the thread."""
        try:
            return Ended(self._run())
        except BaseException as error:  # noqa: BLE001 - raised again in `Ended.unwrap`
            return Ended(error=error)

    def _run(self) -> Any:
        with self._lock:
            if self._over:
                raise Abandoned
            self._thread = threading.get_ident()
        try:
            return self._function()
        finally:
            with self._lock:
                self._thread = None

    def interrupt(self, error: type[BaseException]) -> None:
        """Raise an exception of a type in the thread, if the function still runs there."""
        with self._lock:
            self._over = self._over or error is not SoftTimeLimitError
            if self._thread is not None:
                # https://docs.python.org/3/c-api/init.html#c.PyThreadState_SetAsyncExc
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread), ctypes.py_object(error)
                )


class _Place(AbstractAsyncContextManager[None]):
    """A place among the threads. Each synchronous run has one, so it must be fast."""

    __slots__ = ("_acquire", "_release")

    def __init__(self, acquire: Callable[[], Awaitable[None]], release: Callable[[], None]) -> None:
        self._acquire = acquire
        self._release = release

    async def __aenter__(self) -> None:
        await self._acquire()

    async def __aexit__(self, *exc_info: object) -> None:
        self._release()


class ThreadPool:
    """Threads for synchronous tasks.

    A run that outlived its time limit holds its thread until it returns. So there are spare
    threads; when those are used up too, each further such run reduces the number of places.

    Args:
        size: the maximum number of runs at once.

    Attributes:
        abandoned: the number of threads whose run outlived its time limit.
        waiting: the number of runs that wait for a place.
        in_use: the number of places that are taken.
        on_change: called when such runs hold all places, and when a place is free again.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.abandoned = 0
        self.waiting = 0
        self.in_use = 0
        self.on_change: Callable[[], None] = lambda: None
        self._spare = size + 16
        self._largest = size
        self._executor = self._threads_for(size)
        self._free = ResizableSemaphore(size)
        self._blocked_places = 0
        self._used_up = False

    def _threads_for(self, size: int) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(
            max_workers=size + self._spare, thread_name_prefix="stem-amqp-task"
        )

    def resize(self, size: int) -> None:
        """Change the maximum number of runs at once; those in progress continue.

        Args:
            size: the new number, at least 1.
        """
        if size > self._largest:
            # An executor has a fixed number of threads; the former one's end with their runs
            former, self._executor = self._executor, self._threads_for(size)
            former.shutdown(wait=False)
            self._largest = size
        self.size = size
        self._free.resize(size)
        self._update_used_up()

    @property
    def used_up(self) -> bool:
        """Whether no synchronous task can start until an abandoned run returns."""
        return self._used_up

    def place(self) -> AbstractAsyncContextManager[None]:
        """Return a context manager that holds a place for one run; inside it, a thread is free."""
        return _Place(self._acquire, self._release)

    async def _acquire(self) -> None:
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        self.in_use += 1

    def _release(self) -> None:
        self.in_use -= 1
        if self.abandoned - self._blocked_places > self._spare:
            self._blocked_places += 1
            self._update_used_up()
        else:
            self._free.release()

    async def run(
        self,
        function: Callable[[], T],
        *,
        soft_limit: float | None = None,
    ) -> T:
        """Run a function in a thread, in a copy of the caller's context variables.

        For use inside of `place`. If the caller is cancelled, `TimeLimitError` is raised in the
        thread, and this coroutine does not wait for its end.

        Args:
            function: the function.
            soft_limit: seconds after which `SoftTimeLimitError` is raised in the thread.

        Raises:
            ThreadUnavailableError: no thread could be started; the function was not called.
        """
        loop = asyncio.get_running_loop()
        run = ThreadRun(function)
        try:
            future = loop.run_in_executor(self._executor, contextvars.copy_context().run, run)
        except RuntimeError as error:
            # The executor keeps the function queued for its next thread: prevent that call
            run.interrupt(TimeLimitError)
            raise ThreadUnavailableError(str(error)) from error
        timer = None
        if soft_limit is not None:
            timer = loop.call_later(soft_limit, run.interrupt, SoftTimeLimitError)
        try:
            ended = await asyncio.shield(future)
        except asyncio.CancelledError:
            if not future.done():
                self.abandoned += 1
                future.add_done_callback(self._abandoned_run_ended)
            run.interrupt(TimeLimitError)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        result: T = ended.unwrap()
        return result

    def _abandoned_run_ended(self, future: asyncio.Future[Ended]) -> None:
        self.abandoned -= 1
        if not future.cancelled():
            # Retrieved, so that asyncio does not log it: the run already has its outcome
            future.exception()
        if self._blocked_places and self.abandoned - self._blocked_places < self._spare:
            self._blocked_places -= 1
            self._free.release()
            self._update_used_up()

    def _update_used_up(self) -> None:
        used_up = self._blocked_places >= self.size
        if used_up is not self._used_up:
            self._used_up = used_up
            self.on_change()

    def close(self) -> None:
        """Shut the threads down without waiting for them."""
        self._executor.shutdown(wait=False, cancel_futures=True)
