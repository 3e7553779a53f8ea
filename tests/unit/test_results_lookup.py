"""``stem.results``: lists and counts of tasks for an application."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from stem_amqp import Stem
from stem_amqp.errors import ConfigurationError, StemError
from stem_amqp.states import TaskState


@pytest.fixture
async def stem():
    """Yield a connected application in memory, with a task."""
    name = uuid.uuid4().hex
    app = Stem(broker_url=f"memory://{name}", backend_url=f"memory://{name}")

    @app.task("orders.sync")
    async def sync(order_id: str) -> str:
        return order_id

    async with app:
        yield app


async def test_an_application_lists_and_counts_its_tasks(stem):
    """Single pages, all pages and counts by state accept the same filters."""
    made = [
        await stem.enqueue("orders.sync", {"order_id": str(n)}, meta={"even": n % 2 == 0})
        for n in range(5)
    ]
    even = [made[n].id for n in (4, 2, 0)]
    page = await stem.results.list(task="orders.*", meta={"even": True}, limit=2)
    assert [record.task_id for record in page] == even[:2]
    page = await stem.results.list(task="orders.*", meta={"even": True}, cursor=page.cursor)
    assert ([record.task_id for record in page], page.cursor) == (even[2:], None)
    every = [record.task_id async for record in stem.results.every(meta={"even": True})]
    assert every == even
    assert await stem.results.count(state="queued") == {TaskState.QUEUED: 5}
    later = datetime.now(UTC) + timedelta(hours=1)
    assert await stem.results.count(created_after=later) == {}


async def test_using_an_unconnected_application_is_an_error():
    """Lists need the open backend."""
    with pytest.raises(StemError, match="not connected"):
        await Stem(broker_url="memory://", backend_url="memory://").results.list()


@pytest.mark.parametrize(
    ("filters", "words"),
    [
        ({"state": "failled"}, r"(?s)did you mean 'failed'.*queued, running"),
        ({"state": []}, "leave state out"),
        ({"task": ""}, "a task is a name"),
        ({"queue": [1]}, "a queue is a name"),
        ({"meta": "a=b"}, "mapping"),
        ({"meta": {1: 2}}, "key of meta"),
        ({"meta": {"a": object()}}, "JSON value"),
        ({"created_after": datetime(2026, 1, 1)}, "time zone"),
        ({"created_after": "1h"}, "datetime or seconds"),
        ({"updated_before": float("nan")}, "datetime or seconds"),
        ({"created_after": 2.0, "created_before": 2.0}, "earlier than created_before"),
        ({"stat": "failed"}, r"(?s)did you mean 'state'.*created_after"),
        ({"limit": 0}, "1 to 1000"),
        ({"cursor": "?"}, "not a cursor"),
    ],
)
async def test_what_cannot_be_asked_for_is_named(stem, filters, words):
    """Each error says what to write instead."""
    with pytest.raises(ConfigurationError, match=words):
        await stem.results.list(**filters)
