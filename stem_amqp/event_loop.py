"""Bind connections to one event loop, and detect a closed loop or a fork."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

from stem_amqp.errors import StemError

_REMEDY = (
    "  Its connections belong to one event loop. From threads without a loop use stem.blocking(), from"
    " a synchronous\n  task stem.run(…); with several loops create one Stem in each."
)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread; None if none runs."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class LoopBinding:
    """The event loop that an object's connections belong to.

    There is one loop at a time. A loop that is closed, or that belongs to the parent of a forked process,
    is replaced by the next one.

    Args:
        what: the object, for error messages, such as ``this Stem``.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._claiming = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()
        self._lock_of: asyncio.AbstractEventLoop | None = None
        self._thread = ""
        self._pid = 0

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop; None if nothing is connected or the loop is unusable."""
        return None if self._loop is None or self.gone else self._loop

    @property
    def gone(self) -> bool:
        """Whether the loop is closed or belongs to the parent of a forked process."""
        return self._loop is not None and (self._loop.is_closed() or self.forked)

    @property
    def forked(self) -> bool:
        """Whether the loop belongs to the parent that this process was forked from."""
        return self._loop is not None and self._pid != os.getpid()

    def enter(self, forget: Callable[[bool], None] | None = None) -> asyncio.Lock:
        """Bind to the running event loop.

        Args:
            forget: called if the previous loop is unusable, to drop its connections. Its argument says
                whether that loop belongs to the parent of a forked process: those connections must not
                be touched.

        Returns:
            A lock of this loop that serializes connecting and closing.

        Raises:
            StemError: it is bound to another loop that is in use.
        """
        here = asyncio.get_running_loop()
        with self._claiming:
            if self._loop is not here or self.forked:
                if self._loop is not None and not self.gone:
                    raise self._elsewhere()
                if self._loop is not None and forget is not None:
                    forget(self.forked)
                self._loop, self._pid = here, os.getpid()
                self._thread = threading.current_thread().name
            if self._lock_of is not here:
                self._lock, self._lock_of = asyncio.Lock(), here
            return self._lock

    def leave(self) -> None:
        """Unbind from the event loop."""
        self._loop = None

    def check(self) -> None:
        """Check that the running event loop is the bound one.

        Raises:
            StemError: another loop is running, or the bound one is unusable.
        """
        here = running_loop()  # code without a loop may call this, and cannot await anything
        if here is not self._loop:
            self._check_elsewhere(here)

    def _check_elsewhere(self, here: asyncio.AbstractEventLoop | None) -> None:
        if self.gone:
            raise StemError(
                f"{self._what} was connected in an event loop that is closed: connect in this one,"
                " with `async with stem:` or `await stem.connect()`"
            )
        if self._loop is not None and here is not None:
            raise self._elsewhere()

    def _elsewhere(self) -> StemError:
        return StemError(
            f"{self._what} is connected in another event loop, which is not closed"
            f" (thread {self._thread!r}).\n{_REMEDY}"
        )
