"""Background tasks that run once for concurrent callers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from stem_amqp.cancellation import end
from stem_amqp.errors import BrokerUnavailableError

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs a coroutine once for all concurrent callers.

    It continues when a caller is cancelled, so that no half-open channel is left to the others.

    Args:
        work: creates the coroutine.
        name: the task's name.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]], *, name: str) -> None:
        self._work = work
        self._name = name
        self._task: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """Return the result of the running coroutine; start it if necessary.

        Raises:
            BrokerUnavailableError: it was cancelled by `cancel`.
            Exception: the coroutine's exception, for every caller.
        """
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work(), name=self._name)
            self._task.add_done_callback(_mark_retrieved)
        task = self._task
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise BrokerUnavailableError("the transport is closed") from None
            raise

    async def cancel(self) -> None:
        """Cancel the coroutine if it runs."""
        await end(self._task)


def _mark_retrieved(task: asyncio.Task[Any]) -> None:
    # callers get the exception; without callers, asyncio must not log it as never retrieved
    if not task.cancelled():
        task.exception()
