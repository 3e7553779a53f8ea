"""What is published in place of a delivery: the same body, byte for byte, with other headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stem_amqp import delay as decimal_delay
from stem_amqp.clock import timestamp
from stem_amqp.message import (
    ATTEMPT,
    DEAD_LETTER_HEADERS,
    ERROR,
    FAILED_AT,
    HISTORY,
    HISTORY_LIMIT,
    NOT_BEFORE,
    REASON,
    REPLAYS,
    TRACEBACK,
    WORKER,
    carried_headers,
    header_int,
    shortened,
)
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Delivery, Publication
from stem_amqp.worker.outcome import Dead, Failure

_HISTORY_ENTRY_LIMIT = 256


def same_message(
    delivery: Delivery, *, exchange: str, routing_key: str, headers: Mapping[str, Any]
) -> Publication:
    """Return a publication of a delivery's body and properties to somewhere else."""
    return Publication(
        exchange=exchange,
        routing_key=routing_key,
        body=delivery.body,
        type=delivery.type,
        correlation_id=delivery.correlation_id,
        reply_to=delivery.reply_to,
        priority=delivery.priority,
        app_id=delivery.app_id,
        content_type=delivery.content_type or "application/octet-stream",
        headers=headers,
    )


def delayed(
    delivery: Delivery,
    names: Names,
    queue: str,
    *,
    units: int,
    headers: Mapping[str, Any],
) -> Publication:
    """Return the publication that brings a delivery back to its queue later.

    Args:
        delivery: the delivery.
        names: the names on the broker.
        queue: the logical queue.
        units: the wait in units of 100 ms; 0 goes straight back.
        headers: the headers of the next delivery.
    """
    if units == 0:
        return same_message(delivery, exchange=names.tasks, routing_key=queue, headers=headers)
    route = decimal_delay.route(units, queue)
    return same_message(
        delivery,
        exchange=names.delay_exchange(route.level),
        routing_key=route.routing_key,
        headers=headers,
    )


def retry_headers(
    headers: Mapping[str, Any], *, attempt: int, failure: Failure, now: float
) -> dict[str, Any]:
    """Return the headers of the attempt after a failed one.

    Args:
        headers: those of the failed one.
        attempt: the attempt that failed.
        failure: how.
        now: seconds since the epoch.
    """
    carried = carried_headers(headers, drop=frozenset({NOT_BEFORE}))
    carried[ATTEMPT] = attempt + 1
    carried[HISTORY] = _history(headers, attempt=attempt, failure=failure, now=now)
    return carried


def dead_letter(
    delivery: Delivery, names: Names, queue: str, dead: Dead, *, now: float, worker: str
) -> Publication:
    """Return the publication of a delivery as a dead letter.

    Args:
        delivery: the delivery.
        names: the names on the broker.
        queue: the logical queue.
        dead: why.
        now: seconds since the epoch.
        worker: the worker's name.
    """
    headers = carried_headers(delivery.headers, drop=frozenset({NOT_BEFORE}))
    headers[REASON] = dead.reason.value
    headers[ERROR] = dead.failure.error
    if dead.failure.traceback:
        headers[TRACEBACK] = dead.failure.traceback
    headers[FAILED_AT] = timestamp(now)
    headers[WORKER] = worker
    headers[HISTORY] = _history(
        delivery.headers,
        attempt=header_int(delivery.headers, ATTEMPT),
        failure=dead.failure,
        now=now,
    )
    return same_message(delivery, exchange=names.dead, routing_key=queue, headers=headers)


def replay(delivery: Delivery, names: Names, queue: str) -> Publication:
    """Return the publication that gives a dead letter another life: attempt 0, one more replay."""
    headers = carried_headers(delivery.headers, drop=DEAD_LETTER_HEADERS | {ATTEMPT, NOT_BEFORE})
    headers[REPLAYS] = header_int(delivery.headers, REPLAYS) + 1
    return same_message(delivery, exchange=names.tasks, routing_key=queue, headers=headers)


def _history(
    headers: Mapping[str, Any], *, attempt: int, failure: Failure, now: float
) -> list[str]:
    before = headers.get(HISTORY)
    entry = shortened(f"{timestamp(now)} #{attempt} {failure.error}", _HISTORY_ENTRY_LIMIT)
    return [*(before if isinstance(before, list) else []), entry][-HISTORY_LIMIT:]
