"""The alive file of a worker: liveness checks of containers read its modification time.

The event loop touches it: when the process hangs, or a task blocks the loop, the file is not touched
any more. It does not depend on the broker: a worker that waits for the broker is alive, and a restart
would not help.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from stem_amqp.errors import ConfigurationError

log = logging.getLogger("stem_amqp.cli")

INTERVAL = 5.0
"""Seconds between two touches."""
FRESH = 30.0
"""Maximum age in seconds of the file of a process that is alive."""


@asynccontextmanager
async def keep_alive_file(
    path: Path | None, alive: Callable[[], bool] = lambda: True
) -> AsyncIterator[None]:
    """Touch a file periodically inside the block, and remove it at the end.

    Args:
        path: the file; None does nothing.
        alive: called before each touch; the file is touched only if it returns True.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    if path is None:
        yield
        return
    _check(path)
    touching = asyncio.create_task(_touch(path, alive), name="stem-amqp alive file")
    try:
        yield
    finally:
        touching.cancel()
        await asyncio.wait({touching})
        _remove(path)


def _check(path: Path) -> None:
    try:
        path.touch()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"--alive-file {path} cannot be written: {reason}\n  Use a file in a directory that this"
            " user may write to, such as /tmp/stem-alive."
        ) from None


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


async def _touch(path: Path, alive: Callable[[], bool]) -> None:
    while True:
        await asyncio.sleep(INTERVAL)
        if alive():
            _touch_once(path)


def _touch_once(path: Path) -> None:
    try:
        path.touch()
    except OSError as error:
        log.warning("the file %s cannot be touched: %s", path, error.strerror)


def is_fresh(path: Path) -> bool:
    """Return whether a file was touched within `FRESH` seconds."""
    try:
        return time.time() - path.stat().st_mtime < FRESH
    except OSError:
        return False
