"""Cancel asyncio tasks, and wait until they have ended."""

from __future__ import annotations

import asyncio
from typing import Any

CANCEL_AGAIN = 0.5
"""Seconds after which a task that goes on is cancelled again."""


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have ended.

    Python 3.11's `asyncio.wait_for`, which client libraries use, loses a cancellation that coincides with
    its result: such a task is cancelled again.

    Args:
        *tasks: the tasks; None and finished tasks are ignored.
    """
    running = {task for task in tasks if task is not None and not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN)
