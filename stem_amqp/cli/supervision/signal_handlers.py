"""Handlers of the signals that stop a process, which are ignored while it exits."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

Handlers: TypeAlias = Mapping[signal.Signals, Callable[[], object]]
"""The function to call on each signal."""
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals that tell a worker or a supervisor to stop or to reload its keys."""


@contextmanager
def on_signals(handlers: Handlers) -> Iterator[None]:
    """Call functions in the running event loop on signals, and ignore these signals after the block.

    The handlers of `loop.add_signal_handler` end with the event loop, which restores the default action:
    one more SIGTERM would kill the process during its exit, and its parent would see a failure. These
    handlers are replaced directly, so that the default action never applies.

    Args:
        handlers: the function for each signal.
    """
    loop = asyncio.get_running_loop()

    def handle(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(handlers[signal.Signals(number)])

    with _waking(loop):
        for number in handlers:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number in handlers:
                signal.signal(number, signal.SIG_IGN)


@contextmanager
def _waking(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let each signal wake up the event loop.

    Python calls its handlers in the main thread, which does not notice a signal that the kernel delivers
    to another thread. uvloop sets its own descriptor.
    """
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        if before != -1:
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)
            yield
            return
        loop.add_reader(reader, reader.recv, 4096)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            loop.remove_reader(reader)
