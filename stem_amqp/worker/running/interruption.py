"""Distinguishes exceptions that interrupt a run from those that the task raises itself."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from stem_amqp.worker.running.threads import ThreadRun


def comes_from_outside(error: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Return whether an exception interrupts the run, instead of being raised by the task itself.

    A task may raise CancelledError, KeyboardInterrupt or GeneratorExit like any other exception.

    Args:
        error: the exception that a run raised.
        task: the asyncio task of the run.
    """
    if isinstance(error, asyncio.CancelledError):
        return task is not None and task.cancelling() > 0
    if isinstance(error, GeneratorExit):
        # Outside of its task, the coroutine is closed: by the garbage collector or at the end
        return _current_task() is not task
    return isinstance(error, KeyboardInterrupt) and _is_ctrl_c(error)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _is_ctrl_c(error: KeyboardInterrupt) -> bool:
    step, last = error.__traceback__, None
    while step is not None:
        last = step.tb_frame
        if last.f_code is ThreadRun.__call__.__code__:
            return False  # Python handles signals only in the main thread
        step = step.tb_next
    if last is not None and last.f_globals.get("__name__") == "asyncio.runners":
        return True
    # The worker command sets its own handler. With Python's default, both are possible
    return signal.getsignal(signal.SIGINT) is signal.default_int_handler
