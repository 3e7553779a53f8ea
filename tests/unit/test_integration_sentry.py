"""Sentry events, transactions and breadcrumbs of tasks, counted by a transport of the test."""

import asyncio
import gc
import json
import uuid

import pytest
import sentry_sdk
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_support import Kept, application, set_up, torn_down
from support import eventually

from stem_amqp import Reject, Retry, Snooze, TaskFailedError
from stem_amqp.integrations.sentry import StemIntegration
from stem_amqp.integrations.sentry.event import capture
from stem_amqp.messages.message import TaskMessage
from stem_amqp.outcome import Dead, Failure, Revoked
from stem_amqp.states import Reason
from stem_amqp.worker.job import Job
from stem_amqp.worker.running.failure import failure_of

FAST = {"base": "100ms", "max": "100ms", "jitter": 0}


class Memory(Kept):
    """Keeps events and transactions."""

    kinds = frozenset({"event", "transaction"})

    @property
    def events(self):
        return [one for one in self.sent if one.get("type") != "transaction"]

    @property
    def transactions(self):
        return {one["transaction"]: one for one in self.sent if one.get("type") == "transaction"}


@pytest.fixture
def sentry():
    """Return a function that sets up Sentry, and returns what it sends."""

    def init(**options):
        chosen = {"integrations": [StemIntegration()], "default_integrations": False, **options}
        chosen["integrations"].append(LoggingIntegration())
        return set_up(Memory(), **chosen)

    with torn_down():
        yield init


@pytest.fixture
def stem():
    """Return an application that exists before Sentry is set up."""
    return application()


class CardDeclinedError(Exception):
    pass


async def end(stem, *calls):
    """Run calls until they have ended; return their results, None for a failure."""
    async with stem, stem.worker().running():
        handles = await stem.enqueue_many(calls)
        results = []
        for handle in handles:
            try:
                results.append(await handle.result(timeout=60))
            except TaskFailedError:
                results.append(None)
    return results


async def test_a_task_that_failed_for_good_is_one_event(stem, sentry):
    """The line in the log about the same failure is no second one."""
    sent = sentry()

    @stem.task("orders.sync", queue="orders", max_retries=1, retry=FAST)
    async def sync(order: str) -> None:
        raise ValueError("no such order")

    await end(stem, sync.options(meta={"request_id": "r-7"}).prepare("secret-42"))
    (event,) = sent.events
    (value,) = event["exception"]["values"]
    assert (value["type"], value["value"]) == ("ValueError", "no such order")
    assert value["mechanism"] == {"type": "stem_amqp", "handled": False}
    assert event["transaction"] == "orders.sync"
    assert event["level"] == "error"
    tags = event["tags"]
    assert tags.pop("stem.task_id")
    assert tags == {
        "stem.task": "orders.sync",
        "stem.queue": "orders",
        "stem.attempt": "1",
        "stem.reason": "retries-exhausted",
        "request_id": "r-7",
    }
    assert event["contexts"]["stem_amqp"]["replays"] == 0
    assert event["contexts"]["trace"]["trace_id"]


async def test_a_success_after_retries_is_no_event_and_the_retries_are_breadcrumbs(stem, sentry):
    """The breadcrumbs come from the message, since each run may be in another process."""
    sent = sentry()

    @stem.task("orders.sync", queue="orders", max_retries=3, retry=FAST)
    async def sync(ctx_free: int = 0) -> None:
        from stem_amqp import TaskContext

        if TaskContext.current().attempt < 3:
            raise ConnectionError(f"down {TaskContext.current().attempt}")
        sentry_sdk.capture_message("the last run")

    await end(stem, sync.prepare())
    (event,) = sent.events
    assert event["message"] == "the last run"
    crumbs = [one for one in event["breadcrumbs"]["values"] if one["category"] == "stem.retry"]
    assert [one["message"] for one in crumbs] == [
        f"attempt {number} failed: ConnectionError: down {number}" for number in range(3)
    ]
    assert event["tags"]["stem.attempt"] == "3"


@pytest.mark.parametrize("how", ["rejected", "expected", "ignored", "snoozed"])
async def test_an_expected_end_is_no_event(stem, sentry, how):
    """The same holds for errors in Sentry's own option ``ignore_errors``."""
    sent = sentry(ignore_errors=[LookupError])
    runs = []
    errors = {
        "rejected": Reject("sold out"),
        "expected": CardDeclinedError(),
        "ignored": KeyError(),
    }

    @stem.task("orders.pay", queue="orders", max_retries=0, expected=CardDeclinedError)
    async def pay() -> None:
        runs.append(1)
        if how in errors:
            raise errors[how]
        if len(runs) == 1:
            raise Snooze("100ms")

    await end(stem, pay.prepare())
    assert runs
    assert sent.events == []


