"""Spans of enqueues and runs, on the in-memory broker."""

import asyncio
import base64
import logging
import time

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import SpanKind, StatusCode
from support import eventually
from tracing_support import FAST, Outcomes, Spans, application, links, work

from stem_amqp import (
    FailedMember,
    FailedTask,
    Middleware,
    Reject,
    Snooze,
    TaskContext,
    TimeLimitError,
    group,
)
from stem_amqp.context.context import current_or_none
from stem_amqp.dead_letter import DeadLetters, Selection
from stem_amqp.errors import UnroutableError
from stem_amqp.messages.message import TaskMessage
from stem_amqp.observability import Exporter
from stem_amqp.observability.tracing import TracingExporter, catalogue
from stem_amqp.outcome import Dead, Succeeded
from stem_amqp.transport.publication import Publication


@pytest.fixture
def spans():
    return Spans()


async def test_an_enqueue_and_its_run_are_two_spans_of_one_trace(spans):
    """The run is a child of the enqueue, and linked to it."""
    stem = application(spans)

    @stem.task("orders.sync", queue="orders")
    async def sync(order_id: str):
        pass

    async with stem:
        handle = await sync.enqueue("secret-argument")
        await work(stem, until=lambda: len(spans.all) == 2)
    sent, run = spans.all
    assert (sent.name, sent.kind) == ("send orders", SpanKind.PRODUCER)
    assert (run.name, run.kind) == ("process orders", SpanKind.CONSUMER)
    assert run.parent.span_id == sent.context.span_id
    assert links(run) == {"creation": sent.context.span_id}
    size = sent.attributes["messaging.message.body.size"]
    assert dict(sent.attributes) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "orders",
        "messaging.rabbitmq.destination.routing_key": "orders",
        "messaging.message.conversation_id": handle.id,
        "messaging.message.body.size": size,
        "stem.task.name": "orders.sync",
    }
    assert dict(run.attributes) == {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "orders",
        "messaging.rabbitmq.destination.routing_key": "orders",
        "messaging.message.conversation_id": handle.id,
        "messaging.message.id": run.attributes["messaging.message.id"],
        "messaging.message.body.size": size,
        "stem.task.name": "orders.sync",
        "stem.task.attempt": 0,
        "stem.task.replay": 0,
        "stem.task.redelivered": False,
        "stem.task.outcome": "succeeded",
    }
    assert "secret-argument" not in sent.to_json() + run.to_json()
    assert sent.status.status_code is run.status.status_code is StatusCode.UNSET
    assert run.instrumentation_scope.schema_url == Schemas.V1_37_0.value


async def test_a_retried_dead_lettered_and_replayed_task_is_one_story(spans):
    """Each run is linked to the run before it, and all are in the trace of the enqueue."""
    outcomes = Outcomes()
    stem = application(spans, outcomes)
    broken = [True]

    @stem.task("orders.sync", queue="orders", max_retries=1, retry=FAST)
    async def sync():
        if broken[0]:
            raise ValueError("no stock")

    async with stem:
        await sync.enqueue()
        await work(stem, until=lambda: any(isinstance(one, Dead) for one in outcomes.all))
        broken[0] = False
        await DeadLetters(stem, "orders").replay(Selection())
        await work(stem, until=lambda: any(isinstance(one, Succeeded) for one in outcomes.all))
    sent, *runs = spans.all
    first, second, third = runs
    creation = sent.context.span_id
    assert {span.context.trace_id for span in spans.all} == {sent.context.trace_id}
    assert {run.parent.span_id for run in runs} == {creation}
    assert links(first) == {"creation": creation}
    assert links(second) == {"creation": creation, "last-run": first.context.span_id}
    assert links(third) == {"creation": creation, "last-run": second.context.span_id}
    assert [run.attributes["stem.task.outcome"] for run in runs] == ["retried", "dead", "succeeded"]
    assert [run.attributes["stem.task.attempt"] for run in runs] == [0, 1, 0]
    assert [run.attributes["stem.task.replay"] for run in runs] == [0, 0, 1]
    codes = [run.status.status_code for run in runs]
    assert codes == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET]
    assert "error.type" not in first.attributes
    assert first.attributes["stem.task.next_run_delay"] == pytest.approx(0.05)
    assert second.attributes["error.type"] == "ValueError"
    assert second.attributes["stem.task.dead_letter_reason"] == "retries-exhausted"
    for run in (first, second):
        (event,) = run.events
        assert event.name == "exception"
        assert event.attributes["exception.type"] == "ValueError"
        assert event.attributes["exception.message"] == "no stock"
        assert "in sync" in event.attributes["exception.stacktrace"]


