"""What a worker and a child process of it say to each other: JSON values in frames of a socket."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from stem_amqp.results.base import Progress
from stem_amqp.states import Reason
from stem_amqp.worker.job import Job
from stem_amqp.worker.outcome import (
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

SIZE = 4
"""Bytes before a frame's content: its size, big-endian."""


def frame(value: Mapping[str, Any]) -> bytes:
    """Write one frame.

    Args:
        value: JSON values; bytes and what else JSON cannot carry are the caller's to convert.
    """
    content = orjson.dumps(value, default=str)
    return len(content).to_bytes(SIZE, "big") + content


def size_of(head: bytes) -> int:
    """Return the size of the content after a frame's head, in bytes."""
    return int.from_bytes(head, "big")


def read(content: bytes) -> dict[str, Any]:
    """Read a frame's content."""
    value: dict[str, Any] = orjson.loads(content)
    return value


def job_fields(job: Job) -> dict[str, Any]:
    """Write a job."""
    return {
        "body": _text(job.body),
        "headers": dict(job.headers),
        "queue": job.queue,
        "redelivered": job.redelivered,
        "native": job.native,
        "reply_to": job.reply_to,
        "type": job.type,
        "correlation_id": job.correlation_id,
    }


def job_of(fields: Mapping[str, Any]) -> Job:
    """Read a job."""
    return Job(**{**fields, "body": _bytes(fields["body"])})


def progress_fields(progress: Progress) -> dict[str, Any]:
    """Write progress."""
    return {"fraction": progress.fraction, "message": progress.message, "data": progress.data}


def outcome_fields(outcome: Outcome) -> dict[str, Any]:
    """Write an outcome.

    Raises:
        ValueError: it is none that a child's run can have.
    """
    match outcome:
        case Succeeded():
            return {
                "kind": "succeeded",
                "result": _text(outcome.result),
                "duration": outcome.duration,
            }
        case Retried():
            return {
                "kind": "retried",
                "delay": outcome.delay,
                "native": outcome.native,
                **_failure_fields(outcome.failure),
            }
        case Snoozed():
            return {"kind": "snoozed", "delay": outcome.delay, "reason": outcome.reason}
        case Postponed():
            return {"kind": "postponed", "delay": outcome.delay}
        case Dead():
            reason = outcome.reason.value
            return {"kind": "dead", "reason": reason, **_failure_fields(outcome.failure)}
        case Revoked():
            return {"kind": "revoked", "reason": outcome.reason}
        case Returned():
            return {"kind": "returned"}
        case _:
            raise ValueError(f"a child cannot end with {outcome!r}")


def outcome_of(fields: Mapping[str, Any]) -> Outcome:
    """Read an outcome.

    Raises:
        KeyError: it is none; ValueError says so too.
    """
    match fields["kind"]:
        case "succeeded":
            return Succeeded(result=_bytes(fields["result"]), duration=fields["duration"])
        case "retried":
            return Retried(failure=_failure(fields), delay=fields["delay"], native=fields["native"])
        case "snoozed":
            return Snoozed(delay=fields["delay"], reason=fields["reason"])
        case "postponed":
            return Postponed(delay=fields["delay"])
        case "dead":
            return Dead(reason=Reason(fields["reason"]), failure=_failure(fields))
        case "revoked":
            return Revoked(reason=fields["reason"])
        case "returned":
            return Returned()
        case kind:
            raise ValueError(f"{kind!r} is no outcome")


def _failure_fields(failure: Failure) -> dict[str, Any]:
    return {"error": failure.error, "traceback": failure.traceback}


def _failure(fields: Mapping[str, Any]) -> Failure:
    return Failure(error=fields["error"], traceback=fields["traceback"])


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