@pytest.mark.filterwarnings("ignore:The send_default_pii option:DeprecationWarning")
@pytest.mark.parametrize("shown", [True, False])
async def test_arguments_are_sent_only_with_personal_data(stem, sentry, shown):
    """Secrets are removed by name in any case, and the worker's variables are never sent."""
    sent = sentry(send_default_pii=shown, include_local_variables=shown)

    @stem.task("orders.sync", queue="orders", max_retries=0)
    async def sync(order: str, login: dict) -> None:
        del order, login
        raise ValueError("no")

    # Made here, since an event also contains the lines of code around the failure
    order, password, user = (uuid.uuid4().hex for _ in range(3))
    await end(stem, sync.prepare(order, {"password": password, "user": user}))
    (event,) = sent.events
    text = json.dumps(event)
    assert [value in text for value in (order, password, user)] == [shown, False, shown]
    frames = event["exception"]["values"][0]["stacktrace"]["frames"]
    own = [one for one in frames if one["module"].startswith("stem_amqp.")]
    assert own
    assert not any("vars" in one or one["in_app"] for one in own)


@pytest.mark.parametrize("shown", [True, False])
def test_arguments_of_queues_are_one_of_the_data_that_sentry_collects(sentry, shown):
    """The option ``data_collection`` replaces ``send_default_pii`` in newer releases."""
    if "data_collection" not in sentry_sdk.consts.DEFAULT_OPTIONS:
        pytest.skip("this release has no such option")
    sent = sentry(data_collection={"queues": shown})
    settle(Dead(reason=Reason.NOT_RETRYABLE, failure=in_another_process()))
    (event,) = sent.events
    assert event.get("extra", {}).get("arguments") == ({"month": "2026-07"} if shown else None)


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_tasks_that_run_at_once_do_not_mix(stem, sentry, kind):
    """Tags and breadcrumbs of one run are in its own event only."""
    import threading

    sent = sentry()
    both, barrier = asyncio.Barrier(2), threading.Barrier(2, timeout=60)

    def note(name):
        sentry_sdk.set_tag("mine", name)
        sentry_sdk.add_breadcrumb(category="mine", message=name)

    @stem.task("one", queue="q", max_retries=0)
    async def one(name: str) -> None:
        note(name)
        await both.wait()
        raise ValueError(name)

    @stem.task("two", queue="q", max_retries=0)
    def two(name: str) -> None:
        note(name)
        barrier.wait()
        raise ValueError(name)

    task = one if kind == "async" else two
    await end(stem, task.prepare("a"), task.prepare("b"))
    assert len(sent.events) == 2
    for event in sent.events:
        name = event["exception"]["values"][-1]["value"]
        crumbs = event["breadcrumbs"]["values"]
        assert event["tags"]["mine"] == name
        assert [one["message"] for one in crumbs if one["category"] == "mine"] == [name]
    sentry_sdk.capture_message("outside")
    assert "mine" not in sent.events[-1].get("tags", {})


async def test_a_task_continues_the_trace_of_its_producer(stem, sentry):
    """Also a task that a task enqueues; each publish is a span of the transaction around it."""
    sent = sentry(traces_sample_rate=1.0)

    @stem.task("inner", queue="q")
    def inner() -> None: ...

    @stem.task("outer", queue="q")
    async def outer() -> None:
        await inner.enqueue()

    async with stem, stem.worker().running():
        with sentry_sdk.start_transaction(op="http.server", name="POST /orders"):
            await outer.enqueue()
        await eventually(lambda: len(sent.transactions) == 3)
    web, out, last = (sent.transactions[name] for name in ("POST /orders", "outer", "inner"))
    for one in (out, last):
        trace = one["contexts"]["trace"]
        assert (trace["op"], trace["status"]) == ("queue.process", "ok")
        assert trace["trace_id"] == web["contexts"]["trace"]["trace_id"]
        assert trace["data"]["messaging.destination.name"] == "q"
        assert trace["data"]["messaging.message.retry.count"] == 0
        assert 0 <= trace["data"]["messaging.message.receive.latency"] < 60_000
    for producer, consumer in ((web, out), (out, last)):
        (span,) = producer["spans"]
        assert (span["op"], span["description"]) == ("queue.publish", consumer["transaction"])
        assert consumer["contexts"]["trace"]["parent_span_id"] == span["span_id"]
        data = consumer["contexts"]["trace"]["data"]
        assert span["data"]["messaging.message.id"] == data["messaging.message.id"]


