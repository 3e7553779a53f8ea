"""Spans of enqueues, of kind PRODUCER, and the headers that carry their context."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from opentelemetry.trace import Span, SpanKind, Tracer, set_span_in_context

from stem_amqp.observability.reported import Bulk, End, Publishing
from stem_amqp.observability.tracing import catalogue as names
from stem_amqp.observability.tracing.carrier import written
from stem_amqp.observability.tracing.failures import add_error


class Sending:
    """Makes a span for each enqueue, and one for each bulk enqueue.

    Args:
        tracer: makes the spans.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._bulks: dict[int, set[str]] = {}
        """The logical queues of each recorded bulk enqueue, by the id of its `Bulk`."""

    def begin(self, publishing: Publishing) -> End | None:
        """Start the span of an enqueue, and add its context to the headers.

        A call of a bulk enqueue has the context of the bulk's span already.
        """
        if publishing.bulk is not None:
            queues = self._bulks.get(id(publishing.bulk))
            if queues is not None:
                queues.add(publishing.queue)
            return None
        name, attributes = _described(publishing.task, publishing.queue)
        span = self._tracer.start_span(name, kind=SpanKind.PRODUCER, attributes=attributes)
        publishing.headers.update(written(set_span_in_context(span)))
        if not span.is_recording():
            return None

        def end(error: BaseException | None) -> None:
            _finish(span, publishing, error)

        return end

    def begin_many(self, bulk: Bulk) -> End | None:
        """Start the span of a bulk enqueue, and add its context to the headers of all its messages."""
        span = self._tracer.start_span(names.SEND, kind=SpanKind.PRODUCER, attributes=_BULK)
        bulk.headers.update(written(set_span_in_context(span)))
        if not span.is_recording():
            return None
        queues = self._bulks[id(bulk)] = set()

        def end(error: BaseException | None) -> None:
            del self._bulks[id(bulk)]
            _finish_many(span, bulk, queues, error)

        return end


_BULK: Mapping[str, str] = {
    names.SYSTEM: "rabbitmq",
    names.OPERATION_NAME: names.SEND,
    names.OPERATION_TYPE: names.SEND,
}


@lru_cache(maxsize=1024)
def _described(task: str, queue: str) -> tuple[str, Mapping[str, str]]:
    """Return the name of a span and the attributes that samplers see."""
    return f"{names.SEND} {queue}", {
        **_BULK,
        names.DESTINATION: queue,
        names.ROUTING_KEY: queue,
        names.TASK_NAME: task,
    }


def _finish(span: Span, publishing: Publishing, error: BaseException | None) -> None:
    if publishing.message is not None:
        span.set_attribute(names.CONVERSATION_ID, publishing.message.id)
        span.set_attribute(names.BODY_SIZE, publishing.size)
    if error is not None:
        add_error(span, error)
    span.end()


def _finish_many(span: Span, bulk: Bulk, queues: set[str], error: BaseException | None) -> None:
    span.set_attribute(names.BATCH_COUNT, bulk.count)
    if len(queues) == 1:
        (queue,) = queues
        span.update_name(f"{names.SEND} {queue}")
        span.set_attribute(names.DESTINATION, queue)
        span.set_attribute(names.ROUTING_KEY, queue)
    if error is not None:
        add_error(span, error)
    span.end()
