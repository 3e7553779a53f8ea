"""The task message on the wire: body, properties and headers.

The producer writes the body, one JSON object, once. Retries, delays and replays republish it byte for
byte; the values that change (attempt, not-before, last error) are in headers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from stem_amqp.clock import parse_timestamp
from stem_amqp.errors import ConfigurationError, DecodeError, MessageTooLargeError
from stem_amqp.messages.headers import RESERVED_PREFIXES, STRIPPED, as_text
from stem_amqp.messages.limits import DEEPEST, DEFAULT_LIMITS, IncomingLimits
from stem_amqp.messages.links import Links
from stem_amqp.messages.reading import decode_links

VERSION = 1

UNIQUE_KEY = "unique_key"
"""The option in the body with the key that the worker releases when the task has ended."""

ATTEMPT = "stem-attempt"
NOT_BEFORE = "stem-not-before"
SINCE = "stem-since"
"""The time from which a task's age counts, if it differs from the enqueue: it was due later or replayed."""
UNKNOWN_SINCE = "stem-unknown-since"
"""The time when a worker did not know the task for the first time, while it waits for one that does."""
REPLAYS = "stem-replays"
REPEATED = "stem-repeated"
PLACE = "stem-place"
"""The place of a task that waits for its limits, see `stem_amqp.worker.gates.limits.place`. It is valid for
the next start only, so it is never copied."""
SCHEDULE = "stem-schedule"
"""On a tick of a schedule: its name and its timing as JSON, for monitors. It affects no run."""
REASON = "stem-reason"
ERROR = "stem-error"
TRACEBACK = "stem-traceback"
FAILED_AT = "stem-failed-at"
WORKER = "stem-worker"
HISTORY = "stem-history"
QUEUE = "stem-queue"
"""On a rejected message: the logical queue that it was in."""
ACQUIRED_COUNT = "x-acquired-count"
"""How often a quorum queue of RabbitMQ 4.3 or newer has delivered a message before, whatever the reason
for its return. While no delivery has failed, RabbitMQ sends this header without the next one."""
DELIVERY_COUNT = "x-delivery-count"
"""How often a quorum queue has delivered a message before. RabbitMQ 4.3 and newer count failed
deliveries only; older releases also count deliveries that the consumer requeued."""

DEAD_LETTER_HEADERS = frozenset({REASON, ERROR, TRACEBACK, FAILED_AT, WORKER, HISTORY})
"""Headers that only a dead letter carries; a replay drops them."""

ERROR_LIMIT = 1024
"""Bytes of ``stem-error``."""
TRACEBACK_LIMIT = 8192
"""Bytes of ``stem-traceback``; the end is kept, which has the cause."""
HISTORY_LIMIT = 10
"""Entries of ``stem-history``: the last failures, oldest first."""

ID_BYTES = 255
"""Bytes of a task's id and name: both are also AMQP properties."""
_NOT_COPIED = STRIPPED | {REPEATED, PLACE}
_MAXIMUM_COUNT = 2**31 - 1
"""The largest number of an attempt or replay that is read from a header."""


def new_id() -> str:
    """Return a new UUIDv7 (RFC 9562, section 5.7): unique, and sorted by time."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"  # formatted here, since `uuid.UUID` takes longer than all of the rest
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


# Not frozen, since a frozen one takes three times as long to create, which was half of `decode`
@dataclass(kw_only=True, slots=True)
class TaskMessage:
    """The body of a task message, decoded. Nothing changes it afterwards.

    Args:
        id: the task's id, the same through every retry and replay.
        task: the task's name.
        args: argument name to value, JSON values.
        meta: the caller's metadata, JSON values.
        enqueued_at: when the producer wrote it, ISO 8601 in UTC.
        root: id of the first task in the chain of enqueues; None if it is this one.
        parent: id of the task that enqueued this one, if any.
        expires: time after which it is not started, ISO 8601 in UTC.
        options: the task's options that this call overrides: ``max_retries``, ``retry``, ``time_limit``,
            ``soft_time_limit``, ``result_ttl``, ``unique_key``.
        group: the group that this task is a member of.
        links: its place in a composition, and what follows it; None: it is in no composition.
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
    links: Links | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Write the body.

        Raises:
            ConfigurationError: arguments or metadata contain a value that JSON cannot represent.
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
        if self.links is not None:
            body["links"] = self.links.encode()
        try:
            return orjson.dumps({**body, **self.extra} if self.extra else body)
        except TypeError as error:
            raise ConfigurationError(
                f"task {self.task}: the arguments or meta cannot be written as JSON"
                f" ({unwritable_reason(error)}); pass plain values, or a reference to where large or"
                " binary data is stored"
            ) from error

    def too_large(self, size: int, limit: int) -> MessageTooLargeError:
        """Return the error for a message that is too large; it names the largest part of it.

        Args:
            size: bytes of the body.
            limit: bytes that the body may have.
        """
        sizes = {name: len(orjson.dumps(value)) for name, value in self.args.items()}
        if self.meta:
            sizes["meta"] = len(orjson.dumps(self.meta))
        if self.links is not None:
            sizes["links"] = len(orjson.dumps(self.links.encode()))
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


def unwritable_reason(error: TypeError) -> str:
    """Return why orjson could not write values, in terms of the caller's values."""
    if "recursion" in str(error).lower():
        return f"the values are nested deeper than {DEEPEST - 1} levels, or contain themselves"
    return str(error)


