"""Queues of the in-memory broker: order, limits and the choice of the consumer."""

import asyncio

import pytest

from stem_amqp.errors import (
    BrokerRefusedError,
    PublishRefusedError,
    StaleDeliveryError,
    TopologyMismatchError,
    TopologyMissingError,
)
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.transport.memory import MemoryBroker, MemoryTransport
from stem_amqp.transport.publication import Publication


@pytest.fixture
async def transport():
    """Yield a transport to a broker of its own."""
    transport = MemoryTransport(MemoryBroker())
    await transport.connect()
    yield transport
    await transport.close()


async def declare(transport, name="work", **arguments):
    """Declare a queue; x_max_length stands for x-max-length."""
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    await transport.declare(Entities(queues=(Queue(name=name, arguments=named),)))


async def send(transport, *bodies, queue="work", priority=None):
    """Put messages into a queue."""
    for body in bodies:
        await transport.publish(
            Publication(exchange="", routing_key=queue, body=body, priority=priority)
        )


async def turns(count=10):
    """Run some iterations of the event loop."""
    for _ in range(count):
        await asyncio.sleep(0)


def bodies(transport, queue="work"):
    """Return the bodies of the ready messages in a queue."""
    return [message.body for message in transport.broker.messages(queue)]


async def test_a_returned_message_keeps_its_priority(transport):
    """It comes before other messages of its priority, and after higher ones."""
    await declare(transport, x_max_priority=3)
    await send(transport, b"low")
    await send(transport, b"high 1", b"high 2", priority=3)
    async with transport.browse("work") as deliveries:
        assert (await anext(deliveries)).body == b"high 1"
        await send(transport, b"high 3", priority=3)
    assert bodies(transport) == [b"high 1", b"high 2", b"high 3", b"low"]


async def test_priorities_without_levels_mean_nothing(transport):
    """A queue that declares no priorities is first in, first out."""
    await declare(transport)
    await send(transport, b"1", priority=1)
    await send(transport, b"9", priority=9)
    assert bodies(transport) == [b"1", b"9"]


async def test_what_overflows_is_of_the_lowest_priority(transport):
    """The oldest message of the lowest priority is dropped."""
    await declare(transport, x_max_priority=2, x_max_length=2)
    await send(transport, b"high", priority=2)
    await send(transport, b"low 1", b"low 2")
    assert bodies(transport) == [b"high", b"low 2"]


async def test_a_length_limit_refuses_exactly(transport):
    """The limit counts ready messages, and each message that is taken out makes room for one."""
    await declare(transport, x_max_length=2, x_overflow="reject-publish")
    await send(transport, b"1", b"2")
    with pytest.raises(PublishRefusedError, match="queue work is full"):
        await send(transport, b"3")
    async with transport.browse("work") as deliveries:
        await (await anext(deliveries)).ack()
    await send(transport, b"3")
    assert bodies(transport) == [b"2", b"3"]


async def test_a_limit_in_bytes_counts_bodies(transport):
    """A limit in bytes works with either overflow."""
    await declare(transport, "refusing", x_max_length_bytes=10, x_overflow="reject-publish")
    await declare(transport, "dropping", x_max_length_bytes=10)
    for queue in ("refusing", "dropping"):
        await send(transport, b"12345", b"67890", queue=queue)
    with pytest.raises(PublishRefusedError):
        await send(transport, b"x", queue="refusing")
    await send(transport, b"x", queue="dropping")
    assert bodies(transport, "refusing") == [b"12345", b"67890"]
    assert bodies(transport, "dropping") == [b"67890", b"x"]
    await transport.purge("refusing")
    await send(transport, b"1234567890", queue="refusing")


async def test_one_full_queue_of_several_refuses_and_the_others_have_it(transport):
    """As on RabbitMQ, a nack does not take the message from the queues that accepted it."""
    await declare(transport, "full", x_max_length=0, x_overflow="reject-publish")
    await declare(transport, "open")
    exchange = Exchange(name="all", type="fanout")
    bindings = tuple(Binding(source="all", destination=name) for name in ("full", "open"))
    await transport.declare(Entities(exchanges=(exchange,), bindings=bindings))
    with pytest.raises(PublishRefusedError):
        await transport.publish(Publication(exchange="all", routing_key="", body=b"x"))
    assert bodies(transport, "open") == [b"x"]


async def test_the_longest_waiting_consumer_becomes_the_single_active_one(transport):
    """Consumers take over in the order in which they subscribed."""
    await declare(transport, x_single_active_consumer=True)
    inboxes = [[], [], []]
    consumers = [
        await transport.consume("work", inbox.append, prefetch=10, tag=f"c{number}")
        for number, inbox in enumerate(inboxes)
    ]
    for number in (0, 1, 2):
        await send(transport, b"x")
        await turns()
        assert [len(inbox) for inbox in inboxes] == [1] * (number + 1) + [0] * (2 - number)
        await consumers[number].stop()


