"""Runs the hand-written workers: an event loop, until SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from bench import loops, work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

_POOL = ThreadPoolExecutor(work.RUN.concurrency)


async def sync_noop(number: int) -> None:
    """Run the synchronous task in a thread."""
    await asyncio.get_running_loop().run_in_executor(_POOL, work.sync_noop, number)


TASKS: dict[str, Callable[[int], Awaitable[object]]] = {
    "noop": work.noop,
    "wait": work.wait,
    "sync": sync_noop,
}


async def until_stopped() -> None:
    """Return on SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a worker on the loop that the command line names."""
    with asyncio.Runner(loop_factory=loops.factory(sys.argv[1])) as runner:
        runner.run(main)
