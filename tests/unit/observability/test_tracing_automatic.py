"""When an application is traced: by its setting, by a configured SDK, by an instrumentor, or by itself."""

import os
import subprocess
import sys
import threading
import uuid
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from opentelemetry import trace
from support import eventually
from tracing_support import Spans, application, work

from stem_amqp import ConfigurationError, Stem
from stem_amqp.observability.tracing import TracingExporter, automatic, uninstrument
from stem_amqp.observability.tracing import exporter as exporter_module
from stem_amqp.testing import in_memory


@pytest.fixture
def spans():
    return Spans()


@pytest.fixture(autouse=True)
def switch(monkeypatch):
    """Start as in a new process, without an SDK."""
    monkeypatch.setattr(automatic, "_SWITCH", automatic._Switch())
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)


@pytest.fixture
def configured(monkeypatch, spans):
    """Return a function that configures the SDK of the process."""
    return lambda: monkeypatch.setattr(trace, "_TRACER_PROVIDER", spans.provider)


def untraced(**settings):
    place = f"memory://{uuid.uuid4().hex}"
    stem = Stem(broker_url=place, backend_url=place)
    if settings:
        stem.reconfigure(**settings)

    @stem.task("orders.sync", queue="orders")
    async def sync():
        pass

    return stem, sync


def lines(caplog):
    return [one.getMessage() for one in caplog.records if "TRACING" in one.getMessage()]


@pytest.mark.parametrize("mode", ["auto", "on"])
async def test_an_sdk_that_is_configured_before_connecting_is_used(spans, configured, mode):
    stem, sync = untraced(tracing=mode)
    configured()
    async with stem:
        await sync.enqueue()
        await work(stem, until=lambda: len(spans.all) == 2)
    assert [span.name for span in spans.all] == ["send orders", "process orders"]


async def test_an_application_is_traced_once_however_often_it_connects(spans, configured):
    stem, sync = untraced()
    configured()
    for _ in range(3):
        async with stem:
            pass
    async with stem:
        await sync.enqueue()
    assert len(spans.all) == 1


async def test_a_test_in_memory_is_traced(spans, configured):
    stem, sync = untraced()
    configured()
    with in_memory(stem) as memory:
        await sync.enqueue()
        await memory.run_due()
    assert [span.name for span in spans.all] == ["send orders", "process orders"]


async def test_a_blocking_producer_is_traced(spans, configured):
    stem, sync = untraced()
    configured()
    async with stem:
        thread = threading.Thread(target=sync.enqueue_blocking)
        thread.start()
        await eventually(lambda: not thread.is_alive())
    assert [span.name for span in spans.all] == ["send orders"]


async def test_without_an_sdk_there_is_no_exporter_and_no_line(caplog):
    stem, _ = untraced()
    async with stem:
        assert stem.blueprint.telemetry.exporters == ()
    assert lines(caplog) == []


async def test_on_without_an_sdk_is_one_line(caplog):
    stem, sync = untraced(tracing="on")
    async with stem:
        await sync.enqueue()
    (line,) = lines(caplog)
    assert line.startswith("STEM_TRACING=on: no OpenTelemetry SDK is configured")


async def test_on_without_the_extra_is_one_line_and_tasks_go_on(caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "stem_amqp.observability.tracing.tracers", None)
    stem, sync = untraced(tracing="on")
    async with stem:
        handle = await sync.enqueue()
        async with stem.worker().running():
            await handle.result(timeout=60)
    (line,) = lines(caplog)
    assert "pip install 'stem-amqp[otel]'" in line


def test_an_exporter_without_the_extra_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "stem_amqp.observability.tracing.tracers", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'stem-amqp\[otel\]'"):
        TracingExporter()


async def test_off_also_removes_the_exporter_of_the_application(spans, configured):
    stem = application(spans, tracing="off")
    configured()
    async with stem:
        assert stem.blueprint.telemetry.exporters == ()


async def test_the_exporter_of_the_application_is_not_doubled(spans, configured):
    stem = application(spans)
    configured()
    async with stem:
        assert len(stem.blueprint.telemetry.exporters) == 1


async def test_opentelemetrys_variable_disables_it(configured, monkeypatch):
    monkeypatch.setenv(automatic.DISABLED, "redis, stem_amqp")
    stem, _ = untraced()
    configured()
    async with stem:
        assert stem.blueprint.telemetry.exporters == ()


def test_nothing_of_opentelemetry_is_imported_by_default():
    """Also not by an application that connects."""
    program = (
        "import asyncio, sys\n"
        "from stem_amqp import Stem\n"
        "stem = Stem(broker_url='memory://', backend_url='memory://')\n"
        "async def main():\n"
        "    async with stem: pass\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


async def test_the_instrumentor_traces_connected_applications_and_stops_again(spans):
    (entry,) = entry_points(group="opentelemetry_instrumentor", name=automatic.NAME)
    instrumentor = entry.load()()
    stem, sync = untraced()
    other, _ = untraced(tracing="off")
    async with stem, other:
        instrumentor.instrument(tracer_provider=spans.provider)
        assert other.blueprint.telemetry.exporters == ()
        await sync.enqueue()
        instrumentor.uninstrument()
        await sync.enqueue()
    async with stem:
        await sync.enqueue()
    assert len(spans.all) == 1


async def test_uninstrument_keeps_the_exporter_of_the_application(spans):
    stem = application(spans)
    async with stem:
        uninstrument()
        assert len(stem.blueprint.telemetry.exporters) == 1


def test_spans_are_sent_before_the_process_exits(spans):
    sent = []
    spans.provider.force_flush = lambda *_: sent.append(True)
    TracingExporter(spans.provider).exiting()
    assert sent == [True]


def test_a_collector_that_does_not_answer_does_not_delay_the_exit(spans, monkeypatch):
    monkeypatch.setattr(exporter_module, "FLUSH", 0.05)
    answer = threading.Event()
    spans.provider.force_flush = lambda *_: answer.wait(60)
    TracingExporter(spans.provider).exiting()
    assert not answer.is_set()
    answer.set()


def test_it_works_under_opentelemetrys_command(tmp_path):
    """The command configures an SDK, which finds the entry point."""
    (tmp_path / "app.py").write_text(
        "import asyncio\n"
        "from stem_amqp import Stem\n"
        "stem = Stem(broker_url='memory://', backend_url='memory://')\n"
        "@stem.task('orders.sync', queue='orders')\n"
        "async def sync(): pass\n"
        "async def main():\n"
        "    async with stem, stem.worker().running():\n"
        "        await (await sync.enqueue()).result(timeout=60)\n"
        "asyncio.run(main())\n"
    )
    variables = {
        "OTEL_TRACES_EXPORTER": "console",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    done = subprocess.run(
        [Path(sys.executable).with_name("opentelemetry-instrument"), sys.executable, "app.py"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | variables,
    )
    assert '"name": "send orders"' in done.stdout, done.stderr
    assert '"name": "process orders"' in done.stdout
    assert "Traceback" not in done.stderr
