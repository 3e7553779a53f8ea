"""A lifecycle event as a listener receives it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pydantic import TypeAdapter, ValidationError

from stem_amqp.observability.registry.heartbeat import KEY as HEARTBEAT
from stem_amqp.observability.registry.heartbeat import Heartbeat
from stem_amqp.observability.registry.heartbeat import decode as read_heartbeat

_LARGEST = 64 * 1024
"""The most bytes of an event that is read; a larger one is ignored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LifecycleEvent:
    """What happened to a task or a worker in some process of the namespace.

    It is not signed: any client that may publish to the events exchange can have written it.

    Args:
        event: its name; see `CATALOGUE`.
        at: when it happened, by the clock of its process; seconds since the epoch.
        worker: the name of the worker, or ``host:pid`` of a producer.
        task: the task's name; None for events of workers.
        id: the task's id.
        queue: the logical queue.
        attempt: the number of retries so far.
        dropped: the number of events that were lost before this one, because there were too many.
        duration: seconds that the run took.
        error: the exception's type and message, at most 300 characters.
        exception: the exception's type.
        reason: why the task failed, was snoozed or revoked, or why the worker stops.
        delay: seconds until the next run.
        fraction: the progress from 0 to 1.
        message: the message of the progress.
        command: what a command asks for.
        issuer: who sent the command.
        nonce: the command's own id, the same in all workers.
        heartbeat: the worker's state.
    """

    event: str
    at: float
    worker: str
    task: str | None = None
    id: str | None = None
    queue: str | None = None
    attempt: int = 0
    dropped: int = 0
    duration: float | None = None
    error: str | None = None
    exception: str | None = None
    reason: str | None = None
    delay: float | None = None
    fraction: float | None = None
    message: str | None = None
    command: str | None = None
    issuer: str | None = None
    nonce: str | None = None
    heartbeat: Heartbeat | None = None


@cache
def _reader() -> TypeAdapter[LifecycleEvent]:
    return TypeAdapter(LifecycleEvent)


def decode(body: bytes, kind: str | None) -> LifecycleEvent | None:
    """Read an event; None if it is none.

    Args:
        body: the message's body.
        kind: AMQP ``type``, the event's name.
    """
    if len(body) > _LARGEST:
        return None
    if kind == HEARTBEAT:
        heartbeat = read_heartbeat(body)
        if heartbeat is None:
            return None
        return LifecycleEvent(
            event=HEARTBEAT, at=heartbeat.at, worker=heartbeat.name, heartbeat=heartbeat
        )
    try:
        return _reader().validate_json(body)
    except ValidationError:
        return None
