"""``producer.results``: lists and counts for code that cannot await, in memory."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from stem_amqp import Stem
from stem_amqp.blocking import results
from stem_amqp.errors import ConfigurationError, StemError
from stem_amqp.states import TaskState


@pytest.fixture
def app():
    """Return an application in memory, with a task."""
    name = uuid.uuid4().hex
    app = Stem(broker_url=f"memory://{name}", backend_url=f"memory://{name}")

    @app.task("orders.sync")
    async def sync(order_id: str) -> str:
        return order_id

    return app


def fill(producer, count):
    """Enqueue tasks, and return their ids, the newest first."""
    made = [
        producer.enqueue("orders.sync", args={"order_id": str(n)}, meta={"even": n % 2 == 0})
        for n in range(count)
    ]
    return [handle.id for handle in reversed(made)]


def test_a_script_lists_and_counts_its_tasks(app, monkeypatch):
    """Single pages, all pages and counts by state accept the same filters."""
    monkeypatch.setattr(results, "PAGE_LIMIT", 2)
    with app.blocking() as producer:
        ids = fill(producer, 5)
        page = producer.results.list(task="orders.*", limit=3)
        assert [record.task_id for record in page] == ids[:3]
        page = producer.results.list(task="orders.*", cursor=page.cursor)
        assert ([record.task_id for record in page], page.cursor) == (ids[3:], None)
        every = producer.results.every(oldest_first=True)
        assert [record.task_id for record in every] == ids[::-1]
        assert [record.task_id for record in producer.results.every(meta={"even": False})] == [
            ids[1],
            ids[3],
        ]
        assert producer.results.count(state="queued") == {TaskState.QUEUED: 5}
        later = datetime.now(UTC) + timedelta(hours=1)
        assert producer.results.count(created_after=later) == {}


async def test_it_lists_beside_an_application_in_this_process(app):
    """In memory, the producer works in the event loop of the connected application."""
    async with app:
        await app.enqueue("orders.sync", {"order_id": "1"})
        await asyncio.to_thread(fill, app.blocking_producer, 1)
        counted = await asyncio.to_thread(app.blocking_producer.results.count)
        assert counted == {TaskState.QUEUED: 2}


def test_wrong_filters_are_refused(app):
    """The errors are those of `stem.results`."""
    with app.blocking() as producer:
        with pytest.raises(ConfigurationError, match="did you mean 'failed'"):
            producer.results.list(state="failled")
        with pytest.raises(ConfigurationError, match="is not a cursor"):
            producer.results.list(cursor="x")
        with pytest.raises(ConfigurationError, match="no filter 'status'"):
            producer.results.count(status="failed")
        with pytest.raises(ConfigurationError, match="1 to 1000"):
            producer.results.list(limit=0)


def test_a_backend_that_makes_no_lists_says_so():
    """rpc:// stores nothing that could be listed."""
    app = Stem(broker_url=f"memory://{uuid.uuid4().hex}", backend_url="rpc://")
    with app.blocking() as producer, pytest.raises(ConfigurationError, match="STEM_BACKEND_URL"):
        producer.results.list()


async def test_an_event_loop_is_not_blocked(app):
    """The error says what to write instead."""
    producer = app.blocking()
    with pytest.raises(StemError, match=r"await stem\.results\.list\(…\)"):
        producer.results.list()
    with pytest.raises(StemError, match=r"async for record in stem\.results\.every\(…\)"):
        next(producer.results.every())
    with pytest.raises(StemError, match=r"await stem\.results\.count\(…\)"):
        producer.results.count()
