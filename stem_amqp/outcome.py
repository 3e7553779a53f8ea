"""The outcome of one delivery. The executor returns it; only `settle` acts on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from stem_amqp.states import Reason, TaskState


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """How a run failed.

    Args:
        error: the exception's type and message.
        traceback: the traceback as text; empty if there is none.
        exception: the exception itself, for log records and exporters; None for a run in another
            process. It lives as long as its job: its traceback keeps the task's variables alive.
    """

    # pydantic reads failures that a child process sends; they have no exception
    __pydantic_config__: ClassVar[Mapping[str, bool]] = {"arbitrary_types_allowed": True}

    error: str
    traceback: str = ""
    exception: BaseException | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Succeeded:
    """The task returned.

    Args:
        result: the returned value as JSON.
        duration: seconds that the run took.
    """

    result: bytes
    duration: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Retried:
    """The run failed, and another one follows.

    Args:
        failure: how it failed.
        delay: seconds until the next run.
        native: whether the queue itself delays the next run, instead of the delay queues.
    """

    failure: Failure
    delay: float
    native: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Snoozed:
    """The task asked to run later; the attempt stays the same.

    Args:
        delay: seconds until the next run.
        reason: the reason that the task gave.
    """

    delay: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Postponed:
    """The task cannot run yet: its function was not called, and its state does not change.

    Args:
        delay: seconds until the message is delivered again.
        headers: headers to add to it.
    """

    delay: float
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """The task is paused: its message waits in a queue of its own until the task is resumed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dead:
    """The message goes to the dead-letter queue.

    Args:
        reason: the kind of the failure.
        failure: its description.
        expected: whether the application planned for this end, so that it is no reason for an alarm:
            the task rejected itself, raised an exception of its option ``expected``, or expired.
    """

    reason: Reason
    failure: Failure
    expected: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Revoked:
    """The task was revoked: its message is acknowledged, and nothing follows it.

    Args:
        reason: the reason that the revocation gave.
    """

    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeated:
    """Another delivery or copy of the message was processed or runs: this one is acknowledged.

    Args:
        state: the state that the other one led to; None if only its signed publish is remembered.
    """

    state: TaskState | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Returned:
    """The run was interrupted, as when the worker stops: the message is requeued."""


Outcome: TypeAlias = (
    Succeeded | Retried | Snoozed | Postponed | Held | Dead | Revoked | Repeated | Returned
)
