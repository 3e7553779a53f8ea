"""Resources that one asyncio task opens and closes, since many can be closed only by that task."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any

CLOSE_LIMIT = 5.0
"""The maximum number of seconds that closing may take if nothing else limits it."""


class Held:
    """A resource that is opened and closed in one asyncio task; for the event loop's thread.

    Args:
        open: opens the resource, and pushes what must be closed on the given stack.
        name: the asyncio task's name.
        context: the context variables with which it is opened.
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
        """The value, or the exception of opening."""
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
            # An error of the run is raised here, so that the resource can roll back
            await self._ended

    async def close(self, error: BaseException | None = None) -> bool:
        """Close the resource.

        Args:
            error: the exception with which the work ended, for a resource that rolls back.

        Returns:
            Whether closing raised nothing; with an error, whether the resource suppressed it.

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
            self._ended.exception()  # retrieved, so that asyncio does not log it
        closing = self._task.exception()
        if closing is None:
            return True
        if closing is error:
            return False
        raise closing

    def cancel(self) -> None:
        """Cancel opening or closing."""
        self._task.cancel()


class HeldElsewhere:
    """A context manager for a thread, which opens an asynchronous resource in an event loop.

    Args:
        loop: the event loop, which runs in another thread.
        made: what a factory returned: an asynchronous context manager or an awaitable.
        context: the context variables with which the resource is opened.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, made: Any, context: contextvars.Context
    ) -> None:
        self._loop = loop
        self._made = made
        self._context = context
        self._held: Held | None = None

    def __enter__(self) -> Any:
        """Open the resource in the event loop, wait for it, and return its value."""
        return self._in_loop(self._open())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Close the resource in the event loop, and wait for it."""
        if self._held is None:
            return False
        swallowed: bool = self._in_loop(self._held.close(error))
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
            self._held.cancel()
            raise

    def _in_loop(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


async def enter(stack: AsyncExitStack, made: Any) -> Any:
    """Return the value of an asynchronous context manager, an awaitable or a plain value."""
    if isinstance(made, AbstractAsyncContextManager):
        return await stack.enter_async_context(made)
    return await made if inspect.isawaitable(made) else made
