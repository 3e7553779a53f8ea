"""The states of a task, and which may follow which."""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    """Where a task stands.

    A store accepts a change only if `may_follow` allows it: states never go backwards.
    """

    QUEUED = "queued"
    """Confirmed by the broker. Set by the producer; the first state, or the one after a replay."""
    RUNNING = "running"
    """A worker has started a run. Set by the worker; a redelivery may set it again."""
    RETRYING = "retrying"
    """A run failed and the next one waits in a delay queue. Set once that is confirmed."""
    SNOOZED = "snoozed"
    """The task asked to run later; no attempt was spent. Set once that is confirmed."""
    SUCCEEDED = "succeeded"
    """The task returned. Final, for ever."""
    FAILED = "failed"
    """The message is in the dead-letter queue. Final, unless it is replayed."""
    EXPIRED = "expired"
    """The task was not started before it expired. Final, unless its dead letter is replayed."""
    REVOKED = "revoked"
    """The task was revoked before it finished; its message is gone. Final."""

    @property
    def final(self) -> bool:
        """Whether the task has ended."""
        return self in FINAL


FINAL = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.EXPIRED, TaskState.REVOKED})


def may_follow(current: tuple[int, TaskState, int] | None, new: tuple[int, TaskState, int]) -> bool:
    """Say whether a store may replace one state with another.

    Args:
        current: replays so far, state and attempt as stored, or None for an unknown task.
        new: the same of the change. A replay from the dead-letter queue counts one up.

    Returns:
        True if the change goes forward.
    """
    if current is None:
        return True
    replay, state, attempt = current
    new_replay, new_state, new_attempt = new
    if state is TaskState.SUCCEEDED or new_replay < replay:
        return False
    if new_replay > replay:
        return True
    if state.final or new_state is TaskState.QUEUED:
        return False
    return new_attempt >= attempt


class Reason(StrEnum):
    """Why a message is a dead letter: the value of its ``stem-reason`` header."""

    RETRIES_EXHAUSTED = "retries-exhausted"
    """The task failed and may not be retried any more."""
    NOT_RETRYABLE = "not-retryable"
    """The task failed with an error that its options say never to retry."""
    INVALID_ARGUMENTS = "invalid-arguments"
    """The arguments do not fit the task's signature."""
    UNKNOWN_TASK = "unknown-task"
    """The worker has no task of that name."""
    UNDECODABLE = "undecodable"
    """The body is no task message."""
    SIGNATURE_INVALID = "signature-invalid"
    """The signature is missing, wrong, or of a key that the worker does not accept."""
    EXPIRED = "expired"
    """The task's own expiry passed before it was started."""
    TOO_OLD = "too-old"
    """The task was to run again, and is older than its ``max_age`` allows."""
    REJECTED = "rejected"
    """The task rejected itself with `TaskContext.reject`."""
    UNSERIALIZABLE_RESULT = "unserializable-result"
    """The task returned what JSON cannot carry. Its work is done."""
    CRASHED = "crashed"
    """The task killed the process that it ran in, alone."""
    DELIVERY_LIMIT = "delivery-limit"
    """RabbitMQ dead-lettered it: returned too often, by crashes of its worker for example."""
    QUEUE_TTL = "queue-ttl"
    """RabbitMQ dead-lettered it: the queue's TTL passed."""
    QUEUE_LENGTH = "queue-length"
    """RabbitMQ dead-lettered it: the queue was full."""


BROKER_REASONS = {
    "delivery_limit": Reason.DELIVERY_LIMIT,
    "expired": Reason.QUEUE_TTL,
    "maxlen": Reason.QUEUE_LENGTH,
    "rejected": Reason.REJECTED,
}
"""RabbitMQ's own dead-letter reasons (``x-first-death-reason``) in our words."""
