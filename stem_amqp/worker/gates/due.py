"""Checks whether a task is due: not expired, and not too early."""

from __future__ import annotations

import logging

from stem_amqp.clock import parse_timestamp
from stem_amqp.messages.message import NOT_BEFORE, TaskMessage
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

EARLY_TOLERANCE = 1.0
"""Seconds by which a message may be early and still run, since the clocks of machines differ."""


def has_expired(message: TaskMessage, now: float) -> bool:
    """Return whether a task may no longer start.

    Args:
        message: the task's message.
        now: seconds since the epoch.
    """
    return message.expires is not None and _time(message.expires, now + 1) <= now


def seconds_early(job: Job, now: float) -> float:
    """Return the seconds until a task is due; 0 if it may start now.

    Args:
        job: the job.
        now: seconds since the epoch.
    """
    not_before = job.headers.get(NOT_BEFORE)
    if not_before is None:
        return 0.0
    early = _time(str(not_before), now) - now
    return early if early > EARLY_TOLERANCE else 0.0


def _time(text: str, default: float) -> float:
    """Parse a time of a message; a malformed one is ignored, so that the task runs."""
    try:
        return parse_timestamp(text)
    except ValueError:
        log.warning("%.80r is not a valid time; it is ignored", text)
        return default
