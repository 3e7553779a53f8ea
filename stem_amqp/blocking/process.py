"""What is open in this process: left behind at a fork, closed when the interpreter exits."""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from stem_amqp.blocking.producer import BlockingProducer
    from stem_amqp.blocking.session import Session

EXIT_LIMIT = 1.0
"""Seconds that the interpreter's exit waits for connections to close; then they are cut off."""
FORK_LIMIT = 2.0
"""Seconds that a fork waits for connections that are just being opened."""

sessions: set[Session] = set()
"""What is open in this process."""
producers: WeakSet[BlockingProducer] = WeakSet()
"""Every producer, open or not."""

exiting = threading.Event()
"""Set when the interpreter exits."""

_inherited: list[Session] = []
"""What the parent has open. Kept for ever: its objects must not be tidied up here."""


class Connecting:
    """What is connecting right now, so that a fork can wait for its end.

    A lookup of a host name or a first import that is under way in another thread holds locks of the C
    library and of Python, which nobody would ever release in the child.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def __enter__(self) -> None:
        with self._changed:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def pause(self) -> None:
        """Wait until nothing connects, within a limit, and let nothing begin."""
        self._changed.acquire()
        self._changed.wait_for(lambda: self._count == 0, timeout=FORK_LIMIT)

    def resume(self) -> None:
        """Let connections begin again, in the parent."""
        self._changed.release()

    def start_afresh(self) -> None:
        """Nothing connects in the child of a fork."""
        self._changed = threading.Condition()
        self._count = 0


connecting = Connecting()


def close_all() -> None:
    """Close what is open, within the time that the exit may take."""
    exiting.set()
    deadline = time.monotonic() + EXIT_LIMIT
    open_ones = list(sessions)
    for session in open_ones:
        session.begin_to_close()
    for session in open_ones:
        session.join(max(0.0, deadline - time.monotonic()))


def leave_behind() -> None:
    """In the child of a fork: nothing is open, and what the parent has open is not ours."""
    connecting.start_afresh()
    left = list(sessions)
    sessions.clear()
    _inherited.extend(left)
    for session in left:
        session.abandon()
    for producer in producers:
        producer.start_afresh()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(
        before=connecting.pause, after_in_parent=connecting.resume, after_in_child=leave_behind
    )