async def test_the_next_single_active_consumer_takes_over_at_once(transport):
    """Messages that were ready for the first one go to the second without another event."""
    await declare(transport, x_single_active_consumer=True)
    first, second = [], []
    leading = await transport.consume("work", first.append, prefetch=1, tag="first")
    await transport.consume("work", second.append, prefetch=5, tag="second")
    await send(transport, b"1", b"2")
    await turns()
    await leading.stop()
    await turns()
    assert [delivery.body for delivery in second] == [b"2"]


async def test_a_full_consumer_is_passed_over(transport):
    """A consumer with room gets the messages that another one's prefetch does not allow."""
    await declare(transport)
    slow, fast = [], []
    await transport.consume("work", slow.append, prefetch=1, tag="slow")
    await transport.consume("work", fast.append, prefetch=10, tag="fast")
    await send(transport, *[b"x"] * 6)
    await turns()
    assert (len(slow), len(fast)) == (1, 5)


async def test_an_exclusive_consumer_does_not_join_others(transport):
    """It is refused if the queue has a consumer already."""
    await declare(transport)
    await transport.consume("work", print, prefetch=1, tag="first")
    with pytest.raises(BrokerRefusedError, match="'second' cannot consume it beside 'first'"):
        await transport.consume("work", print, prefetch=1, tag="second", exclusive=True)
    assert (await transport.status(["work"]))["work"].consumers == 1
    assert len(transport.broker.engine.router.queues["work"].channels) == 1


async def test_a_subscriptions_queue_belongs_to_its_transport(transport):
    """Another transport may send to it but not consume it."""
    other = MemoryTransport(transport.broker)
    await other.connect()
    inbox = []
    async with transport.subscribe("reply", inbox.append):
        await send(other, b"x", queue="reply")
        with pytest.raises(BrokerRefusedError, match="exclusive"):
            await other.consume("reply", print, prefetch=1, tag="c1")
        await turns()
        assert [delivery.body for delivery in inbox] == [b"x"]
        with pytest.raises(StaleDeliveryError, match="settled already"):
            await inbox[0].ack()
    await other.close()


async def test_settling_twice_is_an_error(transport):
    """The second call raises an error, and changes nothing."""
    await declare(transport)
    await send(transport, b"1")
    async with transport.browse("work") as deliveries:
        delivery = await anext(deliveries)
        await delivery.ack()
        with pytest.raises(StaleDeliveryError, match="settled already"):
            await delivery.nack(requeue=True)
    assert bodies(transport) == []


async def test_settling_for_a_deleted_queue_does_nothing(transport):
    """The channel is open although the queue is deleted, so this is no error."""
    await declare(transport)
    await send(transport, b"1")
    inbox = []
    await transport.consume("work", inbox.append, prefetch=1, tag="c1")
    await turns()
    await transport.delete(Entities(queues=(Queue(name="work"),)))
    await inbox[0].nack(requeue=True)
    await declare(transport)
    assert bodies(transport) == []


async def test_a_consumers_mistake_does_not_stop_the_others(transport, caplog):
    """An exception of on_delivery is logged, and the queue goes on."""
    await declare(transport)
    inbox = []

    def broken(delivery):
        raise ZeroDivisionError

    await transport.consume("work", broken, prefetch=1, tag="broken")
    await transport.consume("work", inbox.append, prefetch=10, tag="fine")
    await send(transport, b"1", b"2", b"3")
    await turns()
    assert [delivery.body for delivery in inbox] == [b"2", b"3"]
    assert "on_delivery of consumer 'broken' raised" in caplog.text


async def test_headers_are_each_consumers_own(transport):
    """Neither the publisher nor another consumer can change them afterwards."""
    await declare(transport)
    headers = {"a": 1}
    await transport.publish(Publication(exchange="", routing_key="work", body=b"", headers=headers))
    headers["a"] = 2
    async with transport.browse("work") as deliveries:
        (await anext(deliveries)).headers["a"] = 3
    assert transport.broker.messages("work")[0].headers == {"a": 1}


async def test_arguments_that_the_broker_ignores_are_no_mismatch(transport):
    """Unknown arguments are not compared, and classic is the default type."""
    await declare(transport, x_message_ttl=5)
    await declare(transport, x_message_ttl=5, x_queue_type="classic", x_note="mine")
    with pytest.raises(TopologyMismatchError, match=r"x-max-length not set.*has 7"):
        await declare(transport, x_message_ttl=5, x_max_length=7)


@pytest.mark.parametrize(
    ("binding", "absent"),
    [
        (Binding(source="nothing", destination="work"), "exchange 'nothing'"),
        (Binding(source="amq.topic", destination="nothing"), "queue 'nothing'"),
        (Binding(source="amq.topic", destination="work", to_exchange=True), "exchange 'work'"),
    ],
)
async def test_a_binding_needs_both_its_ends(transport, binding, absent):
    """The error names the missing end."""
    await declare(transport)
    with pytest.raises(TopologyMissingError, match=absent):
        await transport.declare(Entities(bindings=(binding,)))
