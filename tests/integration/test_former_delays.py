"""Test an upgrade from the former names of the delay queues, on RabbitMQ."""

import uuid

import pytest
from support import eventually

from stem_amqp import Stem
from stem_amqp import delay as decimal_delay
from stem_amqp.assembly import create_transport
from stem_amqp.health.queues import queue_report
from stem_amqp.management.client import Management
from stem_amqp.provision.former_delays import find_former_delays, prune_former_delays
from stem_amqp.provision.inventory import take_inventory
from stem_amqp.topology.delays import delays
from stem_amqp.topology.entities import Entities
from stem_amqp.topology.names import FormerNames
from stem_amqp.transport.publication import Publication

SAME = {"statistics_age": 0.0}
"""The former queues do not change during these tests, so older statistics are good enough."""


class Upgrade:
    """A namespace in which an earlier version has declared its topology."""

    def __init__(self, url, management_url):
        self.app = Stem(broker_url=url, namespace=f"t-{uuid.uuid4().hex[:8]}")
        self.names = self.app.names
        self.former = FormerNames(self.names.namespace)
        settings = self.app.settings.replace(management_url=management_url)
        self.management = Management.of(settings)
        self.transport = create_transport(settings)

    async def enqueue_as_before(self, seconds, body):
        """Publish like a process of the earlier version."""
        way = decimal_delay.route(decimal_delay.exact_units(seconds), "orders")
        exchange = self.former.delay_exchange(way.level)
        await self.transport.publish(
            Publication(exchange=exchange, routing_key=way.routing_key, body=body)
        )

    async def find(self):
        """Return the remaining entities of the former delays."""
        return find_former_delays(await take_inventory(self.management), self.names)


@pytest.fixture
async def upgrade(managed):
    """Yield a namespace with the topologies of both versions, as during a deploy."""
    found = Upgrade(*managed)

    @found.app.task(name="note", queue="orders")
    async def note() -> None:
        pass

    await found.transport.connect()
    own = found.app.blueprint.entities
    await found.transport.declare(own)
    former = delays(found.former)
    await found.transport.declare(former)
    yield found
    await found.transport.delete(
        Entities(exchanges=own.exchanges + former.exchanges, queues=own.queues + former.queues)
    )
    await found.transport.close()


async def bodies_of(upgrade, wanted):
    """Return the bodies in the work queue, once it has a number of messages."""
    work = upgrade.names.work("orders")

    async def there():
        found = (await upgrade.transport.status([work]))[work]
        return found is not None and found.ready >= wanted

    await eventually(there, "the delayed messages", 60)
    async with upgrade.transport.browse(work) as deliveries:
        return sorted([bytes(delivery.body) async for delivery in deliveries])


async def test_old_and_new_processes_delay_side_by_side(upgrade):
    """Messages that either version has delayed arrive once."""
    for number in range(5):
        await upgrade.enqueue_as_before(0.3, b"old %d" % number)
        way = decimal_delay.route(3, "orders")
        await upgrade.transport.publish(
            Publication(
                exchange=upgrade.names.delay_exchange(way.level),
                routing_key=way.routing_key,
                body=b"new %d" % number,
            )
        )
    expected = sorted(b"%s %d" % (kind, n) for kind in (b"old", b"new") for n in range(5))
    assert await bodies_of(upgrade, 10) == expected


async def test_queues_counts_what_is_in_the_former_delays(upgrade):
    """They count as delayed tasks."""
    await upgrade.enqueue_as_before(600, b"later")
    report = await queue_report(upgrade.app, upgrade.transport, management=None)
    (bucket,) = report.delays
    assert (bucket.seconds, bucket.messages) == (600, 1)
    assert bucket.name == upgrade.former.delay_queue(3, 6)


async def test_former_delays_go_only_when_all_are_empty(upgrade):
    """A message passes several of the queues, so an empty one may still be needed."""
    args = (upgrade.names, upgrade.transport, upgrade.management)

    async def counted():
        left = await upgrade.find()
        return left.messages is not None

    await eventually(counted, "the statistics", 60)  # which may take longer than the delay
    # 10 s in one queue, then 0.1 s in another one, which is empty before
    await upgrade.enqueue_as_before(10.1, b"later")
    assert "1 messages" in await prune_former_delays(*args, **SAME)
    left = await upgrade.find()
    assert (len(left.exchanges), len(left.queues)) == (8, 72)
    assert await bodies_of(upgrade, 1) == [b"later"]

    async def gone():
        return not await prune_former_delays(*args, **SAME)

    await eventually(gone, "the former delays are pruned", 60)
    assert await upgrade.find() is None


async def test_what_comes_in_at_the_last_moment_is_not_lost(upgrade, monkeypatch):
    """The exchanges are deleted before the queues, and declared again if a queue is not empty."""
    args = (upgrade.names, upgrade.transport, upgrade.management)

    async def counted():
        left = await upgrade.find()
        return left.messages is not None

    await eventually(counted, "the statistics", 60)
    delete = upgrade.transport.delete

    async def delete_late(entities):
        monkeypatch.undo()
        # long enough to be there once the exchanges are deleted
        await upgrade.enqueue_as_before(10.1, b"late")
        await delete(entities)

    monkeypatch.setattr(upgrade.transport, "delete", delete_late)
    assert "1 messages" in await prune_former_delays(*args, **SAME)
    assert await bodies_of(upgrade, 1) == [b"late"]
