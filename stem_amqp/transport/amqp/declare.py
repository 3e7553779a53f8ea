"""Declaring and deleting exchanges, queues and bindings, on throw-away channels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.transport.amqp.client import Channel
from stem_amqp.transport.amqp.connection import Connection
from stem_amqp.transport.amqp.failures import answered
from stem_amqp.transport.amqp.link import close_channel

T = TypeVar("T")


async def declare(connection: Connection, entities: Entities) -> None:
    """Declare everything, in order; what is there already must be the same.

    One after the other: AMQP keeps the order, and a refusal names what it is about.

    Args:
        connection: the connection to do it on.
        entities: what to declare.

    Raises:
        TopologyMismatchError: something is there with other arguments.
        TopologyMissingError: a binding's source or destination is not there.
        BrokerRefusedError: the user may not declare it.
        BrokerUnavailableError: the broker does not answer.
    """
    async with _throw_away(connection) as desk:
        for exchange in entities.exchanges:
            await desk.exchange(exchange)
        for queue in entities.queues:
            await desk.queue(queue)
        for binding in entities.bindings:
            await desk.binding(binding)


async def delete(connection: Connection, entities: Entities) -> None:
    """Delete exchanges and queues; what is not there is no error. Bindings go with them.

    Args:
        connection: the connection to do it on.
        entities: what to delete.

    Raises:
        BrokerRefusedError: the user may not delete it, or it is in exclusive use.
        BrokerUnavailableError: the broker does not answer.
    """
    async with _throw_away(connection) as desk:
        for queue in entities.queues:
            name = queue.name
            await desk.answer(desk.channel.queue_delete(name), f"cannot delete queue {name!r}")
        for exchange in reversed(entities.exchanges):
            name = exchange.name
            await desk.answer(
                desk.channel.exchange_delete(name), f"cannot delete exchange {name!r}"
            )


async def rebind(
    connection: Connection, bind: Sequence[Binding], unbind: Sequence[Binding]
) -> None:
    """Add bindings and take others away right after, without waiting for an answer in between.

    RabbitMQ does them in this order. If it refuses a new one, it closes the channel and does nothing
    more. The last answer is waited for.

    Args:
        connection: the connection to do it on.
        bind: what to add.
        unbind: what to take away; what is not there is no error.

    Raises:
        TopologyMissingError: a source or destination of a new binding is not there.
        BrokerRefusedError: the user may not bind.
        BrokerUnavailableError: the broker does not answer.
    """
    async with _throw_away(connection) as desk:
        for binding in bind[:-1] if not unbind else bind:
            await desk.binding(binding, nowait=True)
        if not unbind and bind:
            await desk.binding(bind[-1])
        for binding in unbind:
            await desk.unbinding(binding)


async def purge(connection: Connection, queue: str) -> int:
    """Drop every ready message of a queue, and return how many.

    Args:
        connection: the connection to do it on.
        queue: the queue's name.

    Raises:
        TopologyMissingError: there is no such queue.
        BrokerRefusedError: the user may not read it.
        BrokerUnavailableError: the broker does not answer.
    """
    async with _throw_away(connection) as desk:
        purged = await desk.answer(desk.channel.queue_purge(queue), f"cannot purge {queue!r}")
        return purged.message_count or 0


@asynccontextmanager
async def _throw_away(connection: Connection) -> AsyncIterator[_Desk]:
    channel = await connection.channel(patience=connection.timeout)
    try:
        yield _Desk(channel, connection.timeout)
    finally:
        await close_channel(channel)


class _Desk:
    """A channel to declare on. The broker closes it with what it refuses."""

    def __init__(self, channel: Channel, timeout: float) -> None:
        self.channel = channel
        self._timeout = timeout

    async def exchange(self, exchange: Exchange) -> None:
        await self.answer(
            self.channel.exchange_declare(
                exchange.name,
                exchange_type=exchange.type,
                durable=True,
                internal=exchange.internal,
                arguments=dict(exchange.arguments),
            ),
            f"cannot declare exchange {exchange.name!r}",
        )

    async def queue(self, queue: Queue) -> None:
        await self.answer(
            self.channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments)),
            f"cannot declare queue {queue.name!r}",
        )

    async def binding(self, binding: Binding, *, nowait: bool = False) -> None:
        bind = self.channel.exchange_bind if binding.to_exchange else self.channel.queue_bind
        what, arguments = (binding.destination, binding.source, binding.key), binding.arguments
        call: Awaitable[object]
        if nowait:
            call = bind(*what, nowait=True, arguments=dict(arguments))
        else:
            call = bind(*what, arguments=dict(arguments))
        await self.answer(
            call,
            f"cannot bind {binding.destination!r} to exchange {binding.source!r}"
            f" with key {binding.key!r}",
        )

    async def unbinding(self, binding: Binding) -> None:
        unbind = self.channel.exchange_unbind if binding.to_exchange else self.channel.queue_unbind
        await self.answer(
            unbind(
                binding.destination,
                binding.source,
                binding.key,
                arguments=dict(binding.arguments),
            ),
            f"cannot unbind {binding.destination!r} from exchange {binding.source!r}"
            f" with key {binding.key!r}",
        )

    async def answer(self, call: Awaitable[T], subject: str) -> T:
        return await answered(call, subject, timeout=self._timeout)
