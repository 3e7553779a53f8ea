"""SIGHUP: reload the keys, or stop if the terminal was closed."""

from __future__ import annotations

import os
from collections.abc import Callable


class HangUp:
    """A handler of SIGHUP; create it before the signal can arrive.

    The kernel also sends SIGHUP to processes whose terminal is closed. A worker that was started in a
    terminal window stops when the window is closed, as without a handler.

    Args:
        reload: called to reload the keys.
        stop: called with a reason if the terminal was closed.
    """

    def __init__(self, reload: Callable[[], object], stop: Callable[[str], object]) -> None:
        self._reload = reload
        self._stop = stop
        self._had_terminal = has_terminal()

    def __call__(self) -> None:
        """Handle the signal."""
        if self._had_terminal and not has_terminal():
            self._stop("SIGHUP: the terminal was closed")
        else:
            self._reload()


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
