"""Builds the publications that replace a delivery: the same body, byte for byte, other headers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from stem_amqp.clock import timestamp
from stem_amqp.messages.headers import size_of, unwritable
from stem_amqp.messages.message import (
    ATTEMPT,
    DEAD_LETTER_HEADERS,
    ERROR,
    ERROR_LIMIT,
    FAILED_AT,
    HISTORY,
    HISTORY_LIMIT,
    NOT_BEFORE,
    QUEUE,
    REASON,
    REPLAYS,
    SINCE,
    TRACEBACK,
    TRACEBACK_LIMIT,
    UNKNOWN_SINCE,
    WORKER,
    copied_headers,
    header_int,
    shortened,
)
from stem_amqp.outcome import Dead, Failure
from stem_amqp.signing.publish import PUBLISH
from stem_amqp.signing.signer import ENCRYPTION, KEY, SIGNATURE
from stem_amqp.topology.names import REJECTED_KEY, Names
from stem_amqp.transport.delivery import Delivery, same_message
from stem_amqp.transport.publication import Publication

log = logging.getLogger("stem_amqp.worker")

_HISTORY_ENTRY_LIMIT = 256
_WORKER_LIMIT = 255
_MINIMUM_TEXT = 128
"""Bytes below which a text is removed instead of shortened."""
_TEXT_OVERHEAD = 16
"""Bytes that a header takes in addition to its text."""
_SHORTENED_FIRST = (TRACEBACK, HISTORY, ERROR)
"""The headers that are shortened first if the headers do not fit, in this order."""
_KEPT = frozenset(
    {REASON, ATTEMPT, REPLAYS, NOT_BEFORE, SINCE, UNKNOWN_SINCE, FAILED_AT, WORKER, QUEUE}
)
"""Small headers of stem-amqp that are never removed."""
_SIGNED = frozenset({SIGNATURE, KEY, ENCRYPTION, PUBLISH})
"""Headers that are kept up to `_SIGNED_LIMIT`: another client may have written larger ones."""
_OF_ONE_WAIT = frozenset({NOT_BEFORE, UNKNOWN_SINCE})
"""Headers of a wait that has ended."""
_SIGNED_LIMIT = 1024
"""Bytes."""


def retry_headers(
    headers: Mapping[str, Any], *, attempt: int, failure: Failure, now: float
) -> dict[str, Any]:
    """Return the headers of the attempt after a failed one.

    Args:
        headers: the headers of the failed attempt.
        attempt: the attempt that failed.
        failure: how it failed.
        now: seconds since the epoch.
    """
    carried = copied_headers(headers, drop=_OF_ONE_WAIT)
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
    rejected: bool = False,
) -> Publication:
    """Return the publication of a delivery as a dead letter.

    Args:
        delivery: the delivery.
        names: the names on the broker.
        queue: the logical queue.
        dead: the outcome, with the reason.
        attempt: the attempt that failed.
        now: seconds since the epoch.
        worker: the worker's name.
        rejected: whether it has no valid signature: then it goes to the rejected queue, where it
            takes no room from dead letters of tasks.
    """
    headers = copied_headers(delivery.headers, drop=_OF_ONE_WAIT)
    if rejected:
        headers[QUEUE] = queue
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
    key = REJECTED_KEY if rejected else queue
    return same_message(delivery, exchange=names.dead, routing_key=key, headers=headers)


def replay(delivery: Delivery, names: Names, queue: str, *, now: float) -> Publication:
    """Return the publication that replays a dead letter: attempt 0, and one more replay.

    Args:
        delivery: the dead letter.
        names: the names on the broker.
        queue: the logical queue.
        now: seconds since the epoch, from which the task's age counts.
    """
    headers = copied_headers(
        delivery.headers, drop=DEAD_LETTER_HEADERS | _OF_ONE_WAIT | {ATTEMPT, QUEUE}
    )
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
    """Return headers that fit into one frame and can be encoded.

    Headers that cannot be encoded are removed. Then, if needed, the long texts of stem-amqp are
    shortened and headers of other clients removed, the largest first. Reason, attempt and times
    are kept.

    Args:
        headers: the headers.
        limit: the maximum number of bytes that they may take.
    """
    fitting = {name: value for name, value in headers.items() if unwritable({name: value}) is None}
    # Measured once and updated: a message may have thousands of headers
    total = size_of(fitting)
    for name in _SHORTENED_FIRST:
        if name in fitting and total > limit:
            before = size_of({name: fitting[name]})
            _shorten_or_drop(fitting, name, size_of(fitting[name]) - (total - limit))
            total += size_of({name: fitting[name]} if name in fitting else {}) - before
    signed = {name for name in _SIGNED & fitting.keys() if size_of(fitting[name]) <= _SIGNED_LIMIT}
    others = fitting.keys() - _KEPT - signed - {ERROR}
    sizes = {name: size_of(fitting[name]) for name in others}
    foreign = sorted(sizes, key=lambda name: (sizes[name], name))
    while foreign and total > limit:
        name = foreign.pop()
        total -= size_of(name) + sizes[name]
        del fitting[name]
    if len(fitting) < len(headers):
        gone = sorted(name for name in headers if name not in fitting)
        log.warning("headers that did not fit were left out: %.500r", gone)
    return fitting


def _shorten_or_drop(headers: dict[str, Any], name: str, room: int) -> None:
    """Shorten a long header of stem-amqp in place; remove it if even a short one has no room."""
    value = headers[name]
    if isinstance(value, str) and room > _MINIMUM_TEXT:
        headers[name] = shortened(value, room - _TEXT_OVERHEAD, keep_end=name == TRACEBACK)
    elif name == ERROR:
        headers[name] = shortened(str(value), _MINIMUM_TEXT)
    else:
        del headers[name]
