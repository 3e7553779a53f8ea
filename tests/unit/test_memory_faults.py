"""The in-memory broker's injected faults, and its inspection of queues."""

import asyncio

import pytest

from stem_amqp.errors import (
    BrokerUnavailableError,
    PublishRefusedError,
    PublishTimeoutError,
    StaleDeliveryError,
    TopologyMissingError,
)
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.transport.base import ConnectionChange
from stem_amqp.transport.memory import MemoryBroker, MemoryTransport
from stem_amqp.transport.publication import Publication

WORK = Entities(queues=(Queue(name="work", arguments={"x-queue-type": "quorum"}),))
MESSAGE = Publication(exchange="", routing_key="work", body=b"x", headers={"n": 1})


@pytest.fixture
async def transport():
    """Yield a transport to a broker of its own, with a queue."""
    transport = MemoryTransport(MemoryBroker(), connect_timeout=1.0, publish_timeout=0.05)
    await transport.connect()
    await transport.declare(WORK)
    yield transport
    await transport.close()


@pytest.fixture
def broker(transport):
    """Return the transport's broker."""
    return transport.broker


async def turns(count=20):
    """Run some iterations of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_messages_shows_what_is_ready_and_takes_nothing(transport, broker):
    """The messages have every property, in the order of delivery."""
    await transport.publish(MESSAGE)
    for _ in range(2):
        (message,) = broker.messages("work")
        assert (message.body, message.headers) == (b"x", {"n": 1})
    with pytest.raises(TopologyMissingError, match="there is work"):
        broker.messages("wrok")


async def test_refused_publishes_fail_until_they_are_accepted(transport, broker):
    """Each publish gets its own error, and no message arrives."""
    broker.refuse_publishes(PublishRefusedError("full up"))
    errors = []
    for _ in range(2):
        with pytest.raises(PublishRefusedError, match="full up") as caught:
            await transport.publish(MESSAGE)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    broker.accept_publishes()
    await transport.publish(MESSAGE)
    assert len(broker.messages("work")) == 1


async def test_a_number_of_publishes_can_be_refused(transport, broker):
    """After that number, publishing works again."""
    broker.refuse_publishes(PublishRefusedError("once"), times=1)
    with pytest.raises(PublishRefusedError):
        await transport.publish(MESSAGE)
    await transport.publish(MESSAGE)
    assert len(broker.messages("work")) == 1


async def test_publishes_to_one_exchange_can_be_refused(transport, broker):
    """Other exchanges are not affected."""
    broker.refuse_publishes(PublishRefusedError("no"), exchange="tasks")
    await transport.publish(MESSAGE)
    broker.refuse_publishes(PublishRefusedError("no"), exchange="")
    with pytest.raises(PublishRefusedError):
        await transport.publish(MESSAGE)


async def test_a_confirm_can_get_lost(transport, broker):
    """The publish fails although the message arrived: its outcome is unknown."""
    broker.refuse_publishes(PublishTimeoutError("no confirm"), accepted=True)
    with pytest.raises(PublishTimeoutError):
        await transport.publish(MESSAGE)
    assert len(broker.messages("work")) == 1


async def test_a_paused_broker_delivers_and_confirms_nothing(transport, broker):
    """Everything waits for resume, and a publish that timed out was not accepted."""
    inbox = []
    await transport.publish(MESSAGE)
    broker.pause()
    await transport.consume("work", inbox.append, prefetch=5, tag="c1")
    with pytest.raises(PublishTimeoutError, match="paused"):
        await transport.publish(MESSAGE)
    assert inbox == []
    publishing = asyncio.create_task(transport.publish(MESSAGE))
    await turns()
    broker.resume()
    await publishing
    await turns()
    assert len(inbox) == 2


async def test_a_pause_holds_back_what_was_about_to_be_delivered(transport, broker):
    """A pause takes effect at once, not from the next message on."""
    inbox = []
    await transport.consume("work", inbox.append, prefetch=5, tag="c1")
    await transport.publish(MESSAGE)
    broker.pause()
    await turns()
    assert inbox == []
    broker.resume()
    await turns()
    assert len(inbox) == 1


async def test_dropped_connections_return_what_is_unsettled(transport, broker):
    """Every transport loses its deliveries and gets them again, in their original order."""
    other = MemoryTransport(broker)
    await other.connect()
    inbox, others = [], []
    await transport.consume("work", inbox.append, prefetch=2, tag="c1")
    await other.consume("work", others.append, prefetch=2, tag="c2")
    for _ in range(4):
        await transport.publish(MESSAGE)
    await turns()
    stale = inbox + others
    broker.drop_connections()
    assert len(broker.messages("work")) == 4
    for delivery in stale:
        with pytest.raises(StaleDeliveryError):
            await delivery.ack()
    await turns()
    again = inbox[2:] + others[2:]
    assert [delivery.redelivered for delivery in again] == [True] * 4
    assert [delivery.headers["x-delivery-count"] for delivery in again] == [1] * 4
    await other.close()


async def test_both_roles_report_the_loss_and_the_return(transport, broker):
    """Consuming and publishing are reported as lost and as restored, with the reason."""
    changes = []
    transport.on_connection_change = changes.append
    broker.drop_connections("pulled the plug")
    await turns()
    assert [(change.restored, change.role) for change in changes] == [
        (False, "consuming"),
        (False, "publishing"),
        (True, "consuming"),
        (True, "publishing"),
    ]
    assert {change.error for change in changes} == {"pulled the plug"}
    assert all(isinstance(change, ConnectionChange) for change in changes)


async def test_nothing_works_in_an_outage_and_everything_after(transport, broker):
    """Old and new connections fail during the outage, and consumers recover when it ends."""
    late = MemoryTransport(broker, connect_timeout=0.02)
    inbox = []
    consumer = await transport.consume("work", inbox.append, prefetch=5, tag="c1")
    with broker.outage():
        with pytest.raises(BrokerUnavailableError):
            await transport.publish(MESSAGE)
        with pytest.raises(BrokerUnavailableError):
            await late.connect()
        assert not consumer.consuming
    await turns()
    assert consumer.consuming
    await transport.publish(MESSAGE)
    await turns()
    assert len(inbox) == 1
    await late.connect()
    await late.close()


async def test_closing_in_an_outage_ends_all_waiting(transport, broker):
    """A transport that waits for its connection can be closed."""
    consumer = await transport.consume("work", print, prefetch=5, tag="c1")
    with broker.outage():
        await transport.close()
    await turns()
    assert not consumer.consuming
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_consumer_that_is_lost_twice_comes_back_once(transport, broker):
    """Its queue is deleted and its connection dropped at the same time."""
    transport.redeclare = lambda: transport.declare(WORK)
    await transport.consume("work", print, prefetch=5, tag="c1")
    await transport.delete(WORK)
    broker.drop_connections()
    await turns()
    assert (await transport.status(["work"]))["work"].consumers == 1


async def test_browsing_ends_with_an_error_when_the_connection_is_lost(transport, broker):
    """An incomplete browse is not reported as a complete one."""
    for _ in range(2):
        await transport.publish(MESSAGE)
    async with transport.browse("work") as deliveries:
        await anext(deliveries)
        broker.drop_connections()
        with pytest.raises(BrokerUnavailableError, match="browsing"):
            await anext(deliveries)
    assert len(broker.messages("work")) == 2
