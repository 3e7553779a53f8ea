"""The states of a task and their transitions; the reasons of dead letters."""

from __future__ import annotations

from enum import StrEnum


class TaskState(StrEnum):
    """The state of a task.

    A result backend accepts a change only if `may_follow` allows it: states never go backwards.
    """

    QUEUED = "queued"
    """The broker confirmed the message. Set by the producer; the first state, and the state after a replay."""
    RUNNING = "running"
    """A worker has started a run. Set by the worker; a redelivery may set it again."""
    RETRYING = "retrying"
    """A run failed; the next one waits in a delay queue. Set when its publish is confirmed."""
    SNOOZED = "snoozed"
    """The task runs later; this counts as no attempt. Set when its publish is confirmed."""
    SUCCEEDED = "succeeded"
    """The task returned. Final."""
    FAILED = "failed"
    """The message is in the dead-letter queue. Final unless it is replayed."""
    EXPIRED = "expired"
    """The task was not started before it expired. Final unless its dead letter is replayed."""
    REVOKED = "revoked"
    """The task was revoked before it finished; its message is gone. Final."""

    @property
    def final(self) -> bool:
        """Whether the task has ended."""
        return self in FINAL


FINAL = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.EXPIRED, TaskState.REVOKED})


def may_follow(current: tuple[int, TaskState, int] | None, new: tuple[int, TaskState, int]) -> bool:
    """Return whether a backend may replace one state with another.

    Args:
        current: stored number of replays, state and attempt; None for an unknown task.
        new: the same for the change. A replay from the dead-letter queue increments the first number.

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
    """The task failed and has no retries left."""
    NOT_RETRYABLE = "not-retryable"
    """The task failed with an error that its options say never to retry."""
    INVALID_ARGUMENTS = "invalid-arguments"
    """The arguments do not fit the task's signature."""
    UNKNOWN_TASK = "unknown-task"
    """The worker has no task of that name."""
    UNDECODABLE = "undecodable"
    """The body is no task message."""
    SIGNATURE_INVALID = "signature-invalid"
    """The signature is missing, invalid, or made with a key that the worker does not accept."""
    REPLAYED = "replayed"
    """A copy of a signed message that was received before, or one that arrived too late."""
    NOT_ENCRYPTED = "not-encrypted"
    """The body is not encrypted, but encryption is required."""
    EXPIRED = "expired"
    """The task's own expiry passed before it was started."""
    TOO_OLD = "too-old"
    """The task was to run again but is older than its ``max_age``."""
    REJECTED = "rejected"
    """The task rejected itself with `TaskContext.reject`."""
    UNSERIALIZABLE_RESULT = "unserializable-result"
    """The task returned a value that JSON cannot represent. The run itself was complete."""
    LINK_FAILED = "link-failed"
    """A task before it in its composition failed, so it never ran; or the results that it takes are gone."""
    CRASHED = "crashed"
    """The process that ran only this task died."""
    WORKER_FAILED = "worker-failed"
    """The worker's own code failed on the message: a bug in stem-amqp or an extension."""
    DELIVERY_LIMIT = "delivery-limit"
    """RabbitMQ dead-lettered it: it was returned too often, for example by crashes of its worker."""
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
"""RabbitMQ's dead-letter reasons (``x-first-death-reason``) as `Reason`."""
