"""A bridge from synchronous code to the event loop of an application."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from stem_amqp.errors import StemError

T = TypeVar("T")


class Portal:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self.loop.run_forever, name="stem-amqp-loop", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop the loop and wait for its thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


def run_in(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the loop of another thread, and wait for what it returns.

    The context variables of the caller go along, so a task enqueued by a task knows its parent.

    Args:
        loop: the loop.
        coroutine: what to run there.

    Raises:
        StemError: it is the loop of this very thread, which would wait for itself.
    """
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    if here is loop:
        coroutine.close()
        raise StemError("this is the application's own event loop: await the coroutine instead")
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()