async def test_a_bulk_publish_is_one_span(stem, sentry):
    """Its tasks continue the trace from that span."""
    sent = sentry(traces_sample_rate=1.0)

    @stem.task("sync", queue="q")
    async def sync() -> None: ...

    async with stem, stem.worker().running():
        with sentry_sdk.start_transaction(op="task", name="nightly"):
            handles = await stem.enqueue_many(sync.prepare() for _ in range(3))
        for handle in handles:
            await handle.result(timeout=60)
        await eventually(lambda: len(sent.sent) == 4)
    (span,) = sent.transactions["nightly"]["spans"]
    assert span["data"]["messaging.batch.message_count"] == 3
    runs = [one["contexts"]["trace"] for one in sent.sent if one["transaction"] == "sync"]
    assert [one["parent_span_id"] for one in runs] == [span["span_id"]] * 3


async def test_without_sampling_there_are_events_and_no_transactions(stem, sentry):
    """The decision of the producer holds for the task; the event has the trace all the same."""
    sent = sentry(traces_sample_rate=0.0)

    @stem.task("sync", queue="q", max_retries=0)
    async def sync() -> None:
        raise ValueError("no")

    with sentry_sdk.start_transaction(op="http.server", name="POST /orders") as transaction:
        await end(stem, sync.prepare())
    assert sent.transactions == {}
    (event,) = sent.events
    assert event["contexts"]["trace"]["trace_id"] == transaction.trace_id


async def test_a_trace_can_end_at_the_producer(stem, sentry):
    """``propagate_traces=False`` adds no headers, and each task begins a trace."""
    sent = sentry(traces_sample_rate=1.0, integrations=[StemIntegration(propagate_traces=False)])

    @stem.task("sync", queue="q")
    async def sync() -> None: ...

    with sentry_sdk.start_transaction(op="http.server", name="web"):
        await end(stem, sync.prepare())
    traces = {one["contexts"]["trace"]["trace_id"] for one in sent.transactions.values()}
    assert len(traces) == 2


async def test_a_retried_run_is_no_error(stem, sentry):
    sent = sentry(traces_sample_rate=1.0)

    @stem.task("sync", queue="q", max_retries=1, retry=FAST)
    async def sync() -> None:
        raise Retry

    await end(stem, sync.prepare())
    statuses = [one["contexts"]["trace"]["status"] for one in sent.sent if "spans" in one]
    assert statuses == ["aborted", "internal_error"]


async def test_a_task_that_this_worker_does_not_know_is_an_event(stem, sentry):
    """No function was called; the event is grouped by task and reason."""
    sent = sentry()
    stem.reconfigure(unknown_task_wait=0)
    stem.task("known", queue="q")(lambda: None)
    async with stem, stem.worker().running():
        await stem.enqueue("unknown", queue="q")
        await eventually(lambda: sent.events)
    (event,) = sent.events
    assert event["fingerprint"] == ["stem_amqp", "unknown", "unknown-task"]
    assert event["tags"]["stem.queue"] == "q"
    assert "exception" not in event


def job(**fields):
    message = TaskMessage(id="t-1", task="reports.render", args={"month": "2026-07"})
    return Job(body=b"", headers={}, queue="q", **{"message": message, **fields})


def settle(outcome, one=None):
    """Report an outcome as a worker does."""
    from stem_amqp.observability import application_telemetry

    telemetry = application_telemetry([])
    one = one or job()
    for report in telemetry.started:
        report(one)
    for report in telemetry.ended:
        report(one, outcome)
    for report in telemetry.settled:
        report(one, outcome, 0.0)


def in_another_process():
    try:
        raise CardDeclinedError("4111")
    except CardDeclinedError as error:
        failure = failure_of(error)
    return Failure(error=failure.error, traceback=failure.traceback)


def test_a_run_in_another_process_has_its_type_and_its_frames(sentry):
    """Only the text of its exception is known here."""
    sent = sentry()
    settle(Dead(reason=Reason.NOT_RETRYABLE, failure=in_another_process()))
    (event,) = sent.events
    (value,) = event["exception"]["values"]
    assert (value["type"], value["value"]) == ("CardDeclinedError", "4111")
    assert value["stacktrace"]["frames"][-1]["function"] == "in_another_process"
    assert "CardDeclinedError: 4111" in event["contexts"]["traceback"]["text"]


@pytest.mark.parametrize("named", ["class", "name"])
def test_ignored_errors_of_another_process_are_no_event(sentry, named):
    sent = sentry(ignore_errors=[CardDeclinedError if named == "class" else "CardDeclinedError"])
    settle(Dead(reason=Reason.NOT_RETRYABLE, failure=in_another_process()))
    assert sent.events == []


