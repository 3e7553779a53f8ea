"""Check-ins of scheduled tasks at Sentry's monitors of crons."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson
import sentry_sdk
from sentry_sdk.crons import capture_checkin

from stem_amqp.integrations.sentry.tracing import IDENTIFIER
from stem_amqp.messages.message import SCHEDULE
from stem_amqp.observability import Delivered
from stem_amqp.outcome import Dead, Outcome, Revoked, Succeeded

SLUG_LIMIT = 50
"""The most characters of a slug, Sentry's limit."""
_HEADER_LIMIT = 2000
"""The most characters of a header that is read: any client may have written it."""
_UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))
_MINUTE = 60
_FIELDS = 5
"""The fields of a cron line without seconds, which Sentry does not know."""
_IDS = uuid.UUID("5d1f5e0c-7c7f-4b53-9d0a-3a2f8f6c1b11")


def check_in_start(delivered: Delivered) -> None:
    """Check in that the first run of a scheduled task starts.

    Args:
        delivered: the message.
    """
    if SCHEDULE in delivered.headers and not delivered.attempt:
        _check_in(delivered, "in_progress")


def check_in_end(delivered: Delivered, outcome: Outcome) -> None:
    """Check in how a scheduled task has ended; a retry is no end.

    Args:
        delivered: the message.
        outcome: its outcome.
    """
    if SCHEDULE not in delivered.headers:
        return
    match outcome:
        case Dead(expected=expected) if not (expected and delivered.started):
            check_in_error(delivered)
        case Succeeded() | Dead():
            # of several runs, Sentry counts the time from the first check-in
            _check_in(delivered, "ok", None if delivered.attempt else delivered.duration)
        case Revoked() if delivered.started:
            check_in_error(delivered)
        case _:
            pass


def check_in_error(delivered: Delivered) -> None:
    """Check in that a scheduled task has failed for good.

    Args:
        delivered: the message.
    """
    if SCHEDULE in delivered.headers:
        _check_in(delivered, "error", None if delivered.attempt else delivered.duration)


def slug_of(name: str) -> str:
    """Return the slug of a schedule's monitor: small letters, digits, ``-`` and ``_``, at most 50.

    Args:
        name: the schedule's name.
    """
    slug = re.sub(r"[^a-z0-9_-]", "-", name.lower())
    if slug.isdigit():  # Sentry takes no number for a slug
        slug = f"schedule-{slug}"
    if len(slug) > SLUG_LIMIT:
        slug = f"{slug[: SLUG_LIMIT - 9]}-{sha256(name.encode()).hexdigest()[:8]}"
    return slug


def _check_in(delivered: Delivered, status: str, duration: float | None = None) -> None:
    own: Any = sentry_sdk.get_client().get_integration(IDENTIFIER)
    message, schedule = delivered.message, _schedule_of(delivered)
    if own is None or not own.monitors or message is None or delivered.untrusted:
        return
    config = None if schedule is None else _config(schedule, own.monitor_margin)
    if schedule is None or config is None:
        return
    slug = slug_of(schedule["name"]) if own.monitors is True else own.monitors(schedule["name"])
    if slug is None:
        return
    capture_checkin(
        monitor_slug=slug,
        # the same for all runs of the task, in whichever process
        check_in_id=uuid.uuid5(_IDS, message.id).hex,
        status=status,
        duration=duration,
        monitor_config=config,
    )


def _schedule_of(delivered: Delivered) -> dict[str, Any] | None:
    """Return the schedule in a message's header; None if it cannot be read."""
    text = delivered.headers.get(SCHEDULE)
    if not isinstance(text, str) or len(text) > _HEADER_LIMIT:
        return None
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    named = isinstance(found, dict) and isinstance(found.get("name"), str)
    return found if named else None


def _config(schedule: Mapping[str, Any], margin: int) -> Any:
    """Return Sentry's configuration of a monitor; None for a schedule that Sentry cannot express."""
    match schedule:
        case {"cron": str(line), "tz": str(zone)} if len(line.split()) == _FIELDS:
            config = {"schedule": {"type": "crontab", "value": line}, "timezone": zone}
        case {"every": int() | float() as seconds} if seconds >= _MINUTE:
            found = next(((name, size) for name, size in _UNITS if seconds % size == 0), None)
            if found is None:
                return None
            value = int(seconds // found[1])
            config = {"schedule": {"type": "interval", "value": value, "unit": found[0]}}
        case _:
            return None
    jitter = schedule.get("jitter", 0)
    late = math.ceil(jitter / _MINUTE) if isinstance(jitter, int | float) else 0
    return {**config, "checkin_margin": margin + late}
