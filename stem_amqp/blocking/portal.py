"""Run coroutines of an application from synchronous code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from stem_amqp.errors import StemError
from stem_amqp.event_loop import running_loop

T = TypeVar("T")


class Portal:
    """An event loop for synchronous code.

    Args:
        loop: a loop that runs in another thread; None starts a new one in a thread of its own.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.loop = asyncio.new_event_loop() if loop is None else loop
        self._thread: threading.Thread | None = None
        if loop is None:
            self._thread = threading.Thread(
                target=self.loop.run_forever, name="stem-amqp-loop", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Stop the loop and wait for its thread, if the portal has started them."""
        if self._thread is None:
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


def run_in(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the event loop of another thread, and return its result.

    It runs with the caller's context variables, so a task enqueued within a task has it as parent.

    Args:
        loop: the loop.
        coroutine: the coroutine.

    Raises:
        StemError: the loop runs in this thread, which would wait for itself.
    """
    if running_loop() is loop:
        coroutine.close()
        raise StemError("this is the application's own event loop: await the coroutine instead")
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()