async def test_a_snooze_is_no_error_and_links_to_the_run_before(spans):
    stem = application(spans)

    @stem.task("orders.wait", queue="orders")
    async def wait():
        if len(spans.named("process orders")) == 0:
            raise Snooze("100ms")

    async with stem:
        await wait.enqueue()
        await work(stem, until=lambda: len(spans.named("process orders")) == 2)
    first, second = spans.named("process orders")
    assert first.attributes["stem.task.outcome"] == "snoozed"
    assert first.attributes["stem.task.next_run_delay"] == pytest.approx(0.1)
    assert first.status.status_code is StatusCode.UNSET
    assert links(second)["last-run"] == first.context.span_id


async def test_an_expected_end_is_no_error(spans):
    stem = application(spans)

    @stem.task("orders.sync", queue="orders")
    async def sync():
        raise Reject("the order is cancelled")

    async with stem:
        await sync.enqueue()
        await work(stem, until=lambda: spans.named("process orders"))
    (run,) = spans.named("process orders")
    assert run.status.status_code is StatusCode.UNSET
    assert run.attributes["stem.task.outcome"] == "dead"
    assert run.attributes["stem.task.dead_letter_reason"] == "rejected"
    assert "error.type" not in run.attributes


async def test_a_time_limit_is_an_error(spans):
    stem = application(spans)

    @stem.task("orders.sync", queue="orders", max_retries=0, time_limit=0.05)
    async def sync():
        await asyncio.Event().wait()

    async with stem:
        await sync.enqueue()
        await work(stem, until=lambda: spans.named("process orders"))
    (run,) = spans.named("process orders")
    assert run.attributes["error.type"].endswith(TimeLimitError.__name__)


async def test_enqueues_and_spans_inside_of_a_task_are_children_of_its_run(spans):
    """In the event loop and in a thread."""
    stem = application(spans)

    @stem.task("orders.inner", queue="inner")
    async def inner():
        pass

    @stem.task("orders.outer", queue="outer")
    async def outer():
        with spans.tracer.start_as_current_span("query"):
            await inner.enqueue()

    @stem.task("orders.threaded", queue="threaded")
    def threaded(ctx: TaskContext):
        with spans.tracer.start_as_current_span("computation"):
            pass

    async with stem:
        await outer.enqueue()
        await threaded.enqueue()
        await work(stem, until=lambda: len(spans.all) == 8)
    (outer_run,), (inner_sent,) = spans.named("process outer"), spans.named("send inner")
    (inner_run,), (query,) = spans.named("process inner"), spans.named("query")
    assert query.parent.span_id == outer_run.context.span_id
    assert inner_sent.parent.span_id == query.context.span_id
    assert inner_run.parent.span_id == inner_sent.context.span_id
    (threaded_run,), (computation,) = spans.named("process threaded"), spans.named("computation")
    assert computation.parent.span_id == threaded_run.context.span_id


