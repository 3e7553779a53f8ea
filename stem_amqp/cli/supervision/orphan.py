"""Stop a worker process whose supervisor has exited."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable

log = logging.getLogger("stem_amqp.cli")
_INTERVAL = 1.0
"""Seconds between two checks."""


def stop_without_parent(
    parent: int, stop: Callable[[str], None], *, patience: float, interval: float = _INTERVAL
) -> threading.Thread:
    """Watch the parent process from a thread; when it has exited, stop, and finally exit.

    It is a thread, so that a task that blocks the event loop cannot keep an unsupervised process alive.
    A killed parent cannot notify its children, but they get another parent process.

    Args:
        parent: the parent's process id.
        stop: called in the event loop with a reason.
        patience: maximum seconds of the stop, after which the process exits.
        interval: seconds between two checks.
    """
    loop = asyncio.get_running_loop()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(interval)
        log.error("the supervisor, process %d, has exited", parent)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is exiting
            loop.call_soon_threadsafe(stop, "the supervisor has exited")
        time.sleep(patience)
        log.critical("the worker did not stop within %g s: exiting", patience)
        logging.shutdown()
        os._exit(1)

    thread = threading.Thread(target=watch, name="stem-amqp-parent-watch", daemon=True)
    thread.start()
    return thread
