"""Behaviour of rpc:// when its connections are lost, on the in-memory broker and RabbitMQ."""

import asyncio
import random

import pytest
from support import report_ends

from stem_amqp.errors import (
    BackendUnavailableError,
    BrokerUnavailableError,
    ResultUnavailableError,
    UnroutableError,
)
from stem_amqp.messages.message import new_id
from stem_amqp.results.base import Transition
from stem_amqp.results.rpc.backend import RpcBackend
from stem_amqp.results.rpc.queues import group_queues
from stem_amqp.states import TaskState
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.topology.names import Names
from stem_amqp.transport.publication import Publication

SUCCEEDED = TaskState.SUCCEEDED


@pytest.fixture
async def rpc(harness):
    """Yield a maker of backends with separate connections, and remove their groups afterwards."""
    opened, groups = [], []
    names = Names(harness.prefix)

    class Rpc:
        def __init__(self):
            self.transports = []

        async def backend(self):
            transport = await harness.transport()
            backend = RpcBackend(transport, names, transport.clock)
            await backend.open()
            opened.append(backend)
            self.transports.append(transport)
            return backend

        def group_id(self):
            groups.append(f"g{len(groups)}")
            return groups[-1]

        def queue(self, group_id):
            return names.group(group_id)

        async def declare(self, backend, group_id):
            await self.transports[0].declare(group_queues(names, group_id, 100))

        async def delete(self, group_id):
            queue = Queue(name=names.group(group_id))
            await self.transports[0].delete(Entities(queues=(queue,)))

    yield Rpc()
    for backend in opened:
        await backend.close()
    janitor = await harness.transport()
    for group_id in groups:
        queues = (
            names.group(group_id),
            names.group_claim(group_id),
            names.group_values(group_id),
        )
        await janitor.delete(Entities(queues=tuple(Queue(name=name) for name in queues)))


def finished(task_id, reply_to, result=b"1"):
    """Return a worker's last change of a task."""
    return Transition(
        task_id=task_id,
        task="shop.sync",
        queue="orders",
        state=SUCCEEDED,
        at=1.0,
        result=result,
        reply_to=reply_to,
    )


async def routable(transport, address):
    """Return whether a queue exists; an exclusive one can only be published to."""
    try:
        await transport.publish(
            Publication(exchange="", routing_key=address, body=b"", type="test")
        )
    except UnroutableError:
        return False
    except BrokerUnavailableError:
        return None
    return True


async def repeated(call):
    """Repeat a call as a worker does, until the broker accepts it."""
    while True:
        try:
            return await call()
        except BackendUnavailableError:
            await asyncio.sleep(0.01)


async def test_the_reply_queue_comes_back_after_a_lost_connection(rpc, harness):
    """A producer that reconnected gets later replies at the same address."""
    producer, worker = await rpc.backend(), await rpc.backend()
    address = await producer.reply_address()
    harness.cut()

    await harness.eventually(lambda: routable(rpc.transports[1], address), "the reply queue")
    task_id = new_id()
    waiting = asyncio.create_task(producer.wait(task_id, 60))

    async def arrives():
        # replies before the broker noticed the loss are deleted with the old queue
        await repeated(lambda: worker.transition([finished(task_id, address)]))
        return waiting.done()

    await harness.eventually(arrives, "a reply")
    assert (await waiting).state is SUCCEEDED
    assert await producer.reply_address() == address


async def test_a_reply_to_a_closed_producer_counts_as_stored(rpc):
    """The reply has no reader, so there is nothing that a worker could do."""
    producer, worker = await rpc.backend(), await rpc.backend()
    address = await producer.reply_address()
    await producer.close()
    assert await worker.transition([finished(new_id(), address)]) == [True]


async def test_the_reply_queue_is_deleted_once_its_backend_is_closed(rpc):
    """A closed backend leaves no queue on the broker, although its transport stays open."""
    producer = await rpc.backend()
    address = await producer.reply_address()
    assert await routable(rpc.transports[0], address)
    await producer.close()
    assert not await routable(rpc.transports[0], address)


async def test_a_crash_between_publishing_and_acknowledging_loses_no_member(rpc, harness):
    """Two tokens in a group's queue are merged, and only one is left."""
    backend, group_id = await rpc.backend(), rpc.group_id()
    await backend.create_group(group_id, 3, ttl=100)
    await report_ends(backend, group_id, 0)
    transport, queue = rpc.transports[0], rpc.queue(group_id)
    async with transport.browse(queue) as deliveries:
        older = [delivery.body async for delivery in deliveries]
    await report_ends(backend, group_id, 1)
    for body in older:
        await transport.publish(Publication(exchange="", routing_key=queue, body=body))
    group = await report_ends(backend, group_id, 2)
    assert group.complete

    async def one_is_left():
        return (await transport.status([queue]))[queue].ready == 1

    await harness.eventually(one_is_left, "a single token")