async def test_middleware_is_inside_of_the_run_and_around_the_enqueue(spans):
    class Around(Middleware):
        async def publish(self, message, call_next):
            with spans.tracer.start_as_current_span("outgoing"):
                await call_next(message)

        async def run(self, ctx, call_next):
            with spans.tracer.start_as_current_span("incoming"):
                return await call_next()

    stem = application(spans)
    stem.add_middleware(Around())

    @stem.task("orders.sync", queue="orders")
    async def sync():
        pass

    async with stem:
        await sync.enqueue()
        await work(stem, until=lambda: len(spans.all) == 4)
    (outgoing,), (sent,) = spans.named("outgoing"), spans.named("send orders")
    (incoming,), (run,) = spans.named("incoming"), spans.named("process orders")
    assert sent.parent.span_id == outgoing.context.span_id
    assert incoming.parent.span_id == run.context.span_id


async def test_a_bulk_enqueue_is_one_span_and_the_parent_of_all_its_runs(spans):
    stem = application(spans)

    @stem.task("orders.sync", queue="orders")
    async def sync():
        pass

    async with stem:
        await stem.enqueue_many(sync.prepare() for _ in range(3))
        await work(stem, until=lambda: len(spans.all) == 4)
    sent, *runs = spans.all
    assert sent.name == "send orders"
    assert sent.attributes["messaging.batch.message_count"] == 3
    assert sent.attributes["messaging.destination.name"] == "orders"
    assert [links(run) for run in runs] == [{"creation": sent.context.span_id}] * 3


async def test_a_bulk_enqueue_to_several_queues_has_no_destination(spans):
    stem = application(spans)

    @stem.task("orders.sync", queue="orders")
    async def sync():
        pass

    @stem.task("mail.send", queue="mail")
    async def mail():
        pass

    async with stem:
        await stem.enqueue_many([sync.prepare(), mail.prepare()])
    (sent,) = spans.all
    assert sent.name == "send"
    assert "messaging.destination.name" not in sent.attributes


async def test_a_refused_publish_is_an_error(spans):
    stem = application(spans)
    async with stem:
        with pytest.raises(UnroutableError):
            await stem.enqueue("orders.sync", queue="nowhere")
    (sent,) = spans.all
    assert sent.status.status_code is StatusCode.ERROR
    assert sent.attributes["error.type"].endswith("UnroutableError")
    assert sent.events[0].attributes["exception.message"]


async def test_baggage_of_the_enqueue_is_there_in_the_run_and_in_its_enqueues(spans):
    stem = application(spans)
    found = []

    @stem.task("orders.inner", queue="inner")
    async def inner():
        found.append(baggage.get_baggage("tenant"))

    @stem.task("orders.outer", queue="outer")
    async def outer():
        found.append(baggage.get_baggage("tenant"))
        await inner.enqueue()

    async with stem:
        token = context.attach(baggage.set_baggage("tenant", "acme"))
        await outer.enqueue()
        context.detach(token)
        await work(stem, until=lambda: len(found) == 2)
    assert found == ["acme", "acme"]


async def test_headers_of_the_caller_take_precedence(spans):
    stem = application(spans)
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    @stem.task("orders.sync", queue="orders")
    async def sync():
        pass

    async with stem:
        await sync.options(headers={"traceparent": given}).enqueue()
        await work(stem, until=lambda: spans.named("process orders"))
    (run,) = spans.named("process orders")
    assert f"{run.parent.span_id:016x}" == "b7ad6b7169203331"


