"""From how a run ended to what follows. Pure."""

from __future__ import annotations

import traceback
from types import TracebackType

from pydantic_core import PydanticSerializationError

from stem_amqp.definition import TaskDefinition
from stem_amqp.durations import seconds
from stem_amqp.errors import ProcessDiedError, Reject, Retry, Snooze
from stem_amqp.message import ERROR_LIMIT, TRACEBACK_LIMIT, shortened
from stem_amqp.retry import RetryPolicy
from stem_amqp.states import Reason
from stem_amqp.worker.outcome import Dead, Failure, Outcome, Retried, Snoozed

_MACHINERY = ("stem_amqp.worker", "asyncio", "concurrent.futures")


def describe(error: BaseException) -> str:
    """Return type and message of an exception, cut to what fits into a header."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in {"builtins", "__main__"}:
        name = f"{kind.__module__}.{name}"
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception of the user's that cannot even be shown
        text = "(its text cannot be had)"
    return shortened(f"{name}: {text}".removesuffix(": "), ERROR_LIMIT)


def failure_of(error: BaseException) -> Failure:
    """Return what there is to say about an exception.

    The exception itself is not kept: with its traceback it would keep the task's variables alive.
    """
    text = "".join(traceback.format_exception(type(error), error, _from_the_task(error)))
    return Failure(error=describe(error), traceback=shortened(text, TRACEBACK_LIMIT, keep_end=True))


def _from_the_task(error: BaseException) -> TracebackType | None:
    """Return the traceback from the task's own frame on: how the worker got there helps nobody."""
    step = error.__traceback__
    while step is not None:
        module = step.tb_frame.f_globals.get("__name__", "")
        if not module.startswith(_MACHINERY):
            return step
        step = step.tb_next
    return error.__traceback__


def classify(
    error: BaseException,
    *,
    attempt: int,
    max_retries: int,
    policy: RetryPolicy,
    definition: TaskDefinition,
    elapsed: float,
) -> Outcome:
    """Decide what follows a run that did not return.

    Args:
        error: what it ended with.
        attempt: the attempt, 0 for the first run.
        max_retries: runs after the first one, at most.
        policy: the retry policy.
        definition: the task.
        elapsed: seconds since the enqueue.
    """
    if isinstance(error, Snooze):
        return Snoozed(delay=seconds(error.delay), reason=error.reason or "")
    if isinstance(error, Reject):
        return Dead(reason=Reason.REJECTED, failure=Failure(error=describe(error)))
    failure = failure_of(error)
    if isinstance(error, PydanticSerializationError):
        # Another run would do its work again and end just so
        return Dead(reason=Reason.UNSERIALIZABLE_RESULT, failure=failure)
    requested, crashed = isinstance(error, Retry), isinstance(error, ProcessDiedError)
    if not requested and not _may_be_retried(error, definition):
        return Dead(reason=Reason.CRASHED if crashed else Reason.NOT_RETRYABLE, failure=failure)
    if attempt >= max_retries:
        return Dead(reason=Reason.CRASHED if crashed else Reason.RETRIES_EXHAUSTED, failure=failure)
    try:
        return _retried(error, failure, attempt, policy, elapsed)
    except Exception as broken:  # noqa: BLE001 - a strategy of the user's failed; nothing is lost
        text = f"{failure.error} (and its retry policy failed: {describe(broken)})"
        failure = Failure(error=shortened(text, ERROR_LIMIT), traceback=failure.traceback)
        return Dead(reason=Reason.NOT_RETRYABLE, failure=failure)


def _may_be_retried(error: BaseException, definition: TaskDefinition) -> bool:
    options = definition.options
    if isinstance(error, options.never_retry_on):
        return False
    # A cancellation or SystemExit of the task's own making is no Exception, but a failure like one
    return isinstance(error, options.retry_on) or not isinstance(error, Exception)


def _retried(
    error: BaseException, failure: Failure, attempt: int, policy: RetryPolicy, elapsed: float
) -> Outcome:
    if isinstance(error, Retry) and error.delay is not None:
        return Retried(failure=failure, delay=seconds(error.delay))
    if not policy.accepts(attempt, error, elapsed=elapsed):
        return Dead(reason=Reason.NOT_RETRYABLE, failure=failure)
    delay = policy.delay(attempt, error, elapsed=elapsed)
    if delay is None:
        return Dead(reason=Reason.RETRIES_EXHAUSTED, failure=failure)
    return Retried(failure=failure, delay=delay)
