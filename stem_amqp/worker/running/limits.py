"""Time limits of coroutines; a soft limit raises an exception where the coroutine waits."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

from stem_amqp.errors import SoftTimeLimitError, TimeLimitError

T = TypeVar("T")


@types.coroutine
def _translating(
    coroutine: Coroutine[Any, Any, T], translate: Callable[[BaseException], BaseException]
) -> Generator[Any, Any, T]:
    """Run a coroutine, and translate each exception that is thrown into it."""
    error: BaseException | None = None
    value: Any = None
    while True:
        try:
            waiting_for = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            result: T = stop.value
            return result
        error, value = None, None
        try:
            value = yield waiting_for
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as thrown:  # noqa: BLE001 - it is thrown into the coroutine
            error = translate(thrown)


async def within(coroutine: Coroutine[Any, Any, T], limit: float) -> T:
    """Run a coroutine, and cancel it after a number of seconds.

    Args:
        coroutine: the coroutine.
        limit: seconds.

    Raises:
        TimeLimitError: the coroutine was cancelled; the cause shows where.
    """
    scope = asyncio.timeout(limit)
    try:
        async with scope:
            return await coroutine
    except TimeoutError as error:
        if not scope.expired():
            raise
        limit_error = TimeLimitError(f"the run took longer than its time limit of {limit:g} s")
        raise limit_error from (error.__cause__ or error.__context__)


async def with_soft_limit(coroutine: Coroutine[Any, Any, T], limit: float) -> T:
    """Run a coroutine, and raise `SoftTimeLimitError` inside it after a number of seconds.

    The exception is raised once, where the coroutine waits then; it may clean up and return.

    Args:
        coroutine: the coroutine.
        limit: seconds.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a soft time limit needs a running asyncio task")
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    def translate(thrown: BaseException) -> BaseException:
        nonlocal expired
        if expired and isinstance(thrown, asyncio.CancelledError):
            expired = False
            # Another cancellation at the same time is still counted, and is thrown unchanged
            if task.uncancel() == 0:
                return SoftTimeLimitError(f"soft time limit of {limit:g} s reached")
        return thrown

    timer = loop.call_later(limit, expire)
    try:
        return await _translating(coroutine, translate)
    finally:
        timer.cancel()
        if expired:
            # The coroutine ended in the same iteration of the loop, before the cancellation arrived
            task.uncancel()
