"""The data of ``stem-amqp top`` from an application on the in-memory broker."""

import asyncio
import uuid
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from support import eventually

from stem_amqp import Stem
from stem_amqp.cancellation import end
from stem_amqp.cli.top.display import Display
from stem_amqp.cli.top.snapshot import FailureRow, View
from stem_amqp.cli.top.sources.collector import Collector
from stem_amqp.cli.top.sources.trends import STEP, Rates, Trend
from stem_amqp.errors import BrokerUnavailableError


@pytest.fixture
async def stem():
    """Yield a connected application with a task that waits and one that fails."""
    stem = Stem(broker_url=f"memory://{uuid.uuid4().hex}", backend_url="memory://", namespace="n")

    @stem.task("orders.sync", queue="orders", max_retries=0)
    async def sync(order: int) -> None:
        if order < 0:
            raise ValueError("no such order")
        await released.wait()

    released = stem.released = asyncio.Event()
    async with stem:
        yield stem


@asynccontextmanager
async def collecting(stem):
    """Yield a collector that receives heartbeats and events."""
    collector = Collector(stem, stem.connected.transport, None, stem.queues)
    async with collector.listening():
        yield collector


@pytest.fixture
async def collector(stem):
    """Yield a collector of the application."""
    async with collecting(stem) as collector:
        yield collector


@asynccontextmanager
async def working(stem, **options):
    """Run a worker during the block, at whose end all runs end."""
    async with stem.worker(**options).running():
        try:
            yield
        finally:
            stem.released.set()


async def seen(collector, holds):
    """Refresh until the snapshot fulfils a condition, and return it."""

    async def fulfilled():
        await collector.refresh()
        return holds(collector.snapshot)

    await eventually(fulfilled)
    return collector.snapshot


async def test_queues_workers_and_runs(stem, collector):
    """Ready messages, a worker, and what it runs."""
    for order in range(3):
        await stem.enqueue("orders.sync", {"order": order})
    data = await seen(collector, lambda data: data.queues[0].ready == 3)
    assert (data.queues[0].queue, data.queues[0].consumers, data.workers) == ("orders", 0, ())
    assert "management API" in data.missing["management"]
    assert data.queues[0].acked is None

    async with working(stem, concurrency=2, name="front"):
        data = await seen(collector, lambda data: len(data.runs) == 2)
    assert [(row.name, row.state, row.queues) for row in data.workers] == [
        ("front", "ok", "orders x2")
    ]
    assert {run.task for run in data.runs} == {"orders.sync"}
    assert data.queues[0].consumers == 1


async def test_failures_have_their_traceback(stem, collector):
    """A dead letter is a failure, and counted by its reason."""
    async with working(stem):
        handle = await stem.enqueue("orders.sync", {"order": -1})
        data = await seen(
            collector, lambda data: data.failures and data.failures[0].traceback is not None
        )
    failure = data.failures[0]
    assert (failure.id, failure.queue, failure.reason) == (handle.id, "orders", "retries-exhausted")
    assert failure.error == "ValueError: no such order"
    assert 'raise ValueError("no such order")' in failure.traceback
    assert len(data.failures) == 1, "the event of the same failure is not shown again"
    assert [(row.reason, row.messages) for row in data.dead] == [("retries-exhausted", 1)]


async def test_a_failure_is_shown_before_its_letter_is_read(stem):
    """Events arrive at once; the page of such a failure lets its letter be read."""
    async with working(stem), collecting(stem) as collector:

        async def by_event():
            await stem.enqueue("orders.sync", {"order": -1})
            await collector.refresh()
            return [row for row in collector.snapshot.failures if row.traceback is None]

        found = await eventually(by_event)
        display = Display("", collector.read_again)
        display.update(collector.snapshot)
        display.state = replace(display.state, opened=found[0])
        display.press("down")

        async def opened():
            display.update(collector.snapshot)
            await collector.refresh()
            return display.state.opened.traceback

        assert "ValueError" in await eventually(opened)


