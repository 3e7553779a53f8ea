"""The times in which the store of the limits does not answer, in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable

from stem_amqp.durations import format_seconds
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

QUIET = 60.0
"""Seconds after a logged outage in which a further one is not logged, as of a store that comes and goes."""


class StoreOutage:
    """Logs the begin and the end of each outage, and counts the starts without limits in between.

    Args:
        now: the time in seconds.

    Attributes:
        unlimited: the starts without limits since the worker started.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.unlimited = 0
        self._now = now
        self._since: float | None = None
        self._before = 0
        self._logged: dict[bool, float] = {}

    def failed(self, job: Job, error: Exception, *, closed: bool) -> None:
        """Note that the store did not answer for a job.

        Args:
            job: the job.
            error: why.
            closed: whether its task waits; otherwise it starts without its limits.
        """
        now = self._now()
        if self._since is None:
            self._since, self._before = now, self.unlimited
            self._logged = {kind: at for kind, at in self._logged.items() if now - at < QUIET}
        if not closed:
            self.unlimited += 1
        if closed not in self._logged:
            self._logged[closed] = now
            does = "wait and ask again" if closed else "run without their limits"
            log.error("%s: the store of the limits is away, so tasks %s: %s", job, does, error)

    def answered(self) -> None:
        """Note that the store has answered."""
        if self._since is None:
            return
        lasted, self._since = self._now() - self._since, None
        ran = self.unlimited - self._before
        without = f"; {ran} tasks have started without their limits" if ran else ""
        log.warning(
            "the store of the limits answers again, after %s%s", format_seconds(lasted), without
        )
