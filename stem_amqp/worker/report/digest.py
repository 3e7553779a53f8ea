"""Summarises frequent log lines: writes the first one, and counts the others."""

from __future__ import annotations

import asyncio
import logging

log = logging.getLogger("stem_amqp.worker")

INTERVAL = 10.0
"""Seconds after a line until the number of further ones is written."""


class Digest:
    """Writes the first line of a kind at INFO, the next ones at DEBUG, and then their number.

    Args:
        interval: seconds between two lines of a kind at INFO.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._open: dict[tuple[str, str], _Kind] = {}

    def note(self, task: str, what: str, line: str) -> None:
        """Write a line now, or count it.

        Args:
            task: the task's name.
            what: the kind of event, in the plural.
            line: the whole line.
        """
        kind = self._open.get((task, what))
        if kind is None:
            log.info("%s", line)
            self._open[task, what] = _Kind(self._later(task, what))
            return
        log.debug("%s", line)
        kind.count += 1
        kind.last = line

    def _later(self, task: str, what: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._interval, self._write, task, what)

    def _write(self, task: str, what: str) -> None:
        kind = self._open.pop((task, what))
        if kind.count:
            kind.write(task, what, self._interval)
            self._open[task, what] = _Kind(self._later(task, what))

    def close(self) -> None:
        """Write the counts of lines, and stop the timers."""
        for (task, what), kind in self._open.items():
            kind.timer.cancel()
            if kind.count:
                kind.write(task, what, self._interval)
        self._open.clear()


class _Kind:
    """The lines of one kind since the last one at INFO."""

    __slots__ = ("count", "last", "timer")

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.timer = timer
        self.count = 0
        self.last = ""

    def write(self, task: str, what: str, interval: float) -> None:
        """Write the number of lines."""
        log.info(
            "%s: %d more %s within %g s, the last: %s", task, self.count, what, interval, self.last
        )
