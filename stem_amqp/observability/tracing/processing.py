"""Spans of runs, of kind CONSUMER, with links to the enqueue and to the run before."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from opentelemetry.context import Context, attach
from opentelemetry.trace import Span, SpanKind, Tracer, get_current_span, set_span_in_context

from stem_amqp.observability.reported import Delivered
from stem_amqp.observability.tracing import catalogue as names
from stem_amqp.observability.tracing.carrier import (
    LAST_RUN_HEADER,
    PREFIX,
    TRACEPARENT,
    as_header,
    extracted,
    last_run,
    unsampled,
    written,
)
from stem_amqp.observability.tracing.failures import add_failure, fail
from stem_amqp.outcome import Dead, Outcome, Postponed, Retried, Snoozed


class Processing:
    """Makes a span for each run.

    The context of a run is attached in the asyncio task of its delivery, and stays there until that ends:
    settling and listeners of signals are part of it.

    Args:
        tracer: makes the spans.

    Attributes:
        never: whether the sampler samples nothing.
        never_after_unsampled: whether it samples nothing in a trace that is not sampled, so that no
            span is made where the message's context says so. Both are set where messages have only
            the headers of W3C.
        recorded: the recorded spans of runs that have not ended.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self.never = False
        self.never_after_unsampled = False
        self.recorded: dict[Delivered, Span] = {}
        # all messages of a bulk enqueue have the same header
        self._unsampled: tuple[str, Context] = "", Context()

    def start(self, delivered: Delivered) -> None:
        """Start the span of a run, and make it the current one."""
        headers = delivered.headers
        if self.never_after_unsampled and "baggage" not in headers and "tracestate" not in headers:
            traceparent = headers.get(TRACEPARENT)
            if traceparent is None:
                if self.never:
                    return
            elif traceparent == self._unsampled[0]:
                attach(self._unsampled[1])
                return
            elif (context := unsampled(traceparent)) is not None:
                self._unsampled = traceparent, context
                attach(context)
                return
        creation = extracted(headers)
        name, attributes = _described(_task(delivered), delivered.queue)
        span = self._tracer.start_span(
            name, creation, kind=SpanKind.CONSUMER, attributes=attributes
        )
        attach(set_span_in_context(span, creation))
        if span.is_recording():
            self.recorded[delivered] = span
            _describe(span, delivered, creation)

    def end(self, delivered: Delivered, outcome: Outcome) -> None:
        """End the span of a run, and give its context to the next run of the message."""
        span = self.recorded.pop(delivered, None)
        if span is None:
            return
        if isinstance(outcome, Retried | Snoozed | Postponed | Dead):
            _link_next(span, delivered)
        _conclude(span, outcome)
        span.end()

    def note_dead(self, delivered: Delivered, outcome: Dead) -> None:
        """Make a span for a dead letter without a run, which ends at once.

        Any client can write the headers of a message that is not verified: it neither joins the trace
        that they name, nor decides whether its span is sampled.
        """
        creation = Context() if delivered.untrusted else extracted(delivered.headers)
        name, attributes = _described(_task(delivered), delivered.queue)
        span = self._tracer.start_span(
            name, creation, kind=SpanKind.CONSUMER, attributes=attributes
        )
        if not span.is_recording():
            return
        if delivered.untrusted:
            span.set_attribute(names.BODY_SIZE, len(delivered.body))
        else:
            _describe(span, delivered, creation)
            _link_next(span, delivered)
        _conclude(span, outcome)
        span.end()

    def join(self, delivered: Delivered) -> None:
        """Make the context of a message that did not run the current one, for what follows it."""
        attach(extracted(delivered.headers))

    def send(self, delivered: Delivered) -> None:
        """Add the run's context to the values that are sent to a child process."""
        headers = {f"{PREFIX}{name}": value for name, value in written().items()}
        if headers:
            delivered.carried = {**(delivered.carried or {}), **headers}

    def enter(self, delivered: Delivered) -> None:
        """Make the span of the worker's run the current one in this child process."""
        carried = delivered.carried or {}
        headers = {
            name.removeprefix(PREFIX): value
            for name, value in carried.items()
            if name.startswith(PREFIX)
        }
        # also without a context: the run before in this process has left its own
        attach(extracted(headers))


def _task(delivered: Delivered) -> str:
    return delivered.definition.name if delivered.definition is not None else ""


@lru_cache(maxsize=1024)
def _described(task: str, queue: str) -> tuple[str, Mapping[str, str]]:
    """Return the name of a span and the attributes that samplers see."""
    attributes = {
        names.SYSTEM: "rabbitmq",
        names.OPERATION_NAME: names.PROCESS,
        names.OPERATION_TYPE: names.PROCESS,
        names.DESTINATION: queue,
        names.ROUTING_KEY: queue,
    }
    return f"{names.PROCESS} {queue}", attributes | ({names.TASK_NAME: task} if task else {})


def _link_next(span: Span, delivered: Delivered) -> None:
    """Give a span's context to the message's next run."""
    last = {LAST_RUN_HEADER: as_header(span.get_span_context())}
    delivered.next_headers = {**(delivered.next_headers or {}), **last}


def _describe(span: Span, delivered: Delivered, creation: Context) -> None:
    """Add the links and attributes of a recorded span."""
    created = get_current_span(creation).get_span_context()
    if created.is_valid:
        span.add_link(created, {names.LINK: names.CREATION})
    before = last_run(delivered.headers)
    if before is not None:
        span.add_link(before, {names.LINK: names.LAST_RUN})
    attributes: dict[str, str | int | float | bool] = {
        names.BODY_SIZE: len(delivered.body),
        names.ATTEMPT: delivered.attempt,
        names.REPLAY: delivered.replay,
        names.REDELIVERED: delivered.redelivered,
    }
    if delivered.message_id is not None:
        attributes[names.MESSAGE_ID] = delivered.message_id
    if delivered.message is not None:
        attributes[names.CONVERSATION_ID] = delivered.message.id
    if delivered.waited:
        attributes[names.WAITED] = delivered.waited
    span.set_attributes(attributes)


def _conclude(span: Span, outcome: Outcome) -> None:
    """Add what became of a run; only a failure that is final is an error."""
    span.set_attribute(names.OUTCOME, type(outcome).__name__.lower())
    if isinstance(outcome, Retried | Snoozed | Postponed):
        span.set_attribute(names.DELAY, outcome.delay)
    if isinstance(outcome, Retried | Dead):
        kind = add_failure(span, outcome.failure)
        if isinstance(outcome, Dead):
            span.set_attribute(names.REASON, outcome.reason.value)
            if not outcome.expected:
                fail(span, kind or outcome.reason.value, outcome.failure.error)