@pytest.mark.parametrize(
    "headers",
    [
        {"traceparent": 7},
        {"traceparent": "x" * 5000, "baggage": "=;,%%" * 100},
        {"traceparent": "00-" + "0" * 32 + "-b7ad6b7169203331-00"},
        {"traceparent": b"\xff", "stem-last-run": ["a"], "baggage": {"a": "b"}},
        {"stem-last-run": "nonsense", "tracestate": "€"},
    ],
)
async def test_headers_that_another_client_wrote_cannot_break_a_run(spans, headers, caplog):
    class OtherClient(Exporter):
        def publishing(self, publishing):
            publishing.headers.update(headers)

    stem = application(spans, OtherClient())

    @stem.task("orders.sync", queue="orders")
    async def sync():
        pass

    async with stem:
        await sync.enqueue()
        await work(stem, until=lambda: spans.named("process orders"))
    assert spans.named("process orders")[0].attributes["stem.task.outcome"] == "succeeded"
    assert "an exporter failed" not in caplog.text


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(ALWAYS_OFF)])
async def test_a_trace_that_is_not_sampled_stays_so_in_runs_and_their_enqueues(sampler):
    """Neither the run nor what it enqueues starts a trace of its own."""
    spans, worker_spans = Spans(sampler), Spans(ParentBased(ALWAYS_ON))
    stem = application(spans)
    contexts, headers = [], []

    @stem.task("orders.inner", queue="inner")
    async def inner():
        headers.append(current_or_none().headers["traceparent"])

    @stem.task("orders.outer", queue="outer", max_retries=1, retry=FAST)
    async def outer(ctx: TaskContext):
        contexts.append(trace.get_current_span().get_span_context())
        headers.append(ctx.headers["traceparent"])
        await inner.enqueue()

    async with stem:
        await outer.enqueue()
        for exporter in stem.blueprint.telemetry.exporters:
            stem.blueprint.telemetry.remove(exporter)
        stem.add_exporter(TracingExporter(tracer_provider=worker_spans.provider))
        await work(stem, until=lambda: len(headers) == 2)
    assert spans.all == worker_spans.all == ()
    (one,) = contexts
    assert one.is_valid
    assert not one.trace_flags.sampled
    assert {header[3:35] for header in headers} == {f"{one.trace_id:032x}"}
    assert {int(header[-2:]) % 2 for header in headers} == {0}


async def test_a_sampler_that_ignores_the_parent_decides_itself():
    """Only a sampler that follows the parent allows to skip the run's span."""
    unsampled, spans = Spans(ALWAYS_OFF), Spans(ALWAYS_ON)
    stem = application(unsampled)

    @stem.task("orders.sync", queue="orders")
    async def sync():
        pass

    async with stem:
        await sync.enqueue()
        for exporter in stem.blueprint.telemetry.exporters:
            stem.blueprint.telemetry.remove(exporter)
        stem.add_exporter(TracingExporter(tracer_provider=spans.provider))
        await work(stem, until=lambda: spans.all)
    assert spans.all[0].name == "process orders"


async def test_a_span_exporter_that_fails_does_not_affect_tasks(caplog):
    """As one whose collector cannot be reached."""

    class Unreachable(SpanExporter):
        def export(self, spans):
            raise ConnectionError("the collector cannot be reached")

    spans = Spans()
    spans.provider = TracerProvider()
    spans.provider.add_span_processor(SimpleSpanProcessor(Unreachable()))
    outcomes = Outcomes()
    stem = application(spans, outcomes)

    @stem.task("orders.sync", queue="orders")
    async def sync():
        pass

    async with stem:
        await stem.enqueue_many(sync.prepare() for _ in range(20))
        await sync.enqueue()
        await work(stem, until=lambda: len(outcomes.all) == 21)
    assert all(isinstance(one, Succeeded) for one in outcomes.all)


async def test_a_collector_that_cannot_be_reached_does_not_flood_the_log(caplog):
    """The SDK sends spans in batches, in a thread; tasks do not wait for it."""

    class Unreachable(SpanExporter):
        tries = 0

        def export(self, spans):
            self.tries += 1
            raise ConnectionError("the collector cannot be reached")

    exporter = Unreachable()
    spans = Spans()
    spans.provider = TracerProvider()
    spans.provider.add_span_processor(BatchSpanProcessor(exporter))
    stem = application(spans)

    @stem.task("orders.sync", queue="orders")
    async def sync(number):
        return number

    async with stem, stem.worker().running():
        handles = [await sync.enqueue(number) for number in range(100)]
        assert [await one.result(timeout=60) for one in handles] == list(range(100))
    await asyncio.to_thread(spans.provider.shutdown)
    assert exporter.tries >= 1
    lines = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(lines) <= exporter.tries
    assert exporter.tries < 100  # 200 spans


