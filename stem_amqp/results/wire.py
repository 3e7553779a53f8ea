"""Replies from a worker to the producer: JSON messages on the producer's reply queue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from stem_amqp.errors import DecodeError
from stem_amqp.results.base import Progress, ProgressUpdate, Transition
from stem_amqp.results.records import encode_progress, progress_fields, writable
from stem_amqp.states import TaskState

TRANSITION: Final = "stem.result"
"""AMQP ``type`` of a message that carries a `Transition`."""
PROGRESS: Final = "stem.progress"
"""AMQP ``type`` of a message that carries a `ProgressUpdate`."""
VERSION = 1

_OPTIONAL = ("worker", "reason", "error", "traceback", "next_run")
_TEXTS = frozenset({"reason", "error", "traceback"})


def encode(change: Transition | ProgressUpdate) -> bytes:
    """Write the body of a reply.

    The result is embedded as it is, at the end; its size tells where it begins, so that its bytes
    arrive unchanged.
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


def decode(kind: str | None, body: bytes) -> Transition | ProgressUpdate:
    """Read the body of a reply.

    Args:
        kind: its AMQP ``type``.
        body: the bytes.

    Raises:
        DecodeError: it is no reply, or of another version.
    """
    if kind not in {TRANSITION, PROGRESS}:
        raise DecodeError(f"a message of type {kind!r} is no reply", body)
    try:
        fields = orjson.loads(body)
        if fields["v"] != VERSION:
            raise DecodeError(f"the reply has version {fields['v']!r}, not {VERSION}", body)
        return _transition(fields, body) if kind == TRANSITION else _progress(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"the reply cannot be read: {error!r}", body) from error


def _progress(fields: Mapping[str, Any]) -> ProgressUpdate:
    progress = Progress(
        fraction=fields["fraction"],
        message=fields["message"],
        data=fields["data"],
        at=fields["at"],
    )
    return ProgressUpdate(task_id=fields["id"], progress=progress, ttl=float(fields["ttl"]))


def _transition(fields: Mapping[str, Any], body: bytes) -> Transition:
    size = fields.get("result_size")
    return Transition(
        task_id=fields["id"],
        task=fields["task"],
        queue=fields["queue"],
        state=TaskState(fields["state"]),
        attempt=int(fields["attempt"]),
        replay=int(fields["replay"]),
        at=float(fields["at"]),
        ttl=float(fields["ttl"]),
        meta=fields.get("meta") or {},
        result=None if size is None else body[-1 - size : -1],
        **{name: fields.get(name) for name in _OPTIONAL},
    )