def test_a_revoked_task_is_cancelled_and_no_event(sentry):
    sent = sentry(traces_sample_rate=1.0)
    settle(Revoked(reason="an operator"))
    (transaction,) = sent.sent
    assert transaction["contexts"]["trace"]["status"] == "cancelled"


def test_events_about_refused_messages_are_limited(sentry):
    """Any client that may publish can cause them."""
    sent = sentry()
    outcome = Dead(reason=Reason.SIGNATURE_INVALID, failure=Failure(error="no key"))
    from stem_amqp.observability import application_telemetry

    for _ in range(50):
        one = job(message=None, untrusted=True)
        for report in application_telemetry([]).settled:
            report(one, outcome, 0.0)
    assert 0 < len(sent.events) <= 20


def test_what_the_broker_refused_and_what_failed_in_the_worker_are_events(sentry):
    from stem_amqp.observability import application_telemetry

    sent = sentry()
    telemetry = application_telemetry([])
    for report in telemetry.settle_refused:
        report(job(), "too large")
    for report in telemetry.worker_failed:
        report(job(), RuntimeError("a bug"))
    assert [one["tags"]["stem.reason"] for one in sent.events] == ["rejected", "worker-failed"]


async def test_a_child_process_has_the_scope_and_the_trace_of_the_run(sentry):
    """The worker sends the trace along; runs follow each other in the child.

    A coroutine has variables of its own: in a child the variable with the run is never reset.
    """
    from stem_amqp.observability import application_telemetry

    sent = sentry(traces_sample_rate=1.0)
    telemetry = application_telemetry([])
    ids = []
    for number in range(2):
        one = job(message=TaskMessage(id=f"t-{number}", task="reports.render", args={}))
        with sentry_sdk.start_transaction(op="queue.process", name="run") as transaction:
            for report in telemetry.sent_to_child:
                report(one)
        ids.append(transaction.trace_id)
        for report in telemetry.run_in_child:
            report(one)
        sentry_sdk.add_breadcrumb(message=f"of {number}")
        sentry_sdk.capture_message("inside")
    for number, event in enumerate(sent.events):
        assert event["tags"]["stem.task_id"] == f"t-{number}"
        assert event["contexts"]["trace"]["trace_id"] == ids[number]
        assert [one["message"] for one in event["breadcrumbs"]["values"]] == [f"of {number}"]


def test_the_scope_of_the_last_run_of_a_child_is_collected_without_an_error(sentry):
    """Nothing ends it, and the context in which it was set is gone by then."""
    from stem_amqp.observability import application_telemetry

    sentry()

    async def run():
        for report in application_telemetry([]).run_in_child:
            report(job())

    asyncio.run(run())
    gc.collect()


async def test_other_clients_get_nothing(stem, sentry):
    """A client without the integration gets the line of the log, as without this module."""
    sent = sentry(integrations=[], traces_sample_rate=1.0)

    @stem.task("sync", queue="q", max_retries=0)
    async def sync() -> None:
        raise ValueError("no")

    await end(stem, sync.prepare())
    assert sent.transactions == {}
    assert all("stem.task" not in one.get("tags", {}) for one in sent.events)


def test_an_exception_with_a_long_chain_is_sent_as_text(sentry):
    sent = sentry()
    error = ValueError("last")
    inner = error
    for _ in range(500):
        inner.__context__ = inner = ValueError("one more")
    capture(job(), "retries-exhausted", failure_of(error))
    (event,) = sent.events
    assert len(event["exception"]["values"]) == 1


async def test_the_default_hook_sees_the_failure_without_the_integration(stem, sentry, monkeypatch):
    """With Sentry's logging integration alone, the ERROR line is the event."""
    from sentry_sdk.integrations import logging as hook

    monkeypatch.setattr(hook, "_IGNORED_LOGGERS", set())
    sent = sentry(integrations=[])

    @stem.task("sync", queue="q", max_retries=0)
    async def sync() -> None:
        raise ValueError("no")

    await end(stem, sync.prepare())
    (event,) = sent.events
    assert event["exception"]["values"][0]["type"] == "ValueError"
    assert event["extra"]["task_name"] == "sync"
    assert event["logger"] == "stem_amqp.worker.failures"


async def test_a_client_that_streams_spans_gets_events_and_no_transactions(stem, sentry):
    """Its interface for spans is another one; a trace is continued all the same."""
    sent = sentry(traces_sample_rate=1.0, _experiments={"trace_lifecycle": "stream"})

    @stem.task("sync", queue="q", max_retries=0)
    async def sync() -> None:
        raise ValueError("no")

    await end(stem, sync.prepare())
    assert sent.transactions == {}
    (event,) = sent.events
    assert event["tags"]["stem.task"] == "sync"
