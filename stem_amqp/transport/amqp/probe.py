"""Looking at what is on the broker, with passive declares."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from types import TracebackType
from typing import Self, TypeVar

from stem_amqp.errors import TopologyMissingError
from stem_amqp.topology.entities import Entities, Exchange, Queue
from stem_amqp.transport.amqp.client import Channel
from stem_amqp.transport.amqp.connection import Connection
from stem_amqp.transport.amqp.failures import answered
from stem_amqp.transport.amqp.link import close_channel
from stem_amqp.transport.base import QueueStatus

T = TypeVar("T")
_LANES = 8
"""Channels on which queues are looked for at once."""


async def missing(connection: Connection, entities: Entities) -> list[Exchange | Queue]:
    """Return the exchanges and queues that are not there.

    Args:
        connection: the connection to ask on.
        entities: what to look for.

    Raises:
        BrokerRefusedError: the user may not look at one of them.
        BrokerUnavailableError: the broker does not answer.
    """
    async with Probe(connection) as probe:
        gone: list[Exchange | Queue] = [
            exchange for exchange in entities.exchanges if not await probe.exchange(exchange.name)
        ]
        gone += [queue for queue in entities.queues if await probe.queue(queue.name) is None]
        return gone


async def status(connection: Connection, queues: Iterable[str]) -> dict[str, QueueStatus | None]:
    """Return the status of each queue; None for one that is not there.

    Args:
        connection: the connection to ask on.
        queues: the queues' names.

    Raises:
        BrokerRefusedError: the user may not look at one of them, or another connection owns it.
        BrokerUnavailableError: the broker does not answer.
    """
    found: dict[str, QueueStatus | None] = {}
    names = tuple(dict.fromkeys(queues))
    waiting = iter(names)

    async def lane() -> None:
        async with Probe(connection) as probe:
            for queue in waiting:
                found[queue] = await probe.queue(queue)

    # each queue that is missing costs a channel: several at a time
    lanes = [asyncio.create_task(lane()) for _ in range(min(_LANES, len(names)))]
    try:
        await asyncio.gather(*lanes)
    finally:
        for one in lanes:
            one.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
    return {queue: found[queue] for queue in names}


class Probe:
    """Asks for exchanges and queues. The broker closes the channel with each that is missing.

    Args:
        connection: the connection to do it on.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel: Channel | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._channel is not None:
            await close_channel(self._channel)

    async def exchange(self, name: str) -> bool:
        """Return whether an exchange is there.

        Args:
            name: its name.

        Raises:
            BrokerRefusedError: the user may not look at it.
            BrokerUnavailableError: the broker does not answer.
        """
        channel = await self._open()
        call = channel.exchange_declare(name, passive=True)
        return await self._ask(call, f"cannot look at exchange {name!r}") is not None

    async def queue(self, name: str) -> QueueStatus | None:
        """Return a queue's status, or None if it is not there.

        Args:
            name: its name.

        Raises:
            BrokerRefusedError: the user may not look at it, or another connection owns it.
            BrokerUnavailableError: the broker does not answer.
        """
        channel = await self._open()
        call = channel.queue_declare(name, passive=True)
        answer = await self._ask(call, f"cannot look at queue {name!r}")
        if answer is None:
            return None
        return QueueStatus(
            name=name, ready=answer.message_count or 0, consumers=answer.consumer_count or 0
        )

    async def _open(self) -> Channel:
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._connection.channel(patience=self._connection.timeout)
        return self._channel

    async def _ask(self, call: Awaitable[T], subject: str) -> T | None:
        try:
            return await answered(call, subject, timeout=self._connection.timeout)
        except TopologyMissingError:
            self._channel = None
            return None
