"""Schedules as JSON: as they are stored if they are made at run time, and to tell whether one has changed."""

from __future__ import annotations

import hashlib
import re
from dataclasses import fields
from typing import Any

import orjson

from stem_amqp.errors import ConfigurationError
from stem_amqp.schedules import Schedule, from_document, to_document

REMOVED = b"{}"
"""The definition of a schedule that was removed, until the leader has withdrawn its ticks."""
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(schedule: Schedule) -> str:
    """Return a short text that differs for schedules with other ticks, arguments or options."""
    parts = [schedule.task, _sorted(schedule.args), _ADDRESS.sub("", repr(schedule.options))]
    names = ("timing", "jitter", "start", "end", "enabled")
    parts += [repr(getattr(schedule, name)) for name in names]
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def differences(old: Schedule, new: Schedule) -> list[str]:
    """Describe what differs between two versions of a schedule, for the log; arguments are named only.

    Args:
        old: the former one.
        new: the new one.
    """
    found = []
    for name in (one.name for one in fields(Schedule)):
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        if name in {"args", "options"}:
            found.append(f"{name} changed")
        elif name == "timing":
            found.append(f"{before} → {after}")
        else:
            found.append(f"{name} {before} → {after}")
    return found


def encode(schedule: Schedule) -> bytes:
    """Write a schedule.

    Raises:
        ConfigurationError: an argument or option cannot be written as JSON.
    """
    try:
        return orjson.dumps(to_document(schedule), option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise ConfigurationError(
            f"schedule {schedule.name}: its arguments or options cannot be written as JSON: {error}"
        ) from error


def decode(name: str, text: bytes) -> Schedule:
    """Read a schedule.

    Args:
        name: its name.
        text: what `encode` has written.

    Raises:
        ConfigurationError: it is not a schedule that this release can read.
    """
    try:
        return from_document(name, orjson.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(f"the stored schedule {name} cannot be read: {error}") from error


def _sorted(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        return _ADDRESS.sub("", repr(value))
