"""Reports of producers and workers reach the exporters that override their methods, in order."""

import asyncio
import logging
import time
import uuid

import pytest
from prometheus_client import CollectorRegistry
from support import eventually

from stem_amqp import Snooze, Stem, TaskContext
from stem_amqp.errors import ConfigurationError, UnroutableError
from stem_amqp.observability import Bulk, Exporter, Telemetry
from stem_amqp.observability.metrics import PrometheusExporter
from stem_amqp.observability.telemetry import REPORTS, finish
from stem_amqp.outcome import Dead, Retried, Returned, Snoozed, Succeeded
from stem_amqp.states import Reason


class Recorder(Exporter):
    """Records the name and the main values of every report."""

    def __init__(self):
        self.reports = []
        self.views = []

    def publishing(self, publishing):
        self.reports.append(("publishing", publishing.task, publishing.queue, publishing.known))
        publishing.headers["x-trace"] = "p"
        return lambda error: self.reports.append(("published", publishing.size > 0, type(error)))

    def publishing_many(self, bulk):
        self.reports.append(("publishing_many",))
        bulk.headers["x-bulk"] = "b"
        return lambda error: self.reports.append(("published_many", bulk.count, type(error)))

    def received(self, delivered):
        self.reports.append(("received", delivered.queue, delivered.message))

    def rate_limited(self, delivered, wait):
        self.reports.append(("rate_limited", delivered.message.task, wait > 0))

    def started(self, delivered):
        self.reports.append(("started", delivered.attempt, delivered.headers.get("x-run")))
        delivered.next_headers = {"x-run": str(delivered.attempt)}

    def progressed(self, delivered, progress):
        self.reports.append(("progressed", progress.fraction))

    def ended(self, delivered, outcome):
        self.reports.append(("ended", type(outcome)))

    def settled(self, delivered, outcome, at):
        self.reports.append(("settled", type(outcome)))

    def worker_started(self, worker):
        self.views.append(worker)
        self.reports.append(("worker_started", worker.name))

    def worker_stopped(self, worker):
        self.reports.append(("worker_stopped", worker.name))

    def names(self):
        return [report[0] for report in self.reports]


def application(*exporters):
    place = f"memory://{uuid.uuid4().hex}"
    return Stem(broker_url=place, backend_url=place, exporters=exporters)


async def work(stem, *, until):
    async with stem.worker(name="w").running():
        await eventually(until)


async def test_reports_of_one_task_are_in_order():
    recorder = Recorder()
    stem = application(recorder)

    @stem.task("orders.sync")
    async def sync():
        pass

    async with stem:
        await sync.enqueue()
        await work(stem, until=lambda: "settled" in recorder.names())
    assert recorder.reports == [
        ("publishing", "orders.sync", "default", True),
        ("published", True, type(None)),
        ("worker_started", "w"),
        ("received", "default", None),
        ("started", 0, None),
        ("ended", Succeeded),
        ("settled", Succeeded),
        ("worker_stopped", "w"),
    ]


async def test_headers_of_exporters_are_in_the_message_and_in_its_next_run():
    recorder = Recorder()
    stem = application(recorder)
    seen = []

    @stem.task("orders.sync", max_retries=1, retry={"base": "0.1s"})
    async def sync():
        from stem_amqp.context.context import current_or_none

        seen.append(dict(current_or_none().headers))
        raise ValueError("no")

    async with stem:
        await sync.enqueue()
        await work(stem, until=lambda: ("settled", Dead) in recorder.reports)
    assert [one["x-trace"] for one in seen] == ["p", "p"]
    assert [one.get("x-run") for one in seen] == [None, "0"]
    assert [one for one in recorder.reports if one[0] == "settled"] == [
        ("settled", Retried),
        ("settled", Dead),
    ]


async def test_headers_of_the_caller_take_precedence():
    recorder = Recorder()
    stem = application(recorder)
    seen = []

    @stem.task("orders.sync")
    async def sync():
        from stem_amqp.context.context import current_or_none

        seen.append(current_or_none().headers["x-trace"])

    async with stem:
        await sync.options(headers={"x-trace": "caller"}).enqueue()
        await work(stem, until=lambda: "settled" in recorder.names())
    assert seen == ["caller"]


async def test_a_bulk_is_reported_once_with_its_messages_in_between():
    recorder = Recorder()
    stem = application(recorder)

    @stem.task("orders.sync")
    async def sync():
        pass

    async with stem:
        await stem.enqueue_many(sync.prepare() for _ in range(3))
    names = recorder.names()
    assert names[0] == "publishing_many"
    assert recorder.reports[-1] == ("published_many", 3, type(None))
    assert sorted(names[1:-1]) == ["published"] * 3 + ["publishing"] * 3


async def test_a_failed_publish_is_reported_with_its_exception():
    recorder = Recorder()
    stem = application(recorder)
    async with stem:
        with pytest.raises(UnroutableError):
            await stem.enqueue("orders.sync", queue="nowhere")
    assert recorder.reports == [
        ("publishing", "orders.sync", "nowhere", False),
        ("published", True, UnroutableError),
    ]


