"""Spans of publishes, and the trace that a run continues."""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping
from typing import Any

import sentry_sdk
from sentry_sdk.tracing import NoOpSpan, Span, Transaction

from stem_amqp.clock import parse_timestamp
from stem_amqp.messages.message import NOT_BEFORE, SINCE
from stem_amqp.observability import Bulk, Delivered, End, Publishing
from stem_amqp.outcome import Dead, Outcome, Retried, Returned, Revoked

IDENTIFIER = "stem_amqp"
"""The integration's name in Sentry."""
ORIGIN = f"auto.queue.{IDENTIFIER}"
TRACE = "sentry-trace"
BAGGAGE = "baggage"


def is_active() -> bool:
    """Return whether the current Sentry client has the integration."""
    return sentry_sdk.get_client().get_integration(IDENTIFIER) is not None


def begin_publish(publishing: Publishing) -> End | None:
    """Start the span of a publish, if a transaction is active, and add the trace's headers.

    Args:
        publishing: the publish.

    Returns:
        The function that finishes the span; None without one.
    """
    span = _child(publishing.task)
    _add_trace(publishing.headers, span)
    if span is None:
        return None

    def end(error: BaseException | None) -> None:
        message = publishing.message
        span.set_data("messaging.system", "rabbitmq")
        span.set_data("messaging.destination.name", publishing.queue)
        span.set_data("messaging.message.body.size", publishing.size)
        if message is not None:
            span.set_data("messaging.message.id", message.id)
        _finish(span, error)

    return end


def begin_bulk(bulk: Bulk) -> End | None:
    """Start the span of a bulk publish, and add the trace's headers to all its messages.

    Args:
        bulk: the bulk publish.

    Returns:
        The function that finishes the span; None without one.
    """
    span = _child("enqueue_many")
    _add_trace(bulk.headers, span)
    if span is None:
        return None

    def end(error: BaseException | None) -> None:
        span.set_data("messaging.system", "rabbitmq")
        span.set_data("messaging.batch.message_count", bulk.count)
        _finish(span, error)

    return end


def continued(delivered: Delivered, name: str) -> Transaction:
    """Return the transaction of a run, which continues the trace in the message's headers.

    Args:
        delivered: the message.
        name: the task's name.
    """
    transaction = continue_trace(delivered.headers, name)
    transaction.set_data("messaging.system", "rabbitmq")
    transaction.set_data("messaging.destination.name", delivered.queue)
    transaction.set_data("messaging.message.retry.count", delivered.attempt)
    transaction.set_data("messaging.message.body.size", len(delivered.body))
    if delivered.message is not None:
        transaction.set_data("messaging.message.id", delivered.message.id)
    waited = _waited(delivered, time.time())
    if waited is not None:
        transaction.set_data("messaging.message.receive.latency", waited * 1000)
    return transaction


def continue_trace(headers: Mapping[str, Any], name: str) -> Transaction:
    """Continue the trace of headers in the current scope, or begin one there.

    Args:
        headers: headers that any client may have written.
        name: the task's name.
    """
    trace = {key: headers[key] for key in (TRACE, BAGGAGE) if isinstance(headers.get(key), str)}
    return sentry_sdk.continue_trace(
        trace, op="queue.process", name=name, source="task", origin=ORIGIN
    )


def add_current_trace(headers: MutableMapping[str, str]) -> None:
    """Add the headers of the current trace, also for a run in a child process."""
    _add_trace(headers, None)


def streams_spans() -> bool:
    """Return whether the client sends spans alone, for which this SDK has another interface."""
    options = sentry_sdk.get_client().options
    chosen = options.get("trace_lifecycle")
    if chosen is None:
        chosen = (options.get("_experiments") or {}).get("trace_lifecycle")
    return bool(chosen == "stream")


def has_transactions() -> bool:
    """Return whether the client may send transactions; without them, a run costs less."""
    options = sentry_sdk.get_client().options
    rates = (options.get("traces_sample_rate"), options.get("traces_sampler"))
    return any(rate is not None for rate in rates) and not streams_spans()


def status_of(outcome: Outcome) -> str:
    """Return the status of a run's transaction; a retry and an expected end are no errors."""
    match outcome:
        case Dead(expected=False):
            return "internal_error"
        case Dead() | Retried():
            return "aborted"
        case Revoked() | Returned():
            return "cancelled"
        case _:
            return "ok"


def _child(name: str) -> Span | None:
    parent = None if streams_spans() else sentry_sdk.get_current_span()
    if parent is None or isinstance(parent, NoOpSpan):
        return None
    return parent.start_child(op="queue.publish", name=name, origin=ORIGIN)


def _finish(span: Span, error: BaseException | None) -> None:
    span.set_status("ok" if error is None else "internal_error")
    span.finish()


def _add_trace(headers: MutableMapping[str, str], span: Span | None) -> None:
    own: Any = sentry_sdk.get_client().get_integration(IDENTIFIER)
    if own is None or not own.propagate_traces:
        return
    scope = sentry_sdk.get_current_scope()
    for name, value in scope.iter_trace_propagation_headers(span=span):
        if name == BAGGAGE and headers.get(BAGGAGE):
            headers[BAGGAGE] = f"{headers[BAGGAGE]},{value}"  # of another exporter
        else:
            headers.setdefault(name, value)


def _waited(delivered: Delivered, now: float) -> float | None:
    """Return the seconds since the task was due; None if that is not known."""
    message = delivered.message
    times = (delivered.headers.get(NOT_BEFORE), delivered.headers.get(SINCE))
    for text in (*times, message.enqueued_at if message is not None else None):
        if isinstance(text, str) and text:
            try:
                return max(0.0, now - parse_timestamp(text))
            except ValueError:
                continue
    return None
