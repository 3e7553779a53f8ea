"""Test what exporters receive on RabbitMQ: runs in child processes."""

import asyncio
import json
import os
import sys
import textwrap
import uuid

import pytest

from stem_amqp import Stem

APPLICATION = """
    import asyncio, json, os
    from stem_amqp import Stem
    from stem_amqp.observability import Exporter

    def note(*values):
        with open("reports", "a") as file:
            file.write(json.dumps(["worker" if os.getpid() == int(os.environ["WORKER"]) else "child", *values]) + "\\n")

    class Recorder(Exporter):
        def started(self, delivered):
            note("started")

        def sent_to_child(self, delivered):
            note("sent_to_child")
            delivered.carried = {"x-run": delivered.message_id}

        def run_in_child(self, delivered):
            note("run_in_child", *delivered.carried)

        def ended(self, delivered, outcome):
            note("ended")

        def exiting(self):
            note("exiting")

    stem = Stem(backend_url="rpc://", exporters=[Recorder()])

    @stem.task("work", queue="q", executor="process")
    def work() -> int:
        note("work")
        return 1

    async def main():
        os.environ["WORKER"] = str(os.getpid())
        async with stem, stem.worker().running():
            await (await work.enqueue()).result(timeout=60)

    if __name__ == "__main__":
        asyncio.run(main())
"""


TRACED = """
    import asyncio, json, os
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from stem_amqp import Stem

    class Lines(SpanExporter):
        def export(self, spans):
            with open("spans", "a") as file:
                for span in spans:
                    parent = span.parent and f"{span.parent.span_id:x}"
                    file.write(json.dumps([span.name, f"{span.context.span_id:x}", parent]) + "\\n")
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Lines(), schedule_delay_millis=60000))
    trace.set_tracer_provider(provider)
    stem = Stem(backend_url="rpc://")

    @stem.task("work", queue="q", executor="process")
    def work() -> bool:
        with trace.get_tracer("shop").start_as_current_span("inside"):
            return os.getpid() != int(os.environ["WORKER"])

    async def main():
        os.environ["WORKER"] = str(os.getpid())
        async with stem, stem.worker().running():
            assert await (await work.enqueue()).result(timeout=60)

    if __name__ == "__main__":
        asyncio.run(main())
"""


@pytest.fixture
async def namespace(stem_broker_url):
    """Yield a namespace with one queue, and delete its entities afterwards."""
    app = Stem(
        broker_url=stem_broker_url,
        backend_url="memory://",
        namespace=f"t-{uuid.uuid4().hex[:8]}",
    )
    app.task("work", queue="q")(lambda: None)
    yield app.settings.namespace
    app.reconfigure(provision="none")
    async with app:
        await app.connected.transport.delete(app.blueprint.entities)


async def run(script, place, **variables):
    """Run a script in a directory, and return its exit code."""
    (place / "app.py").write_text(textwrap.dedent(script))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "app.py", cwd=place, env=os.environ | variables
    )
    return await process.wait()


async def test_a_run_in_a_child_process_is_reported_by_the_worker(
    tmp_path, stem_broker_url, namespace
):
    """The child reports only that it calls the function, with what the worker's exporter sent."""
    code = await run(
        APPLICATION, tmp_path, STEM_BROKER_URL=stem_broker_url, STEM_NAMESPACE=namespace
    )
    assert code == 0
    reports = [json.loads(line) for line in (tmp_path / "reports").read_text().splitlines()]
    assert reports == [
        ["worker", "started"],
        ["worker", "sent_to_child"],
        ["child", "run_in_child", "x-run"],
        ["child", "work"],
        ["worker", "ended"],
        ["child", "exiting"],
    ]


async def test_spans_in_a_child_process_are_children_of_the_run(
    tmp_path, stem_broker_url, namespace
):
    """Also the spans that its SDK has buffered when it exits are sent."""
    code = await run(TRACED, tmp_path, STEM_BROKER_URL=stem_broker_url, STEM_NAMESPACE=namespace)
    assert code == 0
    lines = [json.loads(line) for line in (tmp_path / "spans").read_text().splitlines()]
    spans = {name: (own, parent) for name, own, parent in lines}
    assert sorted(spans) == ["inside", "process q", "send q"]
    assert spans["inside"][1] == spans["process q"][0]
    assert spans["process q"][1] == spans["send q"][0]
