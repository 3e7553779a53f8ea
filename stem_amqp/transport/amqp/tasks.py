"""Background work: done once for many who ask, and ended without a trace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from stem_amqp.errors import BrokerUnavailableError

T = TypeVar("T")

CANCEL_AGAIN = 0.5
"""Seconds after which a task that goes on is cancelled again."""


class SingleFlight(Generic[T]):
    """Runs some work once for everybody who waits for it meanwhile.

    The work goes on when one of them stops waiting, so that a cancelled caller leaves no half-open
    channel to the others.

    Args:
        work: makes the coroutine.
        name: the task's name.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]], *, name: str) -> None:
        self._work = work
        self._name = name
        self._task: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """Return the result of the running work, or start it.

        Raises:
            BrokerUnavailableError: the work was ended by `cancel`.
            Exception: what the work raised, to each who waits.
        """
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name=self._name)
            self._task.add_done_callback(_look_at)
        task = self._task
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise BrokerUnavailableError("the transport is closed") from None
            raise

    async def cancel(self) -> None:
        """End the work, if it runs."""
        await end(self._task)


async def end(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task and wait until it has ended, however it ends.

    Args:
        task: the task; None or one that has ended is no error.
    """
    while task is not None and not task.done():
        task.cancel()
        # Python 3.11's `wait_for` loses a cancellation that comes together with its answer
        await asyncio.wait({task}, timeout=CANCEL_AGAIN)


def _look_at(task: asyncio.Task[Any]) -> None:
    # whoever waits gets the error; when nobody does any more, asyncio must not complain about it
    if not task.cancelled():
        task.exception()
