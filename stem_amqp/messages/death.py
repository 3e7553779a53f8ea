"""Why and when a message became a dead letter, from its headers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from stem_amqp.clock import parse_timestamp
from stem_amqp.messages.message import FAILED_AT, REASON
from stem_amqp.states import BROKER_REASONS

UNKNOWN = "unknown"
"""The reason of a letter without one: neither a worker nor RabbitMQ dead-lettered it."""


def relevant_death(headers: Mapping[str, Any], work_queues: Collection[str]) -> Mapping[str, Any]:
    """Return the relevant ``x-death`` record of RabbitMQ; empty without one.

    A message that waited in a delay queue also expired there, so it has a record of that queue. The
    record of the work queue is the relevant one; without it, the newest record.

    Args:
        headers: the headers of the dead letter.
        work_queues: the broker names of the queue that it comes from, in all versions.
    """
    deaths = list(_deaths(headers))
    # A header value can have any type; a table is not hashable
    own = (death for death in deaths if str(death.get("queue")) in work_queues)
    return next(own, deaths[0] if deaths else {})


def _deaths(headers: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    recorded = headers.get("x-death")
    if isinstance(recorded, list):
        yield from (death for death in recorded if isinstance(death, Mapping))


def reason_of(headers: Mapping[str, Any], death: Mapping[str, Any]) -> str:
    """Return why a message became a dead letter: a value of `Reason`, ``unknown``, or the header's text.

    Args:
        headers: the headers of the dead letter.
        death: the result of `relevant_death`.
    """
    own = headers.get(REASON)
    if own is not None:
        return str(own)
    of_broker = death.get("reason", headers.get("x-first-death-reason"))
    if of_broker is None:
        return UNKNOWN
    known = BROKER_REASONS.get(str(of_broker))
    return known.value if known is not None else str(of_broker)


def failure_time(headers: Mapping[str, Any], death: Mapping[str, Any]) -> datetime | None:
    """Return when a message became a dead letter, in UTC; None if that is not recorded.

    Args:
        headers: the headers of the dead letter.
        death: the result of `relevant_death`.
    """
    text = headers.get(FAILED_AT)
    if text is not None:
        try:
            return datetime.fromtimestamp(parse_timestamp(str(text)), UTC)
        except ValueError:
            return None
    died_at = death.get("time")
    if not isinstance(died_at, datetime):
        return None
    try:
        return died_at.replace(tzinfo=UTC) if died_at.tzinfo is None else died_at.astimezone(UTC)
    except OverflowError:
        return None
