"""Each instrument moves for the outcome that it belongs to, and labels are bounded."""

import asyncio
import sys
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, Counter
from support import eventually

from stem_amqp import Limit, Reject, Snooze, Stem
from stem_amqp.errors import (
    BackendUnavailableError,
    ConfigurationError,
    MessageTooLargeError,
    UnroutableError,
)
from stem_amqp.limits.memory import MemoryLimits
from stem_amqp.messages.message import NOT_BEFORE
from stem_amqp.observability.metrics import CATALOGUE, Kind, MeterExporter, PrometheusExporter
from stem_amqp.observability.metrics.reasons import MAXIMUM, ExceptionNames, reason_of
from stem_amqp.observability.metrics.scheduling import NAMES
from stem_amqp.observability.reported import TicksReport
from stem_amqp.outcome import Dead, Failure
from stem_amqp.states import Reason
from stem_amqp.transport.base import ConnectionChange

QUEUE = {"queue": "q"}
TASK = {"task": "work", "queue": "q"}


@pytest.fixture
def exporter():
    return PrometheusExporter(CollectorRegistry())


def value(exporter, name, **labels):
    """Return the current value of a metric, or None."""
    exporter.flush()
    return exporter.registry.get_sample_value(name, labels)


def application(exporter, **values):
    place = f"memory://{uuid.uuid4().hex}"
    return Stem(broker_url=place, backend_url=place, exporters=[exporter], **values)


async def run(exporter, function, *, until, options=None, call=None):
    """Run one task, until a metric is there."""
    stem = application(exporter)
    task = stem.task("work", queue="q", **(options or {}))(function)
    async with stem:
        await task.options(**(call or {})).enqueue()
        async with stem.worker(concurrency=3).running():
            await eventually(until)


async def succeed():
    pass


async def fail():
    raise ValueError("secret-value")


async def snooze():
    raise Snooze("1h")


async def reject():
    raise Reject("no")


@pytest.mark.parametrize(
    ("function", "options", "name", "labels"),
    [
        (succeed, {}, "stem_published_total", TASK),
        (succeed, {}, "stem_received_total", QUEUE),
        (succeed, {}, "stem_started_total", TASK),
        (succeed, {}, "stem_succeeded_total", TASK),
        (succeed, {}, "stem_run_seconds_count", TASK),
        (succeed, {}, "stem_queue_wait_seconds_count", TASK),
        (succeed, {}, "stem_end_to_end_seconds_count", TASK),
        (succeed, {}, "stem_publish_confirm_seconds_count", QUEUE),
        (fail, {"max_retries": 0}, "stem_failed_total", TASK | {"exception": "ValueError"}),
        (
            fail,
            {"max_retries": 0},
            "stem_dead_lettered_total",
            TASK | {"reason": "retries-exhausted"},
        ),
        (fail, {"max_retries": 0}, "stem_end_to_end_seconds_count", TASK),
        (fail, {"max_retries": 0}, "stem_run_seconds_count", TASK),
        (fail, {"max_retries": 9}, "stem_retried_total", TASK | {"exception": "ValueError"}),
        (snooze, {}, "stem_snoozed_total", TASK),
        (reject, {}, "stem_dead_lettered_total", TASK | {"reason": "rejected"}),
    ],
)
async def test_a_metric_counts_its_outcome(exporter, function, options, name, labels):
    await run(
        exporter, function, options=options, until=lambda: value(exporter, name, **labels) == 1
    )
    others = {"stem_succeeded_total", "stem_snoozed_total", "stem_revoked_total"} - {name}
    if function is not succeed:
        assert not value(exporter, "stem_succeeded_total", **TASK)
    else:
        assert all(value(exporter, other, **TASK) in {None, 0, 1} for other in others)


async def test_an_expired_task_is_counted_and_not_as_failed(exporter):
    stem = application(exporter)

    @stem.task("work", queue="q")
    async def work():
        pass

    async with stem:
        await work.options(expires=0.001).enqueue()
        await asyncio.sleep(0.01)
        async with stem.worker().running():
            await eventually(lambda: value(exporter, "stem_expired_total", **TASK) == 1)
    labels = TASK | {"reason": "expired"}
    assert value(exporter, "stem_dead_lettered_total", **labels) == 1
    assert not value(exporter, "stem_started_total", **TASK)


async def test_revoked_tasks_are_counted(exporter):
    stem = application(exporter)

    @stem.task("work", queue="q")
    async def work():
        pass

    async with stem:
        handle = await work.enqueue()
        worker = stem.worker()
        worker.revoke(handle.id, "no need")
        async with worker.running():
            await eventually(lambda: value(exporter, "stem_revoked_total", **TASK) == 1)


