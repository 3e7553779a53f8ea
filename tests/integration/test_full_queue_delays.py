"""Test that a full work queue refuses its own delayed messages, and delays no other queue's."""

import time

import pytest
from support import eventually

from stem_amqp.topology.delay_router import DelayRouter
from stem_amqp.topology.file.load import parse_topology

FULL = "queues: {full: {max_length: 5}, other: {}}\n"
BY_POLICY = """
queues: {full: {}, other: {}}
policies:
  limit: {pattern: '^{namespace}[.]full$', definition: {max-length: 5}}
"""
FREE = "queues: {full: {}, other: {}}\n"
MANY = 60
"""Well above the 32 unconfirmed messages that RabbitMQ allows when it dead-letters."""


def topology(text):
    """Return the topology of a file that is given without its first line."""
    return parse_topology("version: 1\n" + text)


async def ready(stem, queue):
    """Return the number of ready messages in a work queue."""
    name = stem.names.work(queue)
    return (await stem.connected.transport.status([name]))[name].ready


@pytest.fixture
def full_stem(make_stem):
    """Return an application in which one queue accepts five messages."""
    stem = make_stem(backend_url="memory://full")
    stem.reconfigure(topology=topology(FULL))

    @stem.task(name="fails", queue="full", max_retries=5, retry={"base": "300ms", "factor": 1})
    async def fails() -> None:
        raise RuntimeError("always")

    return stem


async def test_the_delays_of_a_full_queue_hold_up_no_other_queue(full_stem):
    """With many delayed tasks for a full queue, another queue's delay of a second ends."""
    stem = full_stem
    async with stem:
        for _ in range(MANY):
            await stem.enqueue("fails", args={}, queue="full", delay="1s")
        await eventually(lambda: is_full(stem), "the full queue")
        began = time.monotonic()
        await stem.enqueue("anything", args={}, queue="other", delay="1s")

        async def arrived():
            return await ready(stem, "other") == 1

        await eventually(arrived, "the other queue's task", 60)
        assert time.monotonic() - began >= 1.0
        # messages that the queue refuses are not lost, and not in the parking queue
        parked = stem.names.unroutable
        assert (await stem.connected.transport.status([parked]))[parked].ready == 0


async def is_full(stem):
    """Return whether the queue has reached its limit, which RabbitMQ may exceed a little."""
    return await ready(stem, "full") >= 5


async def test_retries_and_snoozes_of_a_full_queue_go_the_same_way(full_stem):
    """Messages that a worker publishes again pass the holding queue too."""
    stem = full_stem
    keys = []

    async with stem:
        transport = stem.connected.transport
        publish = transport.publish

        async def noted(publication):
            keys.append(publication.routing_key)
            await publish(publication)

        transport.publish = noted
        async with stem.worker(["full"]).running():
            await stem.enqueue("fails", args={}, queue="full")
            await eventually(lambda: len(keys) >= 3, "two retries")
        transport.publish = publish
    assert [key[2 * 8 :] for key in keys[1:3]] == ["zz-due.full", "zz-due.full"]


@pytest.mark.parametrize(("before", "after"), [(FREE, FULL), (FULL, FREE), (FREE, BY_POLICY)])
async def test_a_queue_that_begins_or_ends_to_refuse_loses_no_delay(make_stem, before, after):
    """Old and new processes run concurrently, and their delayed tasks arrive once."""
    first, second = make_stem(topology=topology(before)), make_stem(topology=topology(after))
    # arguments that RabbitMQ cannot change need a migration, which other tests cover
    async with first:
        transport = first.connected.transport
        own = second.blueprint.entities
        others = {queue.name for queue in first.blueprint.entities.queues}
        await transport.declare(
            type(own)(
                queues=tuple(queue for queue in own.queues if queue.name not in others),
                bindings=own.bindings,
            )
        )
        routers = [DelayRouter(stem.names, stem.topology) for stem in (first, second)]
        assert len({router.to("full", 3) for router in routers}) == 2
        second.reconfigure(provision="none")
        async with second:
            for stem in (first, second, first, second):
                await stem.enqueue("anything", args={}, queue="full", delay="300ms")

            async def arrived():
                return await ready(first, "full") == 4

            await eventually(arrived, "the delayed tasks", 60)
            parked = first.names.unroutable
            assert (await transport.status([parked]))[parked].ready == 0
        await transport.delete(own)


def test_a_policy_of_the_file_makes_a_queue_refuse_too(make_stem):
    """The topology file contains the policy, so the queue's delays end in a holding queue."""
    stem = make_stem()
    stem.reconfigure(topology=topology(BY_POLICY))
    names = [queue.name for queue in stem.blueprint.entities.queues]
    assert stem.names.due("full") in names
    assert stem.names.due("other") not in names
