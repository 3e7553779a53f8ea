"""The task message on the wire: body, properties and headers.

The body is one JSON object that the producer writes once. It is republished byte for byte through
retries, delays and replays; what changes (attempt, not-before, last error) is in headers.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from stem_amqp.clock import parse_timestamp
from stem_amqp.errors import ConfigurationError, DecodeError, MessageTooLargeError
from stem_amqp.headers import RESERVED_PREFIXES, STRIPPED, as_text

VERSION = 1

UNIQUE_KEY = "unique_key"
"""The option in the body that names the key which the worker lets go when the task has ended."""

ATTEMPT = "stem-attempt"
NOT_BEFORE = "stem-not-before"
SINCE = "stem-since"
"""From when a task's age counts, where that is not its enqueue: it was due later, or replayed."""
REPLAYS = "stem-replays"
REPEATED = "stem-repeated"
REASON = "stem-reason"
ERROR = "stem-error"
TRACEBACK = "stem-traceback"
FAILED_AT = "stem-failed-at"
WORKER = "stem-worker"
HISTORY = "stem-history"
ACQUIRED_COUNT = "x-acquired-count"
"""How often a quorum queue of RabbitMQ 4.3 or newer has delivered a message before, for whatever
reason it came back. It stands there alone while no delivery has failed."""
DELIVERY_COUNT = "x-delivery-count"
"""How often a quorum queue has delivered a message before; from RabbitMQ 4.3 on only the deliveries
that failed count, before that also those that were returned politely."""

DEAD_LETTER_HEADERS = frozenset({REASON, ERROR, TRACEBACK, FAILED_AT, WORKER, HISTORY})
"""Headers that only a dead letter carries; a replay drops them."""

ERROR_LIMIT = 1024
"""Bytes of ``stem-error``."""
TRACEBACK_LIMIT = 8192
"""Bytes of ``stem-traceback``; the end is kept, where the cause stands."""
HISTORY_LIMIT = 10
"""Entries of ``stem-history``: the last failures, oldest first."""

CEILING = 64 * 1024 * 1024
"""Bytes of a body that is read at all: what protects a worker, whatever a producer's limit is."""
DEEPEST = 254
"""Levels of objects and arrays in each other, the outermost counted: more cannot be written."""
ID_BYTES = 255
"""Bytes of a task's id and name: both are AMQP properties, too."""
_NOT_CARRIED = STRIPPED | {REPEATED}
_MOST = 2**31 - 1
"""The largest attempt or replay that is believed."""


def new_id() -> str:
    """Return a new UUIDv7 (RFC 9562, section 5.7): unique, and sorted by time."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskMessage:
    """The body of a task message, decoded.

    Args:
        id: the task's id, the same through every retry and replay.
        task: the task's name.
        args: argument name to value, JSON values.
        meta: the caller's own metadata, JSON values.
        enqueued_at: when the producer wrote it, ISO 8601 in UTC.
        root: id of the task that began the chain of enqueues; None if it is this one.
        parent: id of the task that enqueued this one, if a task did.
        expires: when it is no longer to be started, ISO 8601 in UTC.
        options: what this call overrides: ``max_retries``, ``retry``, ``time_limit``,
            ``soft_time_limit``, ``result_ttl``, ``unique_key``.
        group: the group that this task is a member of.
        extra: fields of the body that this version does not know.
    """

    id: str
    task: str
    args: Mapping[str, Any]
    meta: Mapping[str, Any] = field(default_factory=dict)
    enqueued_at: str = ""
    root: str | None = None
    parent: str | None = None
    expires: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Write the body.

        Raises:
            ConfigurationError: arguments or metadata hold a value that JSON cannot carry.
        """
        body: dict[str, Any] = {
            "v": VERSION,
            "id": self.id,
            "task": self.task,
            "args": self.args,
            "meta": self.meta,
            "enqueued_at": self.enqueued_at,
        }
        for name in ("root", "parent", "expires", "options", "group"):
            value = getattr(self, name)
            if value:
                body[name] = value
        try:
            return orjson.dumps({**body, **self.extra} if self.extra else body)
        except TypeError as error:
            raise ConfigurationError(
                f"task {self.task}: the arguments or meta cannot be written as JSON"
                f" ({_reason(error)}); pass plain values, or a reference to where the large or"
                " binary ones are stored"
            ) from error

    def too_large(self, size: int, limit: int) -> MessageTooLargeError:
        """Return the error that says what is large about this message.

        Args:
            size: bytes of the body.
            limit: bytes that it may have.
        """
        sizes = {name: len(orjson.dumps(value)) for name, value in self.args.items()}
        if self.meta:
            sizes["meta"] = len(orjson.dumps(self.meta))
        largest = max(sizes, key=sizes.__getitem__, default=None)
        return MessageTooLargeError(
            self.task,
            size=size,
            limit=limit,
            largest=largest,
            largest_size=sizes[largest] if largest is not None else 0,
        )

    @property
    def enqueued_time(self) -> float | None:
        """`enqueued_at` as seconds since the epoch, or None if it cannot be read."""
        try:
            return parse_timestamp(self.enqueued_at)
        except ValueError:
            return None