async def test_a_publish_says_whether_the_application_has_the_task_and_the_queue():
    seen = []

    class Publishes(Exporter):
        def publishing(self, publishing):
            seen.append((publishing.task, publishing.known, publishing.known_queue))

    stem = application(Publishes())

    @stem.task("orders.sync")
    async def sync():
        pass

    async with stem:
        await sync.enqueue()
        with pytest.raises(UnroutableError):
            await stem.enqueue("made.up", queue="nowhere")

        @stem.task("late", queue="nowhere")
        async def late():
            pass

        await late.enqueue()
    assert seen == [
        ("orders.sync", True, True),
        ("made.up", False, False),
        ("late", True, True),
    ]


async def test_progress_snoozes_and_rate_limits_are_reported():
    recorder = Recorder()
    stem = application(recorder)

    @stem.task("orders.sync", rate_limit="10/s")
    async def sync(ctx: TaskContext):
        ctx.progress(0.5)
        raise Snooze("1h")

    async with stem:
        await sync.enqueue()
        await sync.enqueue()
        await work(stem, until=lambda: recorder.reports.count(("settled", Snoozed)) == 2)
    assert recorder.reports.count(("progressed", 0.5)) == 2
    assert ("rate_limited", "orders.sync", True) in recorder.reports


async def test_a_view_of_the_worker_shows_capacity_and_unsettled_deliveries():
    recorder = Recorder()
    stem = application(recorder)
    release = asyncio.Event()

    @stem.task("orders.sync")
    async def sync():
        await release.wait()

    async with stem, stem.worker(concurrency=3, name="w").running():
        await sync.enqueue()
        await eventually(lambda: ("started", 0, None) in recorder.reports)
        (view,) = recorder.views
        assert view.capacity == {"default": 3}
        assert view.consuming == {"default": True}
        assert [job.message.task for job in view.unsettled] == ["orders.sync"]
        assert view.threads[0] == 0
        assert view.running == {"default": 1}
        assert view.certificates == ()
        assert 0 < view.unsettled[0].begun <= time.monotonic()
        release.set()


async def test_an_interrupted_run_ends_as_returned():
    recorder = Recorder()
    stem = application(recorder)
    stem.reconfigure(grace_period=0.0)

    @stem.task("orders.sync")
    async def sync():
        await asyncio.Event().wait()

    async with stem:
        await sync.enqueue()
        await work(stem, until=lambda: ("started", 0, None) in recorder.reports)
    assert ("ended", Returned) in recorder.reports
    assert ("settled", Returned) in recorder.reports


async def test_an_exception_of_an_exporter_does_not_affect_the_task(caplog):
    class Broken(Exporter):
        def started(self, delivered):
            raise RuntimeError("no disk")

        def publishing(self, publishing):
            def end(error):
                raise RuntimeError("no network")

            return end

    recorder = Recorder()
    stem = application(Broken(), recorder)

    @stem.task("orders.sync")
    async def sync():
        pass

    async with stem:
        await sync.enqueue()
        await sync.enqueue()
        await work(stem, until=lambda: recorder.reports.count(("settled", Succeeded)) == 2)
    lines = [r.getMessage() for r in caplog.records if r.name == "stem_amqp.observability"]
    assert sum("Broken.started" in line for line in lines) == 1
    assert any("Broken.publishing" in line for line in lines)


async def test_a_dead_letter_has_its_exception():
    failures = []

    class Failures(Exporter):
        def settled(self, delivered, outcome, at):
            if isinstance(outcome, Dead):
                failures.append((outcome.reason, outcome.failure.exception))

    stem = application(Failures())
    error = ValueError("no")

    @stem.task("orders.sync", max_retries=0)
    async def sync():
        raise error

    async with stem:
        await sync.enqueue()
        await work(stem, until=lambda: failures)
    assert failures == [(Reason.RETRIES_EXHAUSTED, error)]


def test_only_overridden_methods_are_called():
    telemetry = Telemetry()
    telemetry.add(Exporter())
    assert all(getattr(telemetry, name) == () for name in REPORTS)
    recorder = Recorder()
    telemetry.add(recorder)
    telemetry.add(recorder)
    assert len(telemetry.received) == 1
    assert telemetry.connection_changed == ()
    telemetry.remove(recorder)
    assert telemetry.received == ()


def test_every_report_is_a_method_of_exporters():
    public = {name for name in vars(Exporter) if not name.startswith("_")}
    assert public == set(REPORTS)


def test_begin_leaves_out_publishes_without_an_end():
    class Silent(Exporter):
        def publishing_many(self, bulk):
            return None

    telemetry = Telemetry()
    telemetry.add(Silent())
    assert telemetry.begin_many(Bulk()) == []


def test_finish_calls_every_function(caplog):
    called = []

    def fail(error):
        raise RuntimeError("no")

    with caplog.at_level(logging.ERROR):
        finish([fail, called.append], None)
    assert called == [None]
    assert "an exporter failed" in caplog.text


@pytest.mark.parametrize("wrong", [object(), Exporter, "prometheus"])
def test_something_else_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="is not an exporter"):
        Telemetry().add(wrong)


async def test_an_exporter_of_metrics_that_fails_logs_it_itself(caplog):
    exporter = PrometheusExporter(CollectorRegistry())
    stem = application(exporter)

    @stem.task("orders.sync", queue="orders")
    async def sync(number):
        return number

    exporter._tasks = exporter._queues = None  # a defect of the exporter
    async with stem, stem.worker().running():
        handles = [await sync.enqueue(number) for number in range(3)]
        assert [await handle.result() for handle in handles] == [0, 1, 2]
    lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    for method in ("received", "started", "settled"):
        expected = f"an exporter failed: MetricsExporter.{method}"
        assert lines.count(expected) == 1, lines
