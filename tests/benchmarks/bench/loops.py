"""Which event loop a process runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the loop; None is asyncio's own.

    Without uvloop, as in the environment of the tests, every contender has asyncio's own.

    Args:
        name: ``uvloop``, or anything else for asyncio's own.
    """
    if name != "uvloop":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made
