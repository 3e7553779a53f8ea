"""Changes the levels of this process's log, which its workers share."""

from __future__ import annotations

import logging
import threading

from stem_amqp.worker.steering.orders import audit

NOISY = ("aio_pika", "aiormq")
"""Loggers that write errors only, whose faults the transport itself reports."""


class LogLevels:
    """The levels of the root logger and of some others, and who has changed them.

    A process has one log, but may run several workers, each of which obeys directives: the levels
    before the first change are kept until the last worker gives its level up. The level that was
    set last is in effect.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loggers = (logging.getLogger(), *map(logging.getLogger, NOISY), audit)
        self._configured: list[int] = []
        self._wanted: dict[object, str] = {}

    def hold(self, holder: object, level: str) -> None:
        """Set the level of the root logger; audit lines are still written.

        Args:
            holder: who wants it, such as a worker's part; it replaces the level that it held before.
            level: such as ``DEBUG``.
        """
        with self._lock:
            if not self._wanted:
                self._configured = [logger.level for logger in self._loggers]
            self._wanted.pop(holder, None)
            self._wanted[holder] = level
            self._apply()

    def release(self, holder: object) -> None:
        """Give a level up; without any, all levels are again what they were before the first.

        Args:
            holder: who held a level; nothing happens if it holds none.
        """
        with self._lock:
            if self._wanted.pop(holder, None) is not None:
                self._apply()

    def held_by(self, holder: object) -> bool:
        """Return whether someone holds a level."""
        return holder in self._wanted

    def _apply(self) -> None:
        if not self._wanted:
            for logger, level in zip(self._loggers, self._configured, strict=True):
                logger.setLevel(level)
            return
        root, *noisy, control = self._loggers
        root.setLevel(next(reversed(self._wanted.values())))
        for logger in noisy:
            logger.setLevel(max(logging.ERROR, root.level))
        control.setLevel(logging.INFO)


LOG_LEVELS = LogLevels()
"""Those of this process."""
