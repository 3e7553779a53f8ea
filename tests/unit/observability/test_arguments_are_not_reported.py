"""A marked value is an argument, a result and metadata of tasks: no tool that is told of them shows it."""

import logging

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from support import eventually
from tracing_support import FAST, Outcomes, Spans, application

from stem_amqp import TaskContext, TaskFailedError
from stem_amqp.messages.message import TaskMessage
from stem_amqp.observability.metrics import MeterExporter, PrometheusExporter
from stem_amqp.transport.publication import Publication

prometheus = pytest.importorskip("prometheus_client")
MARK = "marked-7f3a"


async def test_no_argument_result_or_metadata_is_in_what_is_reported(caplog):
    caplog.set_level(logging.DEBUG, "stem_amqp")
    registry, reader, spans = prometheus.CollectorRegistry(), InMemoryMetricReader(), Spans()
    exporters = [PrometheusExporter(registry), MeterExporter(MeterProvider([reader])), Outcomes()]
    stem = application(spans, *exporters, heartbeat_interval=0.2, log_successes="each")

    @stem.task("orders.sync", queue="orders")
    async def sync(ctx: TaskContext, order: str) -> str:
        ctx.progress(0.5, message="half")
        return order

    @stem.task("orders.fail", queue="orders", max_retries=1, retry=FAST)
    async def fail(order: str) -> None:
        raise ValueError("no such order")

    @stem.task("orders.count", queue="orders")
    async def count(number: int) -> None: ...

    sent = []
    async with stem:
        transport = stem.connected.transport
        queue, exchange = f"{stem.names.control}.ask-test", stem.names.events
        async with (
            transport.subscribe(queue, sent.append, exchange=exchange, keys=("#",)),
            stem.worker().running(),
        ):
            stem.connected.events.listen(300)
            done = await sync.options(meta={"who": MARK}).enqueue(MARK)
            failed = await fail.enqueue(MARK)
            assert await done.result(timeout=60) == MARK
            with pytest.raises(TaskFailedError):
                await failed.result(timeout=60)
            for bad in (
                {"task": "orders.count", "args": {"number": MARK}},
                {"task": "orders.count", "args": {"other": MARK}, "meta": {"who": MARK}},
                {"task": "orders.sync", "args": {"order": MARK}, "expires": "2020-01-01T00:00:00Z"},
                {"task": "orders.other", "args": {"order": MARK}},
            ):
                body = TaskMessage(id="id", **bad).encode()
                await transport.publish(
                    Publication(exchange=stem.names.tasks, routing_key="orders", body=body)
                )
            await eventually(lambda: len(exporters[2].all) == 7, "all outcomes")
            await eventually(lambda: _kinds(sent) >= {"worker-heartbeat", "succeeded", "failed"})
    exporters[0].flush()
    exporters[1].flush()
    found = {
        "prometheus": prometheus.generate_latest(registry).decode(),
        "meter": reader.get_metrics_data().to_json(),
        "spans": "".join(span.to_json() for span in spans.all),
        "events": "".join(bytes(one.body).decode() for one in sent),
        "log": caplog.text,
    }
    assert {name: "orders.sync" in text for name, text in found.items()} == dict.fromkeys(
        found, True
    )
    assert [name for name, text in found.items() if MARK in text] == []


def _kinds(deliveries):
    return {delivery.type for delivery in deliveries}
