"""Ask servers for an answer from synchronous code, once or until they have started."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from stem_amqp.errors import StemError

T = TypeVar("T")

POLL = 0.05
"""Seconds between two attempts while a server starts."""


def run_blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from synchronous code.

    It runs on a thread of its own, so that it also works, and leaves no trace, where the caller's
    thread has an event loop.

    Args:
        work: the coroutine.

    Raises:
        BaseException: whatever the coroutine raised.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 it is raised again in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=target, name="stem-amqp-blocking", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def wait_until(
    ask: Callable[[], str],
    *,
    timeout: float,
    unavailable: type[StemError],
    alive: Callable[[], bool] = lambda: True,
) -> str:
    """Ask a starting server until it answers, and return the answer.

    Args:
        ask: raises `unavailable` while there is no answer.
        timeout: seconds to wait at most.
        unavailable: the error of this kind of server.
        alive: whether the server still runs, asked before each attempt.

    Raises:
        StemError: the server did not answer in time, or is no longer alive; an `unavailable`.
    """
    deadline = time.monotonic() + timeout
    while True:
        if not alive():
            raise unavailable("it ended while starting")
        try:
            return ask()
        except unavailable as error:
            if time.monotonic() > deadline:
                raise unavailable(f"it did not answer within {timeout:g} s: {error}") from error
        time.sleep(POLL)
