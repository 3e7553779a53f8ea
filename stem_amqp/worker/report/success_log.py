"""Log lines for tasks that succeed: one for each, unless there are too many."""

from __future__ import annotations

import asyncio
import logging

from stem_amqp.outcome import Succeeded
from stem_amqp.settings import LogSuccesses
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

PER_SECOND = 100
"""The maximum number of lines in a second. A line costs about as much time as a task that does
nothing: more of them would slow the worker down, and are too many to read."""
SHORTEST_WAIT_LOGGED = 0.1
"""Seconds of waiting for a thread or a process from which the line mentions it."""


class SuccessLog:
    """Writes a line for each success; beyond `PER_SECOND` of them, one line per second and task.

    Args:
        mode: which successes are logged at INFO; NONE logs all of them at DEBUG.
    """

    def __init__(self, mode: LogSuccesses) -> None:
        self._level = logging.DEBUG if mode is LogSuccesses.NONE else logging.INFO
        self._limit = PER_SECOND if mode is LogSuccesses.LIMITED else None
        self._written = 0
        self._counts: dict[str, _Count] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(self, job: Job, outcome: Succeeded) -> None:
        """Write a success, or count it."""
        if not log.isEnabledFor(self._level):
            return
        if self._limit is not None:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(1.0, self._write_counts)
            if self._written >= self._limit and job.message is not None:
                self._count(job.message.task, outcome.duration)
                return
            self._written += 1
        waited = (
            f" (waited {job.waited:.3f} s for its turn)"
            if job.waited >= SHORTEST_WAIT_LOGGED
            else ""
        )
        log.log(self._level, "%s succeeded in %.3f s%s", job, outcome.duration, waited)

    def _count(self, task: str, duration: float) -> None:
        count = self._counts.get(task)
        if count is None:
            count = self._counts[task] = _Count()
        count.number += 1
        count.total += duration
        count.longest = max(count.longest, duration)

    def _write_counts(self) -> None:
        self._timer = None
        self._written = 0
        counts, self._counts = self._counts, {}
        for task, count in counts.items():
            log.info(
                "task %s: %d more succeeded within 1 s, in %.3f s on average and %.3f s at most",
                task,
                count.number,
                count.total / count.number,
                count.longest,
            )

    def close(self) -> None:
        """Write the counts of successes without a line, and stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._write_counts()


class _Count:
    """The successes of one task that have no line of their own."""

    __slots__ = ("longest", "number", "total")

    def __init__(self) -> None:
        self.number = 0
        self.total = 0.0
        self.longest = 0.0