def _reason(error: TypeError) -> str:
    if "recursion" in str(error).lower():
        return f"they are nested deeper than {DEEPEST - 1} levels, or contain themselves"
    return str(error)


_KNOWN = frozenset(
    {"v", "id", "task", "args", "meta", "enqueued_at"}
    | {"root", "parent", "expires", "options", "group"}
)
_TYPES: dict[str, tuple[type, str]] = {
    "id": (str, "a string"),
    "task": (str, "a string"),
    "args": (dict, "an object"),
}
_OPTIONAL_TYPES: dict[str, tuple[type, str]] = {
    "meta": (dict, "an object"),
    "enqueued_at": (str, "a string"),
    "root": (str, "a string"),
    "parent": (str, "a string"),
    "expires": (str, "a string"),
    "options": (dict, "an object"),
    "group": (str, "a string"),
}


def decode(body: bytes) -> TaskMessage:
    """Read a body.

    Args:
        body: the bytes of the message.

    Returns:
        The task message; fields that this version does not know are in `TaskMessage.extra`.

    Raises:
        DecodeError: it is no JSON object, of another version, a field has the wrong type, or it is
            too large or nested too deep.
    """
    if len(body) > CEILING:
        raise DecodeError(f"the body has {len(body)} bytes, a worker reads {CEILING}", body)
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"the body is no JSON: {error}", body) from error
    if not isinstance(data, dict):
        raise DecodeError("the body is no JSON object", body)
    # Few brackets cannot be deep; only of many it is found out whether they can be written again
    if body.count(b"[") + body.count(b"{") > DEEPEST and _too_deep(data):
        raise DecodeError(f"the body is nested deeper than {DEEPEST} levels", body)
    if data.get("v") != VERSION:
        raise DecodeError(
            f"the body has version {data.get('v')!r}, this worker reads {VERSION}", body
        )
    _check_fields(data, body)
    return TaskMessage(
        id=data["id"],
        task=data["task"],
        args=data["args"],
        meta=data.get("meta") or {},
        enqueued_at=data.get("enqueued_at") or "",
        root=data.get("root"),
        parent=data.get("parent"),
        expires=data.get("expires"),
        options=data.get("options") or {},
        group=data.get("group"),
        extra={} if data.keys() <= _KNOWN else {k: data[k] for k in data.keys() - _KNOWN},
    )


def _check_fields(data: Mapping[str, Any], body: bytes) -> None:
    for name, (kind, words) in _TYPES.items():
        if not isinstance(data.get(name), kind):
            raise DecodeError(f"the field {name!r} must be {words}", body)
    for name, (kind, words) in _OPTIONAL_TYPES.items():
        if data.get(name) is not None and not isinstance(data[name], kind):
            raise DecodeError(f"the field {name!r} must be {words}", body)
    for name in ("id", "task"):
        # A character has at most 4 bytes, so that few of them need not be counted
        if not data[name] or (
            len(data[name]) > ID_BYTES // 4 and len(data[name].encode()) > ID_BYTES
        ):
            raise DecodeError(f"the field {name!r} must have 1 to {ID_BYTES} bytes", body)


def _too_deep(data: object) -> bool:
    try:
        orjson.dumps(data)
    except TypeError:
        return True
    return False


def header_int(headers: Mapping[str, Any], name: str) -> int:
    """Return a header as a number that is not negative; 0 where it is missing or something else."""
    value = headers.get(name)
    return min(value, _MOST) if type(value) is int and value > 0 else 0


def carried_headers(
    headers: Mapping[str, Any], *, drop: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return the headers that go along when a message is published again.

    RabbitMQ's own death records are left out: brokers before 4.0 would read them as a cycle and
    drop the message. ``CC`` and ``BCC`` would route it to the extra queues once more.

    Args:
        headers: the headers as received.
        drop: further names to leave out.
    """
    return {
        name: value
        for name, value in headers.items()
        if name not in _NOT_CARRIED and name not in drop and not name.startswith(RESERVED_PREFIXES)
    }


def shortened(text: str, limit: int, *, keep_end: bool = False) -> str:
    """Cut a text to a number of bytes of UTF-8, with a mark where something is missing.

    Lone surrogates, which UTF-8 cannot carry, are escaped.

    Args:
        text: the text.
        limit: bytes, at least 8.
        keep_end: cut the beginning off instead of the end.
    """
    if len(text) <= limit and text.isascii():
        return text
    # Each character has a byte at least: of a long text, only that many can be kept
    data = as_text(text[-limit:] if keep_end else text[:limit]).encode()
    if len(text) <= limit and len(data) <= limit:
        return data.decode()
    room = limit - len("… ".encode())
    # What is left of a character that was cut through goes too
    part = (data[-room:] if keep_end else data[:room]).decode(errors="ignore")
    return f"… {part}" if keep_end else f"{part} …"