async def test_a_run_that_the_stopping_worker_returns_is_no_error(spans):
    stem = application(spans, grace_period=0.0)
    started = asyncio.Event()

    @stem.task("orders.sync", queue="orders")
    async def sync():
        started.set()
        await asyncio.Event().wait()

    async with stem:
        await sync.enqueue()
        async with stem.worker(name="w").running():
            await started.wait()
        await eventually(lambda: spans.named("process orders"))
    (run,) = spans.named("process orders")
    assert run.attributes["stem.task.outcome"] == "returned"
    assert run.status.status_code is StatusCode.UNSET


def test_names_are_those_of_the_conventions():
    known = {value for name, value in vars(messaging_attributes).items() if name.isupper()}
    used = {one.name for one in catalogue.ATTRIBUTES if one.name.startswith("messaging.")}
    assert used - known == set()
    assert getattr(Schemas, f"V{catalogue.CONVENTIONS.replace('.', '_')}")


async def test_every_attribute_is_in_the_catalogue(spans):
    """Also those that only some spans have."""
    stem = application(spans)

    @stem.task("orders.sync", queue="orders", max_retries=1, retry=FAST)
    def sync():
        raise ValueError

    async with stem:
        await stem.enqueue_many([sync.prepare()])
        await work(stem, until=lambda: len(spans.all) == 3)
    set_names = {name for span in spans.all for name in span.attributes}
    set_names |= {name for span in spans.all for link in span.links for name in link.attributes}
    assert set_names - {one.name for one in catalogue.ATTRIBUTES} == set()


@pytest.mark.parametrize("signatures", ["transition", "strict"])
async def test_signed_messages_are_valid_with_the_headers_of_the_trace(spans, signatures):
    """Also the messages of a retry and of a replay."""
    outcomes = Outcomes()
    key = base64.b64encode(bytes(range(32))).decode()
    stem = application(spans, outcomes, signing_key=f"k:{key}", signatures=signatures)

    @stem.task("orders.sync", queue="orders", max_retries=1, retry=FAST)
    async def sync():
        if len(spans.named("process orders")) < 2:
            raise ValueError

    async with stem:
        await sync.enqueue()
        await work(stem, until=lambda: any(isinstance(one, Dead) for one in outcomes.all))
        await DeadLetters(stem, "orders").replay(Selection())
        await work(stem, until=lambda: any(isinstance(one, Succeeded) for one in outcomes.all))
    first, second, third = spans.named("process orders")
    assert links(second)["last-run"] == first.context.span_id
    assert links(third)["last-run"] == second.context.span_id


TRACE, CREATED = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
"""The trace and the span that the messages below name."""
HEADERS = {"traceparent": f"00-{TRACE}-{CREATED}-01"}


@pytest.mark.parametrize(
    ("reason", "error", "options"),
    [
        ("unknown-task", True, {"task": "orders.other"}),
        ("invalid-arguments", True, {"args": {"order_id": ["marked-secret"]}}),
        ("expired", False, {"args": {"order_id": "1"}, "expires": "2020-01-01T00:00:00Z"}),
    ],
)
async def test_a_dead_letter_without_a_run_has_a_span(spans, reason, error, options):
    """It is a child of the enqueue, and a run after its replay is linked to it."""
    outcomes = Outcomes()
    stem = application(spans, outcomes, unknown_task_wait=0)

    @stem.task("orders.sync", queue="orders")
    async def sync(order_id: str):
        pass

    values = {"id": "id-1", "task": "orders.sync", "args": {}} | options
    async with stem:
        await publish(stem, TaskMessage(**values).encode())
        await work(stem, until=lambda: outcomes.all)
        [letter] = await letters_of(stem)
    (span,) = spans.all
    assert (span.name, span.kind) == ("process orders", SpanKind.CONSUMER)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert links(span) == {"creation": int(CREATED, 16)}
    assert span.attributes["stem.task.outcome"] == "dead"
    assert span.attributes["stem.task.dead_letter_reason"] == reason
    assert span.attributes["messaging.message.conversation_id"] == "id-1"
    assert (span.status.status_code is StatusCode.ERROR) is error
    assert ("stem.task.name" in span.attributes) is (reason != "unknown-task")
    assert "marked-secret" not in span.to_json()
    assert f"{span.context.span_id:016x}" in letter.headers["stem-last-run"]
    assert {*span.attributes} <= {one.name for one in catalogue.ATTRIBUTES}


