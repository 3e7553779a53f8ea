"""Ends a worker process whose supervisor is gone."""

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
"""Seconds between two looks."""


def stop_without_parent(
    parent: int, stop: Callable[[str], None], *, patience: float, interval: float = _INTERVAL
) -> threading.Thread:
    """Watch the parent process from a thread; when it is gone, stop, and in the end exit.

    A thread, since a task that blocks the event loop must not keep a process alive that nobody
    looks after. A parent that was killed cannot tell its children, but they get another parent.

    Args:
        parent: the parent's process id.
        stop: called in the event loop with a reason.
        patience: seconds that a stop may take before the process exits without it.
        interval: seconds between two looks.
    """
    loop = asyncio.get_running_loop()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(interval)
        log.error("the supervisor, process %d, is gone", parent)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
            loop.call_soon_threadsafe(stop, "the supervisor is gone")
        time.sleep(patience)
        log.critical("the worker did not stop within %g s: leaving", patience)
        logging.shutdown()
        os._exit(1)

    thread = threading.Thread(target=watch, name="stem-amqp-parent-watch", daemon=True)
    thread.start()
    return thread
