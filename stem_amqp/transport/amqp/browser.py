"""Looking through a queue, message by message."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from pamqp.commands import Basic

from stem_amqp.transport.amqp.client import Channel
from stem_amqp.transport.amqp.connection import Connection
from stem_amqp.transport.amqp.content import Content
from stem_amqp.transport.amqp.delivery import AmqpDelivery
from stem_amqp.transport.amqp.failures import answered
from stem_amqp.transport.amqp.link import close_channel
from stem_amqp.transport.amqp.settler import Settler
from stem_amqp.transport.base import Delivery


@asynccontextmanager
async def browse(connection: Connection, queue: str) -> AsyncIterator[AsyncIterator[Delivery]]:
    """Look through a queue from its head, as far as it reaches now.

    What is not settled is returned with ``basic.nack``, which from RabbitMQ 4.3 on does not count
    towards the delivery limit, and before it does as much as a closed channel would.

    Args:
        connection: the consuming connection.
        queue: the queue's name.

    Raises:
        TopologyMissingError: there is no such queue.
        BrokerUnavailableError: the broker does not answer.
    """
    channel = await connection.channel(patience=connection.timeout)
    settler = Settler(channel.port)
    try:
        status = await answered(
            channel.queue_declare(queue, passive=True),
            f"cannot browse {queue!r}",
            timeout=connection.timeout,
        )
        deliveries = _deliveries(channel, settler, queue, status.message_count or 0, connection)
        async with aclosing(deliveries):
            yield deliveries
    finally:
        settler.close(give_back=True)
        await close_channel(channel)


async def _deliveries(
    channel: Channel, settler: Settler, queue: str, count: int, connection: Connection
) -> AsyncGenerator[Delivery, None]:
    # no further than what was there at first: returned messages and new ones would never end
    for _ in range(count):
        message = await answered(
            channel.basic_get(queue), f"cannot browse {queue!r}", timeout=connection.timeout
        )
        frame = message.delivery
        if not isinstance(frame, Basic.GetOk):
            return
        settler.add(frame.delivery_tag or 0)
        content = Content(
            tag=frame.delivery_tag or 0,
            redelivered=bool(frame.redelivered),
            exchange=frame.exchange or "",
            routing_key=frame.routing_key or "",
            properties=channel.port.properties,
            body=message.body,
        )
        yield AmqpDelivery(content, settler)
