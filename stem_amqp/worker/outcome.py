"""What came of one delivery. The executor returns it; only `settle` acts on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from stem_amqp.states import Reason, TaskState


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """How a run failed.

    Args:
        error: type and message.
        traceback: as text; empty where there is none.
    """

    error: str
    traceback: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Succeeded:
    """The task returned.

    Args:
        result: its value as JSON.
        duration: seconds that the run took.
    """

    result: bytes
    duration: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Retried:
    """The run failed, and another follows.

    Args:
        failure: how it failed.
        delay: seconds until the next run.
        native: whether the queue itself keeps it that long, instead of the delay queues.
    """

    failure: Failure
    delay: float
    native: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Snoozed:
    """The task asked to run later; no attempt is spent.

    Args:
        delay: seconds until the next run.
        reason: the task's own words.
    """

    delay: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Postponed:
    """It is too early for this task: it was not started, and nothing of its state changes.

    Args:
        delay: seconds until the next try.
    """

    delay: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Dead:
    """The message goes to the dead-letter queue.

    Args:
        reason: the type of the reason.
        failure: what there is to say about it.
    """

    reason: Reason
    failure: Failure


@dataclass(frozen=True, kw_only=True, slots=True)
class Revoked:
    """The task was revoked: its message is forgotten.

    Args:
        reason: why, in the words of who revoked it.
    """

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeated:
    """An earlier delivery of the message was carried out; only its acknowledgement got lost.

    Args:
        state: what that delivery came to, as stored.
    """

    state: TaskState


@dataclass(frozen=True, kw_only=True, slots=True)
class Returned:
    """The worker stops before the task has finished: the message goes back to its queue."""


Outcome: TypeAlias = (
    Succeeded | Retried | Snoozed | Postponed | Dead | Revoked | Repeated | Returned
)