class Api:
    """A management API with the answers of the test."""

    async def listing(self, kind, prefix, columns):
        stats = {"publish_details": {"rate": 2.5}, "ack_details": {"rate": 1.5}}
        queue = {"messages_ready": 4, "messages_unacknowledged": 3, "consumers": 1}
        return [queue | {"name": "n.orders", "message_stats": stats}]

    async def get(self, path):
        nodes = [{"name": "rabbit@a", "mem_alarm": True, "disk_free_alarm": False}]
        return {"overview": {"rates_mode": "basic"}, "nodes": nodes}[path]


async def test_rates_and_alarms_of_the_management_api(stem):
    """With the management API, rates, unacked messages and alarms are known."""
    collector = Collector(stem, stem.connected.transport, Api(), stem.queues)
    await collector.refresh()
    data = collector.snapshot
    row = data.queues[0]
    assert (row.ready, row.unacked, row.published, row.acked) == (4, 3, 2.5, 1.5)
    assert (row.throughput, row.backlog) == ((1.5,), (4.0,))
    assert data.alarms == ("memory on rabbit@a",)
    assert "management" not in data.missing


async def test_an_outage_keeps_the_numbers(stem, collector, monkeypatch):
    """While the broker does not answer, the last numbers stay, and the end of the outage is noticed."""
    await stem.enqueue("orders.sync", {"order": 1})
    await seen(collector, lambda data: data.queues[0].ready == 1)

    async def down():
        raise BrokerUnavailableError("no connection")

    with monkeypatch.context() as patch:
        patch.setattr(stem.connected.transport, "connect", down)
        await collector.refresh()
        first = collector.snapshot
        await collector.refresh()
    assert (first.problem, first.queues[0].ready) == ("no connection", 1)
    assert collector.snapshot.problem_since == first.problem_since
    await collector.refresh()
    assert collector.snapshot.problem == ""


async def test_pauses_of_queues_and_tasks(stem, collector):
    """They are read from the store; a single frame waits for them."""
    async with working(stem):
        await stem.control.pause(queue="orders", reason="ERP is down", issuer="ann")
        await stem.control.pause(task="orders.*", issuer="bob")
    await collector.refresh(patient=True)
    data = collector.snapshot
    assert data.queues[0].paused == "by ann: ERP is down"
    assert data.pauses == (
        "orders is paused by ann: ERP is down",
        "task orders.* is paused by bob",
    )


async def test_paused(stem, collector):
    """A paused display keeps its data."""
    display = Display("", lambda row: None)
    await collector.refresh()
    display.update(collector.snapshot)
    display.press("p")
    before = display.shown
    display.update(replace(collector.snapshot, namespace="other"))
    assert display.shown is before
    display.press("p")
    display.update(replace(collector.snapshot, namespace="other"))
    assert display.shown.namespace == "other"


def test_an_unread_letter_is_not_asked_for_without_end():
    """A letter may have been replayed."""
    asked = []
    display = Display("", asked.append)
    row = FailureRow(at=1.0, queue="orders", task="t", id="x", reason="")
    data = replace(display.shown, failures=(row,))
    display.update(data)
    display.state = replace(display.state, view=View.FAILURES)
    display.press("enter")
    for _ in range(50):
        display.update(data)
    assert len(asked) == 10


def test_trends_have_one_value_for_each_step():
    """The last value of a step counts, and the last minute is kept."""
    trend = Trend()
    for second in range(120):
        trend.note(float(second), second)
    assert trend.values == tuple(STEP * step + STEP - 1 for step in range(12, 24))


def test_rates():
    """A rate is that of the last ten seconds, and begins again with the counter."""
    rates = Rates()
    assert rates.note("a", 0.0, 100) is None
    assert rates.note("a", 2.0, 110) == 5.0
    assert rates.note("a", 2.0, 110) == 5.0
    assert rates.note("a", 20.0, 290) == 10.0
    assert rates.note("a", 21.0, 5) is None, "the worker was replaced"
    rates.keep(set())
    assert rates.note("a", 22.0, 9) is None


async def test_the_end_is_certain():
    """A task that ends its first cancellation with another error, and goes on, is cancelled again."""
    cancelled = []

    async def stubborn():
        while len(cancelled) < 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(True)

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await end(task)
    assert task.done()
    assert len(cancelled) == 2
