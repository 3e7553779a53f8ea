"""Every lifecycle event: its name, its fields, and what it means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventKind:
    """A kind of event.

    Args:
        name: the first word of its routing key.
        meaning: one sentence.
        fields: the fields that it has in addition to those of every event.
        of_worker: whether it is about a worker, and has no task and no queue.
    """

    name: str
    meaning: str
    fields: tuple[str, ...] = ()
    of_worker: bool = False


_KINDS = (
    EventKind("published", "The broker has confirmed a new task."),
    EventKind(
        "received", "A worker has received the message; task and id are its properties, unverified."
    ),
    EventKind("started", "A run begins."),
    EventKind("progress", "The run reported progress.", ("fraction", "message")),
    EventKind("succeeded", "The run returned, and its result is stored.", ("duration",)),
    EventKind(
        "retried",
        "The run failed, and its next run is confirmed.",
        ("error", "exception", "delay"),
    ),
    EventKind("snoozed", "The task runs later; this is no attempt.", ("delay", "reason")),
    EventKind("failed", "The task failed for good.", ("reason", "error", "exception")),
    EventKind("expired", "The task expired before it was started.", ("reason", "error")),
    EventKind(
        "dead-lettered",
        "The message is in the dead-letter queue; it follows `failed` and `expired`.",
        ("reason", "error", "exception"),
    ),
    EventKind("revoked", "The task was revoked, and its message is gone.", ("reason",)),
    EventKind("worker-started", "A worker consumes all its queues.", of_worker=True),
    EventKind("worker-stopping", "A worker stops consuming.", ("reason",), of_worker=True),
    EventKind("worker-stopped", "A worker has settled everything.", of_worker=True),
    EventKind(
        "worker-commanded",
        "A worker has carried out a command, or could not: then `error` says why.",
        ("command", "issuer", "nonce", "error"),
        of_worker=True,
    ),
    EventKind(
        "breaker-changed",
        "The breaker of a queue or task opened, is tried, or closed.",
        ("kind", "target", "state", "reason", "until"),
        of_worker=True,
    ),
    EventKind(
        "worker-heartbeat",
        "A worker is alive; only for listeners that name it.",
        ("heartbeat",),
        of_worker=True,
    ),
)

CATALOGUE = {kind.name: kind for kind in _KINDS}
"""Every event by its name."""