async def test_two_holders_never_have_different_tokens(rpc):
    """All tokens of a group go to one holder; the next holder gets them only after it."""
    one, other, group_id = await rpc.backend(), await rpc.backend(), rpc.group_id()
    await one.create_group(group_id, 2, ttl=100)
    async with rpc.transports[0].browse(rpc.queue(group_id)) as deliveries:
        (body,) = [delivery.body async for delivery in deliveries]
    copy = Publication(exchange="", routing_key=rpc.queue(group_id), body=body)
    await rpc.transports[0].publish(copy)
    async with one.groups._hold(group_id) as first, other.groups._hold(group_id) as second:
        await first.state()
        turn = asyncio.create_task(second.state())
        await asyncio.sleep(0.2)
        assert not turn.done()
        turn.cancel()
        await asyncio.wait({turn})
    async with other.groups._hold(group_id) as second:
        assert (await second.state()).size == 2


async def test_a_creator_that_crashed_before_the_first_token_is_made_up_for(rpc, monkeypatch):
    """A queue without a token is filled by the next creator; until then it is unavailable."""
    monkeypatch.setattr("stem_amqp.results.rpc.groups._CREATE_PATIENCE", 0.2)
    backend, group_id = await rpc.backend(), rpc.group_id()
    backend.groups._patience = 0.2
    await rpc.declare(backend, group_id)
    with pytest.raises(BackendUnavailableError, match=f"queue .*{group_id} is empty"):
        await report_ends(backend, group_id, 0)
    backend.groups._patience = 60.0  # from now on a token comes, if only after a while
    await backend.create_group(group_id, 1, ttl=100)
    assert (await report_ends(backend, group_id, 0)).complete


async def test_a_foreign_message_in_a_group_queue_is_named(rpc):
    """The error says that the message is no token of a group."""
    backend, group_id = await rpc.backend(), rpc.group_id()
    await rpc.declare(backend, group_id)
    publication = Publication(exchange="", routing_key=rpc.queue(group_id), body=b"[]")
    await rpc.transports[0].publish(publication)
    with pytest.raises(BackendUnavailableError, match="not a group state"):
        await backend.get_group(group_id)


async def test_the_claim_of_an_earlier_group_does_not_bind_a_new_one(rpc):
    """A claim that outlived its group is removed when the id is used again."""
    backend, group_id = await rpc.backend(), rpc.group_id()
    for claimant in ("a", "b"):
        await backend.create_group(group_id, 1, ttl=100)
        await report_ends(backend, group_id, 0)
        assert await backend.claim_group(group_id, claimant)
        await rpc.delete(group_id)


async def test_a_reporter_that_gives_up_does_not_stop_the_others(rpc):
    """Members that end together are written together, even if a caller is cancelled."""
    backend, group_id = await rpc.backend(), rpc.group_id()
    await backend.create_group(group_id, 2, ttl=100)
    first = asyncio.create_task(report_ends(backend, group_id, 0))
    second = asyncio.create_task(report_ends(backend, group_id, 1))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).complete
    assert first.cancelled()


async def test_closing_cancels_reports_that_wait_for_their_turn(rpc):
    """A backend that is closed does not wait for another process to release a group."""
    other, backend, group_id = await rpc.backend(), await rpc.backend(), rpc.group_id()
    await other.create_group(group_id, 1, ttl=100)
    async with other.groups._hold(group_id) as held:
        await held.state()
        report = asyncio.create_task(report_ends(backend, group_id, 0))
        await asyncio.sleep(0.05)
        assert not report.done()
        await backend.close()
        with pytest.raises(asyncio.CancelledError):
            await report
    assert (await other.get_group(group_id)).done == 0


@pytest.mark.parametrize("seed", range(3))
async def test_a_group_is_completed_and_claimed_once_while_connections_break(rpc, harness, seed):
    """No member is lost, one report completes the group, and one claim succeeds."""
    size, chance = 24, random.Random(seed)
    backends = [await rpc.backend() for _ in range(3)]
    group_id = rpc.group_id()
    await backends[0].create_group(group_id, size, ttl=1000)

    async def member(number):
        backend, task_id = backends[number % 3], f"task-{number}"
        await asyncio.sleep(chance.random() * 0.5)
        group = await repeated(lambda: report_ends(backend, group_id, number))
        won = group.complete and await repeated(lambda: backend.claim_group(group_id, task_id))
        return group.complete, task_id if won else None

    async def cutter():
        for _ in range(8):
            await asyncio.sleep(chance.uniform(0.02, 0.15))
            harness.cut()

    async with asyncio.timeout(60):
        outcomes, _ = await asyncio.gather(
            asyncio.gather(*(member(number) for number in range(size))), cutter()
        )
    assert any(complete for complete, _ in outcomes)
    (winner,) = [winner for _, winner in outcomes if winner]
    group = await repeated(lambda: backends[0].get_group(group_id))
    assert (group.done, group.failed) == (size, 0)
    assert group.claimed_by == winner


async def test_a_deleted_group_queue_is_an_unknown_group(rpc):
    """The error for a queue that an operator deleted says that the group is unknown."""
    backend, group_id = await rpc.backend(), rpc.group_id()
    await backend.create_group(group_id, 1, ttl=100)
    await rpc.delete(group_id)
    assert await report_ends(backend, group_id, 0) is None
    with pytest.raises(ResultUnavailableError, match=group_id):
        await backend.seal_group(group_id)