async def test_interrupted_tasks_are_returned_and_redelivered(exporter):
    stem = application(exporter)
    stem.reconfigure(grace_period=0.0)
    release = asyncio.Event()

    @stem.task("work", queue="q")
    async def work():
        await release.wait()

    async with stem:
        await work.enqueue()
        async with stem.worker(concurrency=3).running():
            await eventually(lambda: value(exporter, "stem_running_tasks", **QUEUE) == 1)
            assert value(exporter, "stem_capacity_tasks", **QUEUE) == 3
            assert value(exporter, "stem_threads") == 3
            assert value(exporter, "stem_event_loop_lag_seconds") >= 0
        assert value(exporter, "stem_returned_total", **TASK) == 1
        assert value(exporter, "stem_running_tasks", **QUEUE) == 0
        release.set()
        async with stem.worker().running():
            await eventually(lambda: value(exporter, "stem_succeeded_total", **TASK) == 1)
    assert value(exporter, "stem_redelivered_total", **QUEUE) == 1


async def test_rate_limited_tasks_are_counted(exporter):
    stem = application(exporter)

    @stem.task("work", queue="q", rate_limit="1/h")
    async def work():
        pass

    async with stem:
        await work.enqueue()
        await work.enqueue()
        async with stem.worker().running():
            await eventually(lambda: value(exporter, "stem_rate_limited_total", **TASK) == 1)


