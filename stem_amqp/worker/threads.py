"""Threads for synchronous tasks, each run interruptible by an exception."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from stem_amqp.errors import SoftTimeLimitError, TaskControl, TimeLimitError

T = TypeVar("T")


class Abandoned(TaskControl):
    """Raised in a thread whose run nobody waits for any more."""


class ThreadRun:
    """One run of a function in a thread.

    Python can raise an exception in another thread only between two of its own instructions: a
    function that waits in C code (a socket, `time.sleep`) sees it when that call returns.

    Args:
        function: what to run.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._over = False

    def __call__(self) -> Any:
        """Run it; called in the thread."""
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
        """Raise an exception type in the thread, if the function still runs there."""
        with self._lock:
            self._over = self._over or error is not SoftTimeLimitError
            if self._thread is not None:
                # https://docs.python.org/3/c-api/init.html#c.PyThreadState_SetAsyncExc
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread), ctypes.py_object(error)
                )


class ThreadPool:
    """Threads for synchronous tasks.

    Args:
        size: runs at once. Runs that outlived their time limit hold a thread until they return, so
            there may be more threads than that.
    """

    def __init__(self, size: int) -> None:
        self._executor = ThreadPoolExecutor(
            max_workers=size * 2 + 16, thread_name_prefix="stem-amqp-task"
        )
        self._free = asyncio.Semaphore(size)
        self.abandoned = 0

    async def run(
        self,
        function: Callable[[], T],
        *,
        soft_limit: float | None = None,
    ) -> T:
        """Run a function in a thread, in a copy of the caller's context variables.

        If the caller is cancelled, `TimeLimitError` is raised in the thread and nobody waits for it.

        Args:
            function: what to run.
            soft_limit: seconds after which `SoftTimeLimitError` is raised in the thread.
        """
        async with self._free:
            return await self._run(function, soft_limit)

    async def _run(self, function: Callable[[], T], soft_limit: float | None) -> T:
        loop = asyncio.get_running_loop()
        run = ThreadRun(function)
        future = loop.run_in_executor(self._executor, contextvars.copy_context().run, run)
        timer = None
        if soft_limit is not None:
            timer = loop.call_later(soft_limit, run.interrupt, SoftTimeLimitError)
        try:
            result: T = await asyncio.shield(future)
        except asyncio.CancelledError:
            if not future.done():
                self.abandoned += 1
                future.add_done_callback(self._came_back)
            run.interrupt(TimeLimitError)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        return result

    def _came_back(self, future: asyncio.Future[Any]) -> None:
        self.abandoned -= 1
        if not future.cancelled():
            # Fetched so that asyncio does not log it: the run has been accounted for already
            future.exception()

    def close(self) -> None:
        """Let the threads go without waiting for them."""
        self._executor.shutdown(wait=False, cancel_futures=True)