async def test_a_dead_letter_that_cannot_be_read_has_a_span(spans):
    outcomes = Outcomes()
    stem = application(spans, outcomes)

    @stem.task("orders.sync", queue="orders")
    async def sync():
        pass

    async with stem:
        await publish(stem, b"marked-secret")
        await work(stem, until=lambda: outcomes.all)
    (span,) = spans.all
    assert links(span) == {"creation": int(CREATED, 16)}
    assert span.attributes["error.type"] == "undecodable"
    assert "marked-secret" not in span.to_json()


async def test_a_message_that_is_not_verified_has_a_span_in_a_trace_of_its_own(spans):
    """Its headers may be forged."""
    outcomes = Outcomes()
    key = base64.b64encode(bytes(range(32))).decode()
    stem = application(spans, outcomes, signing_key=f"k:{key}", signatures="strict")

    @stem.task("orders.sync", queue="orders")
    async def sync():
        pass

    async with stem:
        await publish(stem, TaskMessage(id="forged-id", task="orders.sync", args={}).encode())
        await work(stem, until=lambda: outcomes.all)
    (span,) = spans.all
    assert f"{span.context.trace_id:032x}" != TRACE
    assert (span.parent, span.links) == (None, ())
    assert span.attributes["stem.task.dead_letter_reason"] == "signature-invalid"
    assert "forged-id" not in span.to_json()


async def publish(stem, body):
    """Publish a message like a client of another kind."""
    await stem.connected.transport.publish(
        Publication(
            exchange=stem.names.tasks,
            routing_key="orders",
            body=body,
            correlation_id="forged-id",
            headers=HEADERS,
        )
    )


async def letters_of(stem):
    """Return the deliveries in the dead-letter queue."""
    async with stem.connected.transport.browse(stem.names.dlq("orders")) as deliveries:
        return [delivery async for delivery in deliveries]


async def test_a_composition_is_one_trace_also_after_links_that_do_not_run(spans):
    """What follows a link is in its trace: a link that ran, one that has expired, and one that was revoked."""
    outcomes = Outcomes()
    stem = application(spans, outcomes)

    @stem.task("double", queue="numbers")
    async def double(number: int) -> int:
        return 2 * number

    @stem.task("judge", queue="judges")
    async def judge(failures: list[int | FailedMember]) -> None:
        pass

    @stem.task("alarm", queue="alarms")
    async def alarm(failed: FailedTask) -> None:
        pass

    late = double.s(1).options(expires="1ms")
    async with stem:
        with spans.tracer.start_as_current_span("request") as request:
            await (double.s(1) | double.s()).enqueue()
            await late.on_failure(alarm.s()).enqueue()
            await (group([late], policy="collect") | judge.s()).enqueue()
            revoked = await double.s(1).on_failure(alarm.s()).enqueue()
            await stem.revoke(revoked.task_id)
        expired = time.time() + 0.001
        await eventually(lambda: time.time() > expired)
        await work(stem, until=lambda: len(outcomes.all) == 8)
    trace_id = request.get_span_context().trace_id
    assert {span.context.trace_id for span in spans.all} == {trace_id}
    sent = {span.context.span_id: span for span in spans.named("send alarms")}
    assert {run.parent.span_id for run in spans.named("process alarms")} == set(sent)
    firsts = {span.context.span_id for span in spans.named("send numbers")}
    assert {span.parent.span_id for span in sent.values()} <= firsts
