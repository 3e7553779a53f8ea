"""What is published in place of a delivery: the same body, byte for byte, with other headers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from stem_amqp import delay as decimal_delay
from stem_amqp.clock import timestamp
from stem_amqp.headers import size_of, unwritable
from stem_amqp.message import (
    ATTEMPT,
    DEAD_LETTER_HEADERS,
    ERROR,
    ERROR_LIMIT,
    FAILED_AT,
    HISTORY,
    HISTORY_LIMIT,
    NOT_BEFORE,
    REASON,
    REPLAYS,
    SINCE,
    TRACEBACK,
    TRACEBACK_LIMIT,
    WORKER,
    carried_headers,
    header_int,
    shortened,
)
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Delivery, Publication
from stem_amqp.transport.forward import same_message
from stem_amqp.worker.outcome import Dead, Failure

log = logging.getLogger("stem_amqp.worker")

_HISTORY_ENTRY_LIMIT = 256
_WORKER_LIMIT = 255
_LEAST = 128
"""Bytes of a text that are worth keeping."""
_AROUND = 16
"""Bytes that a text takes beside its own."""
_SHED = (TRACEBACK, HISTORY, ERROR)
"""What stem-amqp gives up first where headers do not fit, in this order."""
_KEPT = frozenset({REASON, ATTEMPT, REPLAYS, NOT_BEFORE, SINCE, FAILED_AT, WORKER})
"""What is small, and never given up."""


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
    delivery: Delivery,
    names: Names,
    queue: str,
    dead: Dead,
    *,
    attempt: int,
    now: float,
    worker: str,
) -> Publication:
    """Return the publication of a delivery as a dead letter.

    Args:
        delivery: the delivery.
        names: the names on the broker.
        queue: the logical queue.
        dead: why.
        attempt: the attempt that failed.
        now: seconds since the epoch.
        worker: the worker's name.
    """
    headers = carried_headers(delivery.headers, drop=frozenset({NOT_BEFORE}))
    headers[REASON] = dead.reason.value
    if attempt:
        headers[ATTEMPT] = attempt
    headers[ERROR] = shortened(dead.failure.error, ERROR_LIMIT)
    headers.pop(TRACEBACK, None)
    if dead.failure.traceback:
        headers[TRACEBACK] = shortened(dead.failure.traceback, TRACEBACK_LIMIT, keep_end=True)
    headers[FAILED_AT] = timestamp(now)
    headers[WORKER] = shortened(worker, _WORKER_LIMIT)
    headers[HISTORY] = _history(
        delivery.headers,
        attempt=attempt,
        failure=dead.failure,
        now=now,
    )
    return same_message(delivery, exchange=names.dead, routing_key=queue, headers=headers)


def replay(delivery: Delivery, names: Names, queue: str, *, now: float) -> Publication:
    """Return the publication that gives a dead letter another life: attempt 0, one more replay.

    Args:
        delivery: the dead letter.
        names: the names on the broker.
        queue: the logical queue.
        now: seconds since the epoch; its age counts from here.
    """
    headers = carried_headers(delivery.headers, drop=DEAD_LETTER_HEADERS | {ATTEMPT, NOT_BEFORE})
    headers[SINCE] = timestamp(now)
    headers[REPLAYS] = header_int(delivery.headers, REPLAYS) + 1
    return same_message(delivery, exchange=names.tasks, routing_key=queue, headers=headers)


def _history(
    headers: Mapping[str, Any], *, attempt: int, failure: Failure, now: float
) -> list[str]:
    before = headers.get(HISTORY)
    texts = [text for text in before if isinstance(text, str)] if isinstance(before, list) else []
    texts.append(f"{timestamp(now)} #{attempt} {failure.error}")
    return [shortened(text, _HISTORY_ENTRY_LIMIT) for text in texts[-HISTORY_LIMIT:]]


def fitted(headers: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """Return headers that fit into one frame and can be written, whatever came with a message.

    First stem-amqp's own long texts become short, then what others have set is left out, the largest
    first. Reason, attempt and times always stay.

    Args:
        headers: the headers.
        limit: bytes that they may take.
    """
    fitting = {name: value for name, value in headers.items() if unwritable({name: value}) is None}
    for name in _SHED:
        if name in fitting and (excess := size_of(fitting) - limit) > 0:
            _shed(fitting, name, size_of(fitting[name]) - excess)
    foreign = sorted(
        fitting.keys() - _KEPT - {ERROR}, key=lambda name: (size_of(fitting[name]), name)
    )
    while foreign and size_of(fitting) > limit:
        del fitting[foreign.pop()]
    if len(fitting) < len(headers):
        gone = sorted(name for name in headers if name not in fitting)
        log.warning("headers that did not fit were left out: %.500r", gone)
    return fitting


def _shed(headers: dict[str, Any], name: str, room: int) -> None:
    """Make one of our own long headers shorter, or leave it out where nothing of it has room."""
    value = headers[name]
    if isinstance(value, str) and room > _LEAST:
        headers[name] = shortened(value, room - _AROUND, keep_end=name == TRACEBACK)
    elif name == ERROR:
        headers[name] = shortened(str(value), _LEAST)
    else:
        del headers[name]
