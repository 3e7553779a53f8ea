"""The contract of a transport: publishing."""

import asyncio
import dataclasses
import time

import aio_pika
import pytest

from stem_amqp.errors import (
    BrokerUnavailableError,
    PublishError,
    PublishRefusedError,
    PublishTimeoutError,
    StaleDeliveryError,
    UnroutableError,
)
from stem_amqp.topology.entities import Binding
from stem_amqp.transport.publication import Publication


def to(queue, body=b"{}", **properties):
    """Return a publication that the default exchange routes to a queue."""
    return Publication(exchange="", routing_key=queue.name, body=body, **properties)


async def test_connect_says_what_the_broker_is(harness):
    """The broker's product and version are known after connecting."""
    transport = harness.make()
    harness.transports.append(transport)
    info = await transport.connect()
    assert info.product.lower() in str(info).lower()
    assert info.version >= (3, 10)


async def test_closing_twice_is_no_error(harness, transport):
    """A transport can be closed again, and later calls fail with a clear error."""
    queue = harness.queue("work")
    await harness.declare(queue)
    other = await harness.transport(publish_timeout=0.2)
    await other.close()
    await other.close()
    with pytest.raises(BrokerUnavailableError):
        await other.publish(to(queue))


async def test_a_confirmed_message_is_in_the_queue(harness, transport):
    """When publish returns, the broker has the message."""
    queue = harness.queue("work")
    await harness.declare(queue)
    await transport.publish(to(queue))
    await harness.ready(queue, 1)


async def test_a_message_arrives_with_all_its_properties(harness, transport):
    """Body, properties and headers arrive unchanged."""
    queue, exchange = harness.queue("work"), harness.exchange("tasks")
    binding = Binding(source=exchange.name, destination=queue.name, key="orders")
    await harness.declare(queue, exchanges=[exchange], bindings=[binding])
    headers = {"stem-attempt": 2, "name": "Łódź", "ratio": 0.5, "on": True, "tags": ["a", 1]}
    await transport.publish(
        Publication(
            exchange=exchange.name,
            routing_key="orders",
            body=b'{"v":1}\x00\xff',
            type="orders.sync",
            correlation_id="task-1",
            reply_to="reply.1",
            priority=3,
            app_id="stem",
            headers=headers,
        )
    )
    inbox = harness.inbox()
    await transport.consume(queue.name, inbox, prefetch=1, tag="c1")
    (delivery,) = await inbox.until(1)
    assert delivery.body == b'{"v":1}\x00\xff'
    assert (delivery.exchange, delivery.routing_key) == (exchange.name, "orders")
    assert (delivery.type, delivery.correlation_id) == ("orders.sync", "task-1")
    assert (delivery.reply_to, delivery.priority, delivery.app_id) == ("reply.1", 3, "stem")
    assert delivery.content_type == "application/json"
    assert not delivery.redelivered
    assert {name: delivery.headers[name] for name in headers} == headers
    assert abs(delivery.timestamp - time.time()) < 60
    await delivery.ack()


async def test_a_bare_message_has_no_invented_properties(harness, transport):
    """Omitted properties are None on arrival, and headers are empty."""
    queue = harness.queue("work")
    await harness.declare(queue)
    await transport.publish(to(queue, b""))
    (delivery,) = await harness.contents(queue)
    assert delivery.body == b""
    assert delivery.type is delivery.correlation_id is delivery.reply_to is delivery.app_id is None
    assert delivery.priority in {None, 0}
    assert not set(delivery.headers) - {"x-delivery-count"}


async def test_each_publish_has_a_message_id_of_its_own(harness, transport):
    """Two publishes of the same content can be told apart."""
    queue = harness.queue("work")
    await harness.declare(queue)
    publication = to(queue)
    await asyncio.gather(transport.publish(publication), transport.publish(publication))
    first, second = await harness.contents(queue)
    assert first.message_id
    assert second.message_id
    assert first.message_id != second.message_id


async def test_every_publish_is_persistent(rabbitmq, rabbitmq_url):
    """RabbitMQ writes it to disk, in any type of queue."""
    queue = rabbitmq.queue("work", x_queue_type="classic")
    transport = await rabbitmq.transport()
    await rabbitmq.declare(queue)
    await transport.publish(to(queue))
    async with await aio_pika.connect(rabbitmq_url) as connection:
        channel = await connection.channel()
        there = await channel.get_queue(queue.name)
        message = await there.get(timeout=60)
        assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
        await message.ack()


async def test_a_message_without_a_binding_is_unroutable(harness, transport):
    """The error is typed and names the exchange and the key."""
    exchange = harness.exchange("tasks")
    await harness.declare(exchanges=[exchange])
    with pytest.raises(UnroutableError, match=r"nowhere"):
        await transport.publish(
            Publication(exchange=exchange.name, routing_key="nowhere", body=b"{}")
        )


async def test_a_message_to_a_queue_that_does_not_exist_is_unroutable(harness, transport):
    """The default exchange routes by the queue's name, and returns the message."""
    with pytest.raises(UnroutableError):
        await transport.publish(to(harness.queue("absent")))


async def test_a_message_to_an_exchange_that_does_not_exist_is_unroutable(harness, transport):
    """A missing exchange fails that publish, and the next one works."""
    queue = harness.queue("work")
    await harness.declare(queue)
    with pytest.raises(UnroutableError):
        await transport.publish(
            Publication(exchange=harness.name("absent"), routing_key="x", body=b"{}")
        )
    await transport.publish(to(queue))
    await harness.ready(queue, 1)


