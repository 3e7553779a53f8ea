"""The frames between a worker and its child process: JSON values over a socket."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import fields as fields_of
from functools import cache
from typing import Annotated, Any

import orjson
from pydantic import Discriminator, Tag, TypeAdapter

from stem_amqp.outcome import (
    Dead,
    Failure,
    Outcome,
    Postponed,
    Retried,
    Returned,
    Revoked,
    Snoozed,
    Succeeded,
)
from stem_amqp.results.base import Progress
from stem_amqp.worker.job import Job

_KINDS: Mapping[type[Outcome], str] = {
    Succeeded: "succeeded",
    Retried: "retried",
    Snoozed: "snoozed",
    Postponed: "postponed",
    Dead: "dead",
    Revoked: "revoked",
    Returned: "returned",
}
"""The outcomes of a run in a child process, each with its ``kind``."""
SIZE = 4
"""The number of bytes before a frame's content; they are its size, big-endian."""


@cache
def _outcomes() -> TypeAdapter[Outcome]:
    """Return the adapter that reads outcomes, a union tagged by ``kind``; few processes need it."""
    return TypeAdapter(
        Annotated[
            Annotated[Succeeded, Tag("succeeded")]
            | Annotated[Retried, Tag("retried")]
            | Annotated[Snoozed, Tag("snoozed")]
            | Annotated[Postponed, Tag("postponed")]
            | Annotated[Dead, Tag("dead")]
            | Annotated[Revoked, Tag("revoked")]
            | Annotated[Returned, Tag("returned")],
            Discriminator(lambda fields: fields.get("kind")),
        ]
    )


def frame(value: Mapping[str, Any]) -> bytes:
    """Return one frame.

    Args:
        value: JSON values; the caller converts bytes. Other values become strings.
    """
    content = orjson.dumps(value, default=str)
    return len(content).to_bytes(SIZE, "big") + content


def size_of(head: bytes) -> int:
    """Return the size of a frame's content in bytes, from the `SIZE` bytes before it."""
    return int.from_bytes(head, "big")


def read(content: bytes) -> dict[str, Any]:
    """Return the values in a frame's content."""
    value: dict[str, Any] = orjson.loads(content)
    return value


def job_fields(job: Job) -> dict[str, Any]:
    """Return a job as JSON values."""
    return {
        "body": _text(job.body),
        "headers": dict(job.headers),
        "queue": job.queue,
        "redelivered": job.redelivered,
        "native": job.native,
        "reply_to": job.reply_to,
        "type": job.type,
        "correlation_id": job.correlation_id,
        "carried": job.carried,
        "given": job.given,
    }


def job_of(fields: Mapping[str, Any]) -> Job:
    """Return the job that `job_fields` wrote."""
    return Job(**{**fields, "body": _bytes(fields["body"])})


def progress_fields(progress: Progress) -> dict[str, Any]:
    """Return progress as JSON values."""
    return {"fraction": progress.fraction, "message": progress.message, "data": progress.data}


def outcome_fields(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON values: its kind, its own fields, and those of its failure.

    Raises:
        ValueError: a run in a child process cannot have this outcome.
    """
    kind = _KINDS.get(type(outcome))
    if kind is None:
        raise ValueError(f"a child cannot end with {outcome!r}")
    values = _values(outcome)
    failure = values.pop("failure", None)
    values.pop("headers", None)  # those of a task that waits for its limits, which no child does
    if "result" in values:
        values["result"] = _text(values["result"])
    return {"kind": kind, **values, **({} if failure is None else _values(failure))}


def outcome_of(fields: Mapping[str, Any]) -> Outcome:
    """Return the outcome that `outcome_fields` wrote.

    Raises:
        ValueError: the fields are not a valid outcome.
        TypeError: a field has the wrong type.
    """
    values = dict(fields)
    values["failure"] = {name: fields[name] for name in ("error", "traceback") if name in fields}
    if "result" in values:
        values["result"] = _bytes(values["result"])
    return _outcomes().validate_python(values)


def _values(one: Outcome | Failure) -> dict[str, Any]:
    # an exception cannot be sent: its text is
    return {f.name: getattr(one, f.name) for f in fields_of(one) if f.name != "exception"}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
