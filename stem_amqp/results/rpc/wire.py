"""Replies from a worker to the producer: JSON messages on the producer's reply queue."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import orjson
from pydantic import TypeAdapter

from stem_amqp.errors import DecodeError
from stem_amqp.results.base import ProgressUpdate, Transition
from stem_amqp.results.records import encode_progress, progress_fields, writable

TRANSITION: Final = "stem.result"
"""AMQP ``type`` of a message that carries a `Transition`."""
PROGRESS: Final = "stem.progress"
"""AMQP ``type`` of a message that carries a `ProgressUpdate`."""
VERSION = 1

_OPTIONAL = ("worker", "reason", "error", "traceback", "next_run")
_PROGRESS = ("fraction", "message", "data", "at")
_TEXTS = frozenset({"reason", "error", "traceback"})


def encode(change: Transition | ProgressUpdate) -> bytes:
    """Encode the body of a reply.

    The bytes of the result are embedded unchanged at the end; their number tells where they begin.
    """
    if isinstance(change, ProgressUpdate):
        return encode_progress(
            {
                "v": VERSION,
                "id": change.task_id,
                "ttl": change.ttl,
                **progress_fields(change.progress),
            }
        )
    fields: dict[str, Any] = {
        "v": VERSION,
        "id": change.task_id,
        "task": change.task,
        "queue": change.queue,
        "state": change.state.value,
        "attempt": change.attempt,
        "replay": change.replay,
        "at": change.at,
        "ttl": change.ttl,
    }
    for name in _OPTIONAL:
        value = getattr(change, name)
        if value is not None:
            fields[name] = writable(value) if name in _TEXTS else value
    if change.meta:
        fields["meta"] = change.meta
    if change.result is None:
        return orjson.dumps(fields)
    fields["result_size"] = len(change.result)
    return b'%b,"result":%b}' % (orjson.dumps(fields)[:-1], change.result)


@cache
def _adapter(kind: str) -> TypeAdapter[Transition | ProgressUpdate]:
    """Return what checks the fields of a reply; AMQP ``type`` tells the two kinds apart."""
    return TypeAdapter(Transition if kind == TRANSITION else ProgressUpdate)


def decode(kind: str | None, body: bytes) -> Transition | ProgressUpdate:
    """Decode the body of a reply.

    Args:
        kind: its AMQP ``type``.
        body: the bytes.

    Raises:
        DecodeError: it is not a reply, or has another version.
    """
    if kind not in {TRANSITION, PROGRESS}:
        raise DecodeError(f"a message of type {kind!r} is not a reply", body)
    try:
        fields = orjson.loads(body)
        if fields["v"] != VERSION:
            raise DecodeError(f"the reply has version {fields['v']!r}, not {VERSION}", body)
        values = _transition(fields, body) if kind == TRANSITION else _progress(fields)
        return _adapter(kind).validate_python(values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"the reply cannot be read: {error!r}", body) from error


def _progress(fields: Mapping[str, Any]) -> dict[str, Any]:
    progress = {name: fields[name] for name in _PROGRESS}
    return {"task_id": fields["id"], "ttl": fields["ttl"], "progress": progress}


def _transition(fields: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    size, get = fields.get("result_size"), fields.get
    return {
        "task_id": fields["id"],
        "task": fields["task"],
        "queue": fields["queue"],
        "state": fields["state"],
        "attempt": fields["attempt"],
        "replay": fields["replay"],
        "at": fields["at"],
        "ttl": fields["ttl"],
        "worker": get("worker"),
        "reason": get("reason"),
        "error": get("error"),
        "traceback": get("traceback"),
        "next_run": get("next_run"),
        "meta": get("meta") or {},
        "result": None if size is None else body[-1 - size : -1],
    }
