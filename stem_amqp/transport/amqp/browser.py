"""Browse a queue message by message."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from pamqp.commands import Basic

from stem_amqp.transport.amqp.client import Channel
from stem_amqp.transport.amqp.connection import SupervisedConnection
from stem_amqp.transport.amqp.content import Content
from stem_amqp.transport.amqp.delivery import AmqpDelivery
from stem_amqp.transport.amqp.failures import answered
from stem_amqp.transport.amqp.link import close_channel
from stem_amqp.transport.amqp.settler import ChannelSettler
from stem_amqp.transport.delivery import Delivery


@asynccontextmanager
async def browse(
    connection: SupervisedConnection, queue: str
) -> AsyncIterator[AsyncIterator[Delivery]]:
    """Browse the current messages of a queue from its head.

    Unsettled messages are returned with ``basic.nack``. From RabbitMQ 4.3 on this does not count towards
    the delivery limit; before, it counts as a closed channel does.

    Args:
        connection: the consuming connection.
        queue: the queue's name.

    Raises:
        TopologyMissingError: there is no such queue.
        BrokerUnavailableError: the broker does not answer.
    """
    channel = await connection.channel(patience=connection.timeout)
    settler = ChannelSettler(channel.port)
    try:
        # Get the first message before counting the queue: a quorum queue answers a count from its
        # applied state, which can lack messages that were just returned; a get waits for them.
        first = await _get(channel, settler, queue, connection)
        deliveries = _deliveries(channel, settler, queue, first, connection)
        async with aclosing(deliveries):
            yield deliveries
    finally:
        settler.close(requeue=True)
        await close_channel(channel)


async def _deliveries(
    channel: Channel,
    settler: ChannelSettler,
    queue: str,
    first: AmqpDelivery | None,
    connection: SupervisedConnection,
) -> AsyncGenerator[Delivery, None]:
    if first is None:
        return
    status = await answered(
        channel.queue_declare(queue, passive=True),
        f"cannot browse {queue!r}",
        timeout=connection.timeout,
    )
    yield first
    # limited to the initial number of messages: returned and new ones might never end
    for _ in range(status.message_count or 0):
        delivery = await _get(channel, settler, queue, connection)
        if delivery is None:
            return
        yield delivery


async def _get(
    channel: Channel, settler: ChannelSettler, queue: str, connection: SupervisedConnection
) -> AmqpDelivery | None:
    message = await answered(
        channel.basic_get(queue), f"cannot browse {queue!r}", timeout=connection.timeout
    )
    frame = message.delivery
    if not isinstance(frame, Basic.GetOk):
        return None
    settler.add(frame.delivery_tag or 0)
    content = Content(
        tag=frame.delivery_tag or 0,
        redelivered=bool(frame.redelivered),
        exchange=frame.exchange or "",
        routing_key=frame.routing_key or "",
        properties=channel.port.properties,
        body=message.body,
    )
    return AmqpDelivery(content, settler)
