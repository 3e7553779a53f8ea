"""A resource that an asyncio task of its own keeps open: many can be closed only by who opened them."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any

CLOSE_LIMIT = 5.0
"""Seconds that closing may take where nothing else limits it."""


class Held:
    """A resource, opened and closed in one asyncio task; for the event loop's thread.

    Args:
        open: opens it, with what is to be closed on the stack that it gets.
        name: the asyncio task's name.
        context: the context variables that it is opened with.
    """

    def __init__(
        self,
        open: Callable[[AsyncExitStack], Coroutine[Any, Any, Any]],  # noqa: A002 - says what it is
        *,
        name: str,
        context: contextvars.Context,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[Any] = loop.create_future()
        """Gets the value, or what went wrong."""
        self._ended: asyncio.Future[None] = loop.create_future()
        self._task = loop.create_task(self._hold(open), name=name, context=context)

    async def _hold(self, open: Callable[[AsyncExitStack], Coroutine[Any, Any, Any]]) -> None:  # noqa: A002
        async with AsyncExitStack() as stack:
            try:
                value = await open(stack)
            except asyncio.CancelledError:
                self.opened.cancel()
                raise
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                if not self.opened.done():
                    self.opened.set_exception(error)
                return
            if not self.opened.done():
                self.opened.set_result(value)
            # An error of the run is raised here, so that what is open can roll back
            await self._ended

    async def close(self, error: BaseException | None = None) -> bool:
        """Close it.

        Args:
            error: what the work ended with, for a resource that rolls back.

        Returns:
            Whether the resource took the error and let nothing of it out.

        Raises:
            Exception: closing failed.
        """
        if not self._ended.done():
            if error is None:
                self._ended.set_result(None)
            elif isinstance(error, KeyboardInterrupt | SystemExit | StopIteration):
                # asyncio would end the event loop with the first two, and refuses the third
                self._task.cancel()
            else:
                self._ended.set_exception(error)
        await asyncio.wait({self._task})
        if self._task.cancelled():
            return False
        if self._ended.done():
            self._ended.exception()  # so that asyncio knows that it was seen
        closing = self._task.exception()
        if closing is None:
            return True
        if closing is error:
            return False
        raise closing

    def cut_off(self) -> None:
        """Do not wait any longer until it has closed."""
        self._task.cancel()


class HeldElsewhere:
    """Enters something asynchronous from a thread; it lives in the event loop of another one.

    Args:
        loop: the loop.
        made: what a factory returned: an asynchronous context manager or an awaitable.
        context: the context variables that it is opened with.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, made: Any, context: contextvars.Context
    ) -> None:
        self._loop = loop
        self._made = made
        self._context = context
        self._held: Held | None = None

    def __enter__(self) -> Any:
        """Open it there, and wait for it."""
        return self._there(self._open())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Close it there, and wait for it."""
        if self._held is None:
            return False
        swallowed: bool = self._there(self._held.close(error))
        return error is not None and swallowed

    async def _open(self) -> Any:
        self._held = Held(
            lambda stack: enter(stack, self._made),
            name="stem-amqp dependency of a thread",
            context=self._context,
        )
        try:
            return await self._held.opened
        except asyncio.CancelledError:
            self._held.cut_off()
            raise

    def _there(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def enter(stack: AsyncExitStack, made: Any) -> Any:
    """Enter an asynchronous context manager, or await what is to be awaited."""
    if isinstance(made, AbstractAsyncContextManager):
        return await stack.enter_async_context(made)
    return await made if inspect.isawaitable(made) else made
