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

sessions: set[Session] = set()
"""What is open in this process."""
producers: WeakSet[BlockingProducer] = WeakSet()
"""Every producer, open or not."""

exiting = threading.Event()
"""Set when the interpreter exits."""

_inherited: list[Session] = []
"""What the parent has open. Kept for ever: its objects must not be tidied up here."""


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
    left = list(sessions)
    sessions.clear()
    _inherited.extend(left)
    for session in left:
        session.abandon()
    for producer in producers:
        producer.start_afresh()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=leave_behind)
