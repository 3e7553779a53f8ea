"""Declare and delete exchanges, queues and bindings, on short-lived channels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from aio_pika.abc import AbstractChannel

from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.transport.amqp.client import Channel
from stem_amqp.transport.amqp.connection import SupervisedConnection
from stem_amqp.transport.amqp.failures import answered
from stem_amqp.transport.amqp.link import close_channel

T = TypeVar("T")


async def declare(connection: SupervisedConnection, entities: Entities) -> None:
    """Declare entities in order; existing ones must be equal.

    They are declared one after the other, so that an error refers to the right entity.

    Args:
        connection: the connection to do it on.
        entities: the entities.

    Raises:
        TopologyMismatchError: an entity exists with other arguments.
        TopologyMissingError: a binding's source or destination does not exist.
        BrokerRefusedError: the user may not declare an entity.
        BrokerUnavailableError: the broker does not answer.
    """
    async with _declarer(connection) as declarer:
        for exchange in entities.exchanges:
            await declarer.exchange(exchange)
        for queue in entities.queues:
            await declarer.queue(queue)
        for binding in entities.bindings:
            await declarer.binding(binding)


async def delete(connection: SupervisedConnection, entities: Entities) -> None:
    """Delete exchanges and queues with their bindings; missing ones are ignored.

    Args:
        connection: the connection to do it on.
        entities: the entities.

    Raises:
        BrokerRefusedError: the user may not delete an entity, or it is in exclusive use.
        BrokerUnavailableError: the broker does not answer.
    """
    async with _declarer(connection) as declarer:
        for queue in entities.queues:
            name = queue.name
            await declarer.answer(
                declarer.channel.queue_delete(name), f"cannot delete queue {name!r}"
            )
        for exchange in reversed(entities.exchanges):
            name = exchange.name
            await declarer.answer(
                declarer.channel.exchange_delete(name), f"cannot delete exchange {name!r}"
            )


async def rebind(
    connection: SupervisedConnection, bind: Sequence[Binding], unbind: Sequence[Binding]
) -> None:
    """Add bindings and immediately remove others, without waiting for a reply in between.

    It uses aiormq's channel: aio-pika waits for the reply to each binding, and during a round trip a
    message would be routed both ways. RabbitMQ applies them in this order. If it refuses a new binding, it
    closes the channel and applies nothing more. Only the last reply is awaited.

    Args:
        connection: the connection to do it on.
        bind: the bindings to add.
        unbind: the bindings to remove; missing ones are ignored.

    Raises:
        TopologyMissingError: a source or destination of a new binding does not exist.
        BrokerRefusedError: the user may not bind.
        BrokerUnavailableError: the broker does not answer.
    """
    channel = await connection.channel(patience=connection.timeout)
    try:
        for binding in bind[:-1] if not unbind else bind:
            await _bind(channel, binding, connection.timeout, nowait=True)
        if not unbind and bind:
            await _bind(channel, bind[-1], connection.timeout)
        for binding in unbind:
            await _unbind(channel, binding, connection.timeout)
    finally:
        await close_channel(channel)


async def purge(connection: SupervisedConnection, queue: str) -> int:
    """Purge a queue, and return the number of dropped messages.

    Args:
        connection: the connection to do it on.
        queue: the queue's name.

    Raises:
        TopologyMissingError: there is no such queue.
        BrokerRefusedError: the user may not read it.
        BrokerUnavailableError: the broker does not answer.
    """
    async with _declarer(connection) as declarer:
        found = await declarer.channel.get_queue(queue, ensure=False)
        purged = await declarer.answer(found.purge(), f"cannot purge {queue!r}")
        return purged.message_count or 0


@asynccontextmanager
async def _declarer(connection: SupervisedConnection) -> AsyncIterator[_Declarer]:
    async with connection.plain_channel() as channel:
        yield _Declarer(channel, connection.timeout)


class _Declarer:
    """A channel for declarations. The broker closes it when it refuses one."""

    def __init__(self, channel: AbstractChannel, timeout: float) -> None:
        self.channel = channel
        self._timeout = timeout

    async def exchange(self, exchange: Exchange) -> None:
        await self.answer(
            self.channel.declare_exchange(
                exchange.name,
                exchange.type,
                durable=True,
                internal=exchange.internal,
                arguments=dict(exchange.arguments),
            ),
            f"cannot declare exchange {exchange.name!r}",
        )

    async def queue(self, queue: Queue) -> None:
        await self.answer(
            self.channel.declare_queue(queue.name, durable=True, arguments=dict(queue.arguments)),
            f"cannot declare queue {queue.name!r}",
        )

    async def binding(self, binding: Binding) -> None:
        find = self.channel.get_exchange if binding.to_exchange else self.channel.get_queue
        destination = await find(binding.destination, ensure=False)
        await self.answer(
            destination.bind(binding.source, binding.key, arguments=dict(binding.arguments)),
            _binding_subject("bind", binding),
        )

    async def answer(self, call: Awaitable[T], subject: str) -> T:
        return await answered(call, subject, timeout=self._timeout)


async def _bind(
    channel: Channel, binding: Binding, timeout: float, *, nowait: bool = False
) -> None:
    bind = channel.exchange_bind if binding.to_exchange else channel.queue_bind
    what, arguments = (binding.destination, binding.source, binding.key), binding.arguments
    call: Awaitable[object]
    if nowait:
        call = bind(*what, nowait=True, arguments=dict(arguments))
    else:
        call = bind(*what, arguments=dict(arguments))
    await answered(call, _binding_subject("bind", binding), timeout=timeout)


async def _unbind(channel: Channel, binding: Binding, timeout: float) -> None:
    unbind = channel.exchange_unbind if binding.to_exchange else channel.queue_unbind
    call = unbind(
        binding.destination, binding.source, binding.key, arguments=dict(binding.arguments)
    )
    await answered(call, _binding_subject("unbind", binding), timeout=timeout)


def _binding_subject(verb: str, binding: Binding) -> str:
    preposition = "to" if verb == "bind" else "from"
    return (
        f"cannot {verb} {binding.destination!r} {preposition} exchange {binding.source!r}"
        f" with key {binding.key!r}"
    )