async def test_metrics_without_their_package_are_one_line_and_tasks_go_on(caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    place = f"memory://{uuid.uuid4().hex}"
    stem = Stem(broker_url=place, backend_url=place)
    stem.reconfigure(metrics="prometheus")

    @stem.task("work", queue="q")
    async def work():
        return 1

    async with stem, stem.worker().running():
        assert await (await work.enqueue()).result(timeout=60) == 1
    (line,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert line.startswith("STEM_METRICS=prometheus: no metrics: ")
    assert "pip install 'stem-amqp[prometheus]'" in line


async def test_starts_without_limits_are_counted(exporter, monkeypatch):
    async def ask(self, asks, *, lease_ttl):
        raise BackendUnavailableError("no answer")

    monkeypatch.setattr(MemoryLimits, "ask", ask)
    stem = application(exporter)

    @stem.task("work", queue="q", rate_limit=Limit("1/h", on_store_failure="open"))
    async def work():
        pass

    async with stem:
        await work.enqueue()
        await work.enqueue()
        async with stem.worker().running():
            await eventually(lambda: value(exporter, "stem_unlimited_total", **TASK) == 2)
            await eventually(lambda: value(exporter, "stem_succeeded_total", **TASK) == 2)
    assert not value(exporter, "stem_rate_limited_total", **TASK)


async def test_deliveries_of_unknown_tasks_are_counted_by_their_queue(exporter):
    """Their names are no labels: any client can send any number of names."""
    stem = application(exporter)

    @stem.task("work", queue="q")
    async def work():
        pass

    async with stem:
        await stem.enqueue("other", queue="q")
        async with stem.worker().running():
            await eventually(lambda: value(exporter, "stem_unknown_tasks_total", **QUEUE) == 1)


@pytest.mark.parametrize(
    ("reason", "name", "labels"),
    [
        (Reason.CRASHED, "stem_crashed_total", TASK),
        (
            Reason.SIGNATURE_INVALID,
            "stem_signature_failures_total",
            QUEUE | {"reason": "signature-invalid"},
        ),
        (Reason.REPLAYED, "stem_signature_failures_total", QUEUE | {"reason": "replayed"}),
    ],
)
async def test_dead_letters_are_counted_by_reason(exporter, reason, name, labels):
    exporter.settled(delivered(), Dead(reason=reason, failure=Failure(error="x")), 0.0)
    assert value(exporter, name, **labels) == 1
    assert value(exporter, "stem_dead_lettered_total", **TASK, reason=reason.value) == 1


async def test_messages_that_the_broker_refuses_are_dead_letters(exporter):
    exporter.settle_refused(delivered(), "no")
    exporter.worker_failed(delivered(), ValueError("no"))
    assert value(exporter, "stem_dead_lettered_total", **TASK, reason="rejected") == 1
    assert value(exporter, "stem_dead_lettered_total", **TASK, reason="worker-failed") == 1


async def test_restored_connections_and_consumers_are_counted(exporter):
    for change in (
        ConnectionChange(restored=False, role="consuming"),
        ConnectionChange(restored=True, role="consuming"),
        ConnectionChange(restored=True, role="consuming", consumer=True),
    ):
        exporter.connection_changed(change)
    assert value(exporter, "stem_reconnects_total", role="consuming") == 1
    assert value(exporter, "stem_consumer_restarts_total") == 1


async def test_names_that_the_application_does_not_know_are_other(exporter):
    stem = application(exporter)
    async with stem:
        for number in range(3):
            with pytest.raises(UnroutableError):
                await stem.enqueue(f"made.up{number}", queue=f"nowhere-{number}")
    labels = {"task": "other", "queue": "other", "reason": "unroutable"}
    assert value(exporter, "stem_publish_failures_total", **labels) == 3
    one = delivered()
    one.definition = None
    exporter.settled(one, Dead(reason=Reason.UNKNOWN_TASK, failure=Failure(error="x")), 0.0)
    labels = {"task": "other", "queue": "q", "reason": "unknown-task"}
    assert value(exporter, "stem_dead_lettered_total", **labels) == 1
    assert "made.up" not in text(exporter)


def test_a_hostile_name_of_an_exception_is_other():
    kind = type('A"} 1\n', (Exception,), {})
    assert ExceptionNames().of(Failure(error="", exception=kind())) == "other"


async def test_nothing_of_a_message_is_in_the_metrics(exporter):
    await run(
        exporter,
        fail,
        options={"max_retries": 0},
        call={"meta": {"customer": "meta-value"}, "headers": {"x": "header-value"}},
        until=lambda: value(exporter, "stem_failed_total", **TASK, exception="ValueError"),
    )
    for secret in ("secret-value", "meta-value", "header-value"):
        assert secret not in text(exporter)


@pytest.mark.parametrize("header", ["", "tomorrow", "9" * 300, b"\xff", 7, {"a": 1}, []])
async def test_a_time_that_cannot_be_read_is_left_out(exporter, header):
    one = delivered(headers={NOT_BEFORE: header})
    exporter.started(one)
    assert value(exporter, "stem_started_total", **TASK) == 1


async def test_the_wait_counts_from_the_due_time(exporter):
    due = (datetime.now(UTC) - timedelta(seconds=100)).isoformat()
    exporter.started(delivered(headers={NOT_BEFORE: due}))
    exporter.started(delivered(headers={NOT_BEFORE: due}, redelivered=True))
    assert value(exporter, "stem_queue_wait_seconds_count", **TASK) == 1
    assert 99 < value(exporter, "stem_queue_wait_seconds_sum", **TASK) < 160


def test_the_number_of_exception_types_is_bounded():
    names = ExceptionNames()
    kinds = [type(f"Error{number}", (Exception,), {}) for number in range(MAXIMUM + 5)]
    labels = {names.of(Failure(error="", exception=kind())) for kind in kinds}
    assert len(labels) == MAXIMUM + 1
    assert "other" in labels
    assert names.of(Failure(error="Error0: text of a child process")) == "Error0"


def test_the_number_of_names_of_schedules_is_bounded(exporter):
    for number in range(NAMES + 3):
        exporter.ticked(TicksReport(schedule=f"s{number}", lateness=(0.0,), missed=2))
    exporter.ticked(TicksReport(schedule="s0", lateness=(3.0, 0.0)))
    exporter.ticked(TicksReport(schedule="of-a-user", stored=True, lateness=(0.0,), failed=True))
    assert value(exporter, "stem_schedule_ticks_total", schedule="s0") == 3
    assert value(exporter, "stem_schedule_ticks_total", schedule="other") == 4
    assert value(exporter, "stem_schedule_missed_ticks_total", schedule="other") == 6
    assert value(exporter, "stem_schedule_publish_failures_total", schedule="other") == 1
    assert value(exporter, "stem_schedule_lateness_seconds_sum") == 3
    assert "of-a-user" not in text(exporter)


@pytest.mark.parametrize("text", ["", "a secret text", 'x"}: 1', "é: 1", "A" * 101])
def test_a_failure_without_a_type_is_other(text):
    assert ExceptionNames().of(Failure(error=text)) == "other"


async def test_a_message_that_is_too_large_is_a_failed_publish(exporter):
    stem = application(exporter)

    @stem.task("work", queue="q")
    async def work(text: str):
        pass

    async with stem:
        with pytest.raises(MessageTooLargeError):
            await work.enqueue("x" * 2_000_000)
    assert value(exporter, "stem_publish_failures_total", **TASK, reason="too_large") == 1


def test_any_other_error_of_a_publish_is_other():
    assert reason_of(RuntimeError()) == "other"


async def test_exporters_of_one_registry_count_together(exporter):
    second = PrometheusExporter(exporter.registry)
    for one in (exporter, second):
        one.connection_changed(ConnectionChange(restored=True, role="publishing"))
    assert value(exporter, "stem_reconnects_total", role="publishing") == 2


def test_a_metric_of_the_same_name_is_explained():
    registry = CollectorRegistry()
    Counter("stem_published", "mine", registry=registry)
    with pytest.raises(ConfigurationError, match="has a metric stem_published_total"):
        PrometheusExporter(registry)


def test_the_registry_has_every_instrument(exporter):
    found = {family.name for family in exporter.registry.collect()}
    assert {one.name.removesuffix("_total") for one in CATALOGUE} <= found


def test_names_and_units_follow_the_conventions():
    for one in CATALOGUE:
        assert one.name.startswith("stem_")
        assert (one.kind is Kind.COUNTER) == one.name.endswith("_total")
        assert one.description.endswith(".")
        if one.unit == "s":
            assert one.name.endswith("_seconds")
        assert (one.kind is Kind.HISTOGRAM) == bool(one.buckets)
        assert list(one.buckets) == sorted(one.buckets)
    assert len({one.otel for one in CATALOGUE}) == len(CATALOGUE)


async def test_a_meter_of_opentelemetry_has_the_same_instruments():
    reader = InMemoryMetricReader()
    exporter = MeterExporter(MeterProvider([reader]))
    await run(exporter, succeed, until=lambda: points(exporter, reader, "stem.succeeded"))
    # Before 1.41 the SDK returns the value of a gauge once: the worker has set it at its end
    (point,) = points(exporter, reader, "stem.capacity")
    assert point.attributes == {"messaging.destination.name": "q"}
    (point,) = points(exporter, reader, "stem.succeeded")
    assert point.value == 1
    assert point.attributes == {"stem.task": "work", "messaging.destination.name": "q"}
    (point,) = points(exporter, reader, "messaging.process.duration")
    assert point.count == 1
    assert point.attributes["messaging.system"] == "rabbitmq"


@pytest.mark.parametrize(
    ("setting", "configured", "kinds"),
    [
        ("off", True, []),
        ("auto", False, []),
        ("auto", True, ["MeterExporter"]),
        ("prometheus", True, ["PrometheusExporter"]),
    ],
)
async def test_the_setting_adds_exporters_when_the_application_connects(
    monkeypatch, setting, configured, kinds
):
    from opentelemetry import metrics

    if configured:
        provider = MeterProvider([InMemoryMetricReader()])
        monkeypatch.setattr(metrics, "get_meter_provider", lambda: provider)
    place = f"memory://{uuid.uuid4().hex}"
    stem = Stem(broker_url=place, backend_url=place)
    stem.reconfigure(metrics=setting)
    for _ in range(2):
        async with stem:
            pass
    found = [type(one).__name__ for one in stem.blueprint.telemetry.exporters]
    assert found == kinds


def points(exporter, reader, name):
    """Return the data points of a metric."""
    exporter.flush()
    data = reader.get_metrics_data()
    if data is None:
        return []
    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
    return [
        point
        for scope in scopes
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def text(exporter):
    """Return the page that Prometheus scrapes."""
    from stem_amqp.observability.metrics import page_of

    return page_of(exporter)("").body.decode()


def delivered(*, headers=None, redelivered=False):
    """Return a delivery of the task *work* in the queue *q*."""
    from stem_amqp.worker.job import Job

    stem = Stem(broker_url="memory://", backend_url="memory://")
    stem.task("work", queue="q")(succeed)
    job = Job(body=b"", headers=headers or {}, queue="q", redelivered=redelivered)
    job.definition = stem.registry.get("work")
    return job


async def test_the_expiry_of_certificates_is_shown_and_a_broken_file_is_left_out(
    exporter, tmp_path, caplog
):
    from certificates import Authority

    authority = Authority(tmp_path)
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    stem = application(exporter)
    stem.reconfigure(tls_ca=authority.path, tls_cert=broken)

    @stem.task("work", queue="q")
    async def work():
        pass

    name = "stem_certificate_expiry_timestamp_seconds"
    async with stem, stem.worker().running():
        assert value(exporter, name, file=str(authority.path)) > 1.7e9
        assert value(exporter, name, file=str(broken)) is None
    assert "no metric shows when a certificate expires" in caplog.text
