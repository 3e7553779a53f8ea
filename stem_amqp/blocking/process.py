"""The open sessions of this process: abandoned after a fork, closed at the interpreter's exit."""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import Protocol
from weakref import WeakSet

EXIT_LIMIT = 1.0
"""Seconds that the interpreter's exit waits for connections to close; then they are dropped."""
FORK_LIMIT = 2.0
"""Seconds that a fork waits for connections that are being opened."""


class OpenSession(Protocol):
    """Connections in a thread of their own; see `stem_amqp.blocking.session`."""

    def begin_to_close(self) -> None:
        """Start to close the connections."""
        ...

    def join(self, limit: float) -> None:
        """Wait until the connections are closed, at most a number of seconds."""
        ...

    def abandon(self) -> None:
        """Leave the connections to the parent process, in a forked child."""
        ...


class OpensSessions(Protocol):
    """A producer, open or not."""

    def reset_in_child(self) -> None:
        """Forget the parent's session, in a forked child."""
        ...


sessions: set[OpenSession] = set()
"""The open sessions of this process."""
producers: WeakSet[OpensSessions] = WeakSet()
"""All producers of this process, open or not."""

exiting = threading.Event()
"""Set when the interpreter exits."""

_inherited: list[OpenSession] = []
"""The parent's sessions. They are kept for ever: their destructors must not run in the child."""


class Connecting:
    """Counts connection attempts, so that a fork can wait until there are none.

    A host name lookup or a first import in another thread holds locks of the C library and of Python,
    which would never be released in the child.
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
        """Wait until nothing connects, at most `FORK_LIMIT` seconds, and block new attempts."""
        self._changed.acquire()
        self._changed.wait_for(lambda: self._count == 0, timeout=FORK_LIMIT)

    def resume(self) -> None:
        """Allow connection attempts again, in the parent."""
        self._changed.release()

    def reset_in_child(self) -> None:
        """Reset the count, in a forked child."""
        self._changed = threading.Condition()
        self._count = 0


connecting = Connecting()


def close_all() -> None:
    """Close all sessions, within `EXIT_LIMIT` seconds."""
    exiting.set()
    deadline = time.monotonic() + EXIT_LIMIT
    open_ones = list(sessions)
    for session in open_ones:
        session.begin_to_close()
    for session in open_ones:
        session.join(max(0.0, deadline - time.monotonic()))


def abandon_in_child() -> None:
    """Abandon all sessions, in a forked child: they belong to the parent."""
    connecting.reset_in_child()
    left = list(sessions)
    sessions.clear()
    _inherited.extend(left)
    for session in left:
        session.abandon()
    for producer in producers:
        producer.reset_in_child()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=connecting.pause, after_in_parent=connecting.resume, after_in_child=abandon_in_child
    )
