"""Protects the worker from processes that its tasks fork.

A forked child inherits the worker's signal handlers and the descriptor that wakes up its event
loop: a SIGTERM for the child would stop the worker, and leave the child alive.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

_Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None
_handlers: dict[int, tuple[_Handler, _Handler]] = {}
"""By signal number: the handler before the event loop set its own, and the event loop's."""


@contextmanager
def own_signals(numbers: Iterable[int]) -> Iterator[Callable[[], None]]:
    """Give forked children the signal handlers from before this block.

    Args:
        numbers: the signals for which an event loop sets handlers inside of the block.

    Yields:
        A function to call once the handlers are set.
    """
    before = {number: signal.getsignal(number) for number in numbers}

    def are_set() -> None:
        for number, handler in before.items():
            _handlers[number] = (handler, signal.getsignal(number))

    try:
        yield are_set
    finally:
        for number in before:
            _handlers.pop(number, None)


class _AtFork:
    """The hooks around each fork of this process, with state for each thread that forks."""

    def __init__(self) -> None:
        self._thread = threading.local()

    def before(self) -> None:
        """Block signals: one that the child receives before `in_child` would reach the worker."""
        if _handlers:
            self._thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _handlers)

    def in_parent(self) -> None:
        """Unblock signals."""
        mask, self._thread.mask = getattr(self._thread, "mask", None), None
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def in_child(self) -> None:
        """Restore the handlers from before, and unblock signals."""
        ours = {n: before for n, (before, own) in _handlers.items() if signal.getsignal(n) == own}
        if _handlers:
            signal.set_wakeup_fd(-1)
            _handlers.clear()
        # A pending signal ends the child here: an exception of a handler would be ignored here
        for number, before in ours.items():
            ignored = before is signal.SIG_IGN
            signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
        self.in_parent()
        for number, before in ours.items():
            if before is not None:
                signal.signal(number, before)


_at_fork = _AtFork()
os.register_at_fork(
    before=_at_fork.before, after_in_parent=_at_fork.in_parent, after_in_child=_at_fork.in_child
)


def leave(error: BaseException | None) -> NoReturn:
    """End a child that a task has forked, when it leaves the task's function.

    The callers are code of the worker with its connections, which two processes cannot share.

    Args:
        error: the exception that the function raised in the child, if any.
    """
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        traceback.print_exception(error)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)
