"""Schedules in our own stores; and in backends that keep none."""

import uuid

import pytest

from stem_amqp.results.factory import create
from stem_amqp.schedule_store.base import ScheduleRecord
from stem_amqp.topology.names import Names

STORES = pytest.mark.parametrize("kind", ["memory", "sqlite", "redis", "postgresql"], indirect=True)


@STORES
async def test_two_namespaces_in_one_store_have_schedules_of_their_own(
    schedules, sides, store_url, brokers
):
    """One environment does not see the schedules of another one."""
    await schedules.first.save([ScheduleRecord(name="a", definition=b"{}", due=1.0)])
    other = create(
        store_url,
        clock=sides.clock,
        transport=await brokers.transport(),
        names=Names(f"t-{uuid.uuid4().hex[:8]}"),
        ttl=60,
    )
    await other.open()
    try:
        store = other.schedules()
        await store.open()
        assert await store.get(["a"]) == [None]
        assert await store.page() == await store.due(9.0) == []
    finally:
        await other.close()


@pytest.mark.parametrize("kind", ["rpc-memory"], indirect=True)
async def test_rpc_keeps_no_schedules(sides):
    """Its results go to the process that waits for them."""
    assert sides.producer.schedules() is None
