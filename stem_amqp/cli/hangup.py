"""What SIGHUP means: read the keys again, unless it tells that the terminal is gone."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from stem_amqp.app import Stem
from stem_amqp.errors import ConfigurationError

log = logging.getLogger("stem_amqp.cli")


class HangUp:
    """Handles SIGHUP; made before the signal comes.

    The kernel sends it to those who lose their terminal, too. A worker that was started by hand in
    a window that is closed then stops, as without a handler; one without a terminal has none to lose.

    Args:
        reload: called if keys are to be read again.
        stop: called with a reason if the terminal is gone.
    """

    def __init__(self, reload: Callable[[], object], stop: Callable[[str], object]) -> None:
        self._reload = reload
        self._stop = stop
        self._had_terminal = has_terminal()

    def __call__(self) -> None:
        """Handle the signal."""
        if self._had_terminal and not has_terminal():
            self._stop("SIGHUP: the terminal is gone")
        else:
            self._reload()


def has_terminal() -> bool:
    """Say whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def reload_keys(stem: Stem) -> None:
    """Read the keys of an application again, and log what came of it."""
    try:
        change = stem.reload_keys()
    except ConfigurationError as error:
        log.warning("SIGHUP: the keys could not be read again, the old ones stay: %s", error)
        return
    log.info("SIGHUP: %s", "there are no keys to read" if change is None else f"keys: {change}")
