"""Classifies a failed run: retry it, snooze it, or dead-letter it. `classify` never raises."""

from __future__ import annotations

import math
from dataclasses import replace

from pydantic_core import PydanticSerializationError

from stem_amqp.durations import seconds
from stem_amqp.errors import (
    ArgumentsError,
    ConfigurationError,
    DecodeError,
    ProcessDiedError,
    ResultUnavailableError,
    StemError,
    UnknownTaskError,
    UnwritableError,
)
from stem_amqp.messages.message import ERROR_LIMIT, shortened
from stem_amqp.outcome import Dead, Failure, Outcome, Retried, Snoozed
from stem_amqp.retry import RetryPolicy
from stem_amqp.states import Reason
from stem_amqp.task_control import Reject, Retry, Snooze
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.worker.running.failure import describe, failure_of

PERMANENT = (
    ConfigurationError,
    UnknownTaskError,
    ArgumentsError,
    DecodeError,
    ResultUnavailableError,
    UnwritableError,
)
"""Errors of the framework that another run would raise again."""


LONGEST_DELAY = 100 * 365 * 86400.0
"""The longest delay of a next run in seconds: much later dates cannot be represented."""


class UnwritableResultError(Exception):
    """A task returned a value that cannot be written as JSON; the cause says why."""


def classify(
    error: BaseException,
    *,
    attempt: int,
    max_retries: int,
    policy: RetryPolicy,
    definition: TaskDefinition,
    elapsed: float,
) -> Outcome:
    """Return the outcome of a run that raised an exception.

    Args:
        error: the exception.
        attempt: the attempt, 0 for the first run.
        max_retries: the maximum number of runs after the first one.
        policy: the retry policy.
        definition: the task.
        elapsed: seconds since the enqueue.
    """
    try:
        requested = _requested_outcome(error)
        if requested is not None:
            return requested
        failure = failure_of(error)
        if isinstance(error, definition.options.expected):
            return Dead(reason=Reason.NOT_RETRYABLE, failure=failure, expected=True)
        why_not = _final_reason(error, definition)
        if why_not is not None:
            return Dead(reason=why_not, failure=failure)
        if attempt >= max_retries:
            crashed = isinstance(error, ProcessDiedError)
            reason = Reason.CRASHED if crashed else Reason.RETRIES_EXHAUSTED
            return Dead(reason=reason, failure=failure)
        return _retried(error, failure, attempt, policy, elapsed)
    except BaseException as broken:  # noqa: BLE001 - the application's code failed: dead-letter
        return _undecided(failure_of(error), broken)


def _undecided(failure: Failure, broken: BaseException) -> Dead:
    text = f"{failure.error} (and the retry rules failed: {describe(broken)})"
    failure = replace(failure, error=shortened(text, ERROR_LIMIT))
    return Dead(reason=Reason.NOT_RETRYABLE, failure=failure)


def _requested_outcome(error: BaseException) -> Outcome | None:
    """Return the outcome that the exception itself determines; None if it determines none."""
    if isinstance(error, Snooze):
        reason = shortened(str(error.reason or ""), ERROR_LIMIT)
        return Snoozed(delay=_delay(seconds(error.delay)), reason=reason)
    if isinstance(error, Reject):
        failure = Failure(error=describe(error))
        return Dead(reason=Reason.REJECTED, failure=failure, expected=True)
    if isinstance(error, UnwritableResultError | PydanticSerializationError):
        # Another run would repeat the work and fail in the same way
        return Dead(
            reason=Reason.UNSERIALIZABLE_RESULT, failure=failure_of(error.__cause__ or error)
        )
    return None


def _final_reason(error: BaseException, definition: TaskDefinition) -> Reason | None:
    """Return the reason why no other run can follow; None if one may."""
    if isinstance(error, Retry):
        return None
    options = definition.options
    crashed = isinstance(error, ProcessDiedError)
    refused = Reason.CRASHED if crashed else Reason.NOT_RETRYABLE
    if isinstance(error, options.never_retry_on):
        return refused
    if isinstance(error, PERMANENT) and not _is_named_in(error, options.retry_on):
        return refused
    # A CancelledError or SystemExit that the task raised is no Exception, but fails the run too
    if isinstance(error, Exception) and not isinstance(error, options.retry_on):
        return refused
    return None


def _is_named_in(error: BaseException, retry_on: tuple[type[BaseException], ...]) -> bool:
    """Return whether ``retry_on`` names a framework class of the error, not only `Exception`."""
    return any(issubclass(kind, StemError) and isinstance(error, kind) for kind in retry_on)


def _retried(
    error: BaseException, failure: Failure, attempt: int, policy: RetryPolicy, elapsed: float
) -> Outcome:
    if isinstance(error, Retry) and error.delay is not None:
        return Retried(failure=failure, delay=_delay(seconds(error.delay)))
    if not policy.accepts(attempt, error, elapsed=elapsed):
        return Dead(reason=Reason.NOT_RETRYABLE, failure=failure)
    delay = policy.delay(attempt, error, elapsed=elapsed)
    if delay is None:
        return Dead(reason=Reason.RETRIES_EXHAUSTED, failure=failure)
    return Retried(failure=failure, delay=_delay(delay))


def _delay(value: float) -> float:
    if math.isnan(value):
        raise ConfigurationError("the wait is not a number")
    return min(value, LONGEST_DELAY)
