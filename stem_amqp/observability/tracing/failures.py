"""Failures as events and as the status of spans."""

from __future__ import annotations

from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.exception_attributes import (
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
)
from opentelemetry.trace import Span, StatusCode

from stem_amqp.outcome import Failure

EXCEPTION_EVENT = "exception"


def add_failure(span: Span, failure: Failure) -> str | None:
    """Add the event of an exception, from the texts of a failure.

    The texts are those in the dead letter: short, without values of variables, and also there for a run
    in a child process, whose exception cannot be sent.

    Args:
        span: a recording span.
        failure: how the run failed.

    Returns:
        The exception's class; None if there was no exception.
    """
    if failure.exception is None and not failure.traceback:
        return None
    kind, _, message = failure.error.partition(": ")
    event = {EXCEPTION_TYPE: kind, EXCEPTION_MESSAGE: message}
    if failure.traceback:
        event[EXCEPTION_STACKTRACE] = failure.traceback
    span.add_event(EXCEPTION_EVENT, event)
    return kind


def add_error(span: Span, error: BaseException) -> None:
    """Add the event of an exception that ended a publish, and set the status.

    Args:
        span: a recording span.
        error: the exception.
    """
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    kind = kind.removeprefix("builtins.")
    span.add_event(EXCEPTION_EVENT, {EXCEPTION_TYPE: kind, EXCEPTION_MESSAGE: str(error)})
    fail(span, kind, str(error))


def fail(span: Span, kind: str, description: str) -> None:
    """Set the status ERROR.

    Args:
        span: a recording span.
        kind: the class of the error, with few values.
        description: what happened.
    """
    span.set_attribute(ERROR_TYPE, kind)
    span.set_status(StatusCode.ERROR, description)