async def test_unroutable_ones_among_many_fail_exactly(harness, transport):
    """Among many concurrent publishes, exactly those without a route fail."""
    queue, exchange = harness.queue("work"), harness.exchange("tasks")
    binding = Binding(source=exchange.name, destination=queue.name, key="good")
    await harness.declare(queue, exchanges=[exchange], bindings=[binding])
    keys = ["bad" if number % 3 == 0 else "good" for number in range(300)]
    results = await asyncio.gather(
        *(
            transport.publish(Publication(exchange=exchange.name, routing_key=key, body=b"{}"))
            for key in keys
        ),
        return_exceptions=True,
    )
    assert [isinstance(result, UnroutableError) for result in results] == [
        key == "bad" for key in keys
    ]
    assert all(result is None for result, key in zip(results, keys, strict=True) if key == "good")
    await harness.ready(queue, 200)


@pytest.mark.parametrize(
    "wrong",
    [
        {"headers": {"thing": object()}},
        {"headers": {"deep": [{"thing": {1, 2}}]}},
        {"headers": {"huge": 2**64}},
        {"routing_key": "k" * 256},
    ],
    ids=["object", "nested", "huge number", "long key"],
)
async def test_what_amqp_cannot_carry_fails_plainly(harness, transport, wrong):
    """A value or key that does not fit into the protocol fails that publish, and no other."""
    queue = harness.queue("work")
    await harness.declare(queue)
    with pytest.raises(PublishError):
        await transport.publish(dataclasses.replace(to(queue), **wrong))
    await transport.publish(to(queue))
    await harness.ready(queue, 1)


async def test_a_full_queue_refuses(harness, transport):
    """A queue with reject-publish refuses messages beyond its limit, until there is room."""
    queue = harness.queue("work", x_max_length=3, x_overflow="reject-publish")
    await harness.declare(queue)
    with pytest.raises(PublishRefusedError):
        # a quorum queue may exceed its limit a little before it notices
        await harness.send(queue, *[b"x"] * 100)
    assert await transport.purge(queue.name) >= 3

    async def accepts():
        try:
            await transport.publish(to(queue))
        except PublishRefusedError:
            return False
        return True

    await harness.eventually(accepts, "room for one more")


async def test_a_publish_without_a_confirm_times_out(harness, transport):
    """A broker that does not answer costs no more than the publish timeout."""
    queue = harness.queue("work")
    await harness.declare(queue)
    hasty = await harness.transport(publish_timeout=0.2)
    harness.freeze()
    with pytest.raises(PublishTimeoutError):
        await hasty.publish(to(queue))
    harness.thaw()


async def test_a_publish_without_a_connection_fails_in_time(harness, transport):
    """Without a broker for the publish timeout, it raises BrokerUnavailableError."""
    queue = harness.queue("work")
    await harness.declare(queue)
    hasty = await harness.transport(publish_timeout=0.2)
    async with harness.outage():
        with pytest.raises((BrokerUnavailableError, PublishTimeoutError)):
            # the first one may have been in flight when the connection was lost
            await hasty.publish(to(queue))
        with pytest.raises(BrokerUnavailableError):
            await hasty.publish(to(queue))


async def test_a_publish_waits_for_the_connection_to_come_back(harness, transport):
    """An outage shorter than the publish timeout delays a publish, and does not fail it."""
    queue = harness.queue("work")
    await harness.declare(queue)
    changes = []
    transport.on_connection_change = changes.append
    async with harness.outage():
        await harness.eventually(lambda: changes, "a lost connection")
        publishing = asyncio.create_task(transport.publish(to(queue)))
        await asyncio.sleep(0.05)
        assert not publishing.done()
    await publishing
    await harness.ready(queue, 1)


async def test_replace_acknowledges_after_the_confirm(harness, transport):
    """The new message is in its queue, and the original one is acknowledged."""
    queue, other = harness.queue("work"), harness.queue("other")
    await harness.declare(queue, other)
    await harness.send(queue, b"old", b"next")
    inbox = harness.inbox()
    await transport.consume(queue.name, inbox, prefetch=1, tag="c1")
    (delivery,) = await inbox.until(1)
    await transport.replace(delivery, to(other, b"new"))
    await harness.ready(other, 1)
    assert (await inbox.until(2))[1].body == b"next"


async def test_replace_keeps_the_message_when_the_publish_fails(harness, transport):
    """A publish that fails leaves the delivery unsettled."""
    queue = harness.queue("work")
    await harness.declare(queue)
    await harness.send(queue, b"old")
    inbox = harness.inbox()
    consumer = await transport.consume(queue.name, inbox, prefetch=1, tag="c1")
    (delivery,) = await inbox.until(1)
    with pytest.raises(UnroutableError):
        await transport.replace(delivery, to(harness.queue("absent")))
    await consumer.close()
    await harness.ready(queue, 1)


async def test_replace_of_a_stale_delivery_leaves_two_messages(harness, transport):
    """The publish comes first: a channel lost after it repeats the message."""
    queue, other = harness.queue("work"), harness.queue("other")
    await harness.declare(queue, other)
    await harness.send(queue, b"old")
    inbox = harness.inbox()
    consumer = await transport.consume(queue.name, inbox, prefetch=1, tag="c1")
    (delivery,) = await inbox.until(1)
    await consumer.close()
    with pytest.raises(StaleDeliveryError):
        await transport.replace(delivery, to(other, b"new"))
    await harness.ready(other, 1)
    await harness.ready(queue, 1)