_KNOWN = frozenset(
    {"v", "id", "task", "args", "meta", "enqueued_at"}
    | {"root", "parent", "expires", "options", "group", "links"}
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


def decode(body: bytes, limits: IncomingLimits = DEFAULT_LIMITS) -> TaskMessage:
    """Decode a body.

    Args:
        body: the bytes of the message.
        limits: the limits of size and nesting.

    Returns:
        The task message; fields that this version does not know are in `TaskMessage.extra`.

    Raises:
        DecodeError: it is not a JSON object, has another version or a field of the wrong type, or
            exceeds a limit.
    """
    limits.check_body(body)
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise DecodeError(f"the body is not JSON: {error}", body) from error
    if not isinstance(data, dict):
        raise DecodeError("the body is not a JSON object", body)
    # Count brackets first; measure the nesting only where it could exceed the limit
    if body.count(b"[") + body.count(b"{") > limits.nesting and limits.is_too_deep(data):
        raise DecodeError(
            f"the body is nested deeper than {limits.nesting} levels (STEM_INCOMING_NESTING)", body
        )
    get: Any = data.get
    if get("v") != VERSION:
        raise DecodeError(
            f"the body has version {get('v')!r}, this worker supports {VERSION}", body
        )
    meta, enqueued_at, options, links = (
        get("meta"),
        get("enqueued_at"),
        get("options"),
        get("links"),
    )
    message = TaskMessage(
        id=get("id"),
        task=get("task"),
        args=get("args"),
        meta={} if meta is None else meta,
        enqueued_at="" if enqueued_at is None else enqueued_at,
        root=get("root"),
        parent=get("parent"),
        expires=get("expires"),
        options={} if options is None else options,
        group=get("group"),
        extra={} if data.keys() <= _KNOWN else {k: data[k] for k in data.keys() - _KNOWN},
    )
    if not _is_valid(message):
        _check_fields(data, body)
    if links is not None:
        message.links = decode_links(links, body, message.id)
    if len(message.options) > limits.options:
        raise DecodeError(
            f"the body has {len(message.options)} options, a worker accepts {limits.options}"
            " (STEM_INCOMING_OPTIONS)",
            body,
        )
    return message


def _is_valid(message: TaskMessage) -> bool:
    """Return whether all fields are valid without a look at each by its name, and id and task are short.

    JSON has no values of subclasses, so types are compared.
    """
    return (
        type(message.id) is type(message.task) is type(message.enqueued_at) is str
        and type(message.args) is type(message.meta) is type(message.options) is dict
        # A character has at most 4 bytes, so short strings need not be encoded
        and 0 < len(message.id) <= ID_BYTES // 4
        and 0 < len(message.task) <= ID_BYTES // 4
        and (message.root is None or type(message.root) is str)
        and (message.parent is None or type(message.parent) is str)
        and (message.expires is None or type(message.expires) is str)
        and (message.group is None or type(message.group) is str)
    )


def _check_fields(data: Mapping[str, Any], body: bytes) -> None:
    for name, (kind, words) in _TYPES.items():
        if not isinstance(data.get(name), kind):
            raise DecodeError(f"the field {name!r} must be {words}", body)
    for name, (kind, words) in _OPTIONAL_TYPES.items():
        if data.get(name) is not None and not isinstance(data[name], kind):
            raise DecodeError(f"the field {name!r} must be {words}", body)
    for name in ("id", "task"):
        # A character has at most 4 bytes, so short strings need not be encoded
        if not data[name] or (
            len(data[name]) > ID_BYTES // 4 and len(data[name].encode()) > ID_BYTES
        ):
            raise DecodeError(f"the field {name!r} must have 1 to {ID_BYTES} bytes", body)


def header_int(headers: Mapping[str, Any], name: str) -> int:
    """Return a header as a non-negative integer; 0 if it is missing or of another type."""
    value = headers.get(name)
    return min(value, _MAXIMUM_COUNT) if type(value) is int and value > 0 else 0


def copied_headers(
    headers: Mapping[str, Any], *, drop: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return the headers to copy when a message is published again.

    RabbitMQ's death records are left out: brokers before 4.0 would take them for a cycle and drop the
    message. ``CC`` and ``BCC`` would route it to the extra queues again.

    Args:
        headers: the received headers.
        drop: further names to leave out.
    """
    return {
        name: value
        for name, value in headers.items()
        if name not in _NOT_COPIED and name not in drop and not name.startswith(RESERVED_PREFIXES)
    }


def shortened(text: str, limit: int, *, keep_end: bool = False) -> str:
    """Truncate a text to a number of bytes of UTF-8; an ellipsis marks the missing part.

    Lone surrogates are escaped.

    Args:
        text: the text.
        limit: bytes, at least 8.
        keep_end: remove the beginning instead of the end.
    """
    if len(text) <= limit and text.isascii():
        return text
    # A character has at least one byte, so at most `limit` characters are kept
    data = as_text(text[-limit:] if keep_end else text[:limit]).encode()
    if len(text) <= limit and len(data) <= limit:
        return data.decode()
    room = limit - len("… ".encode())
    # Remove the rest of a character that was cut in the middle
    part = (data[-room:] if keep_end else data[:room]).decode(errors="ignore")
    return f"… {part}" if keep_end else f"{part} …"
