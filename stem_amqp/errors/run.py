"""Errors of a run and of its outcome."""

from __future__ import annotations

from stem_amqp.errors.base import StemError


class ResultError(StemError):
    """A returned value does not fit the return annotation, or would be read back as another value.

    The task is not retried: another run would repeat the work and fail in the same way.
    """


class ResultTimeoutError(StemError, TimeoutError):
    """The result did not arrive in time; the task continues."""


class TaskFailedError(StemError):
    """A task ended without a result.

    Args:
        task_id: the task's id.
        state: the state in which it ended, such as ``failed`` or ``expired``.
        reason: the reason, such as ``retries-exhausted``.
        error: type and message of the last exception, if any.
        traceback: the worker's traceback as text, if any.
    """

    def __init__(
        self,
        task_id: str,
        state: str,
        *,
        reason: str | None = None,
        error: str | None = None,
        traceback: str | None = None,
    ) -> None:
        detail = ": ".join(part for part in (reason, error) if part)
        super().__init__(f"task {task_id} {state}" + (f" ({detail})" if detail else ""))
        self.task_id = task_id
        self.state = state
        self.reason = reason
        self.error = error
        self.traceback = traceback


class TimeLimitError(StemError, TimeoutError):
    """A run took longer than its hard time limit."""


class SoftTimeLimitError(StemError, TimeoutError):
    """The soft time limit is reached: clean up and return before the hard limit."""


class ProcessDiedError(StemError):
    """The child process in which a task ran died, by a signal or with an exit code."""
