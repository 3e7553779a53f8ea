"""Check which exchanges and queues exist, with passive declarations."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self, TypeVar

from aio_pika.abc import AbstractChannel

from stem_amqp.errors import TopologyMissingError
from stem_amqp.topology.entities import Entities, Exchange, Queue
from stem_amqp.transport.amqp.connection import SupervisedConnection
from stem_amqp.transport.amqp.failures import answered
from stem_amqp.transport.base import QueueStatus

T = TypeVar("T")
_PARALLEL = 8
"""The number of channels for checks in parallel."""


async def missing(connection: SupervisedConnection, entities: Entities) -> list[Exchange | Queue]:
    """Return the exchanges and queues that do not exist.

    Args:
        connection: the connection to ask on.
        entities: the entities to check.

    Raises:
        BrokerRefusedError: the user may not access one of them.
        BrokerUnavailableError: the broker does not answer.
    """
    async with Probe(connection) as probe:
        gone: list[Exchange | Queue] = [
            exchange for exchange in entities.exchanges if not await probe.exchange(exchange.name)
        ]
        gone += [queue for queue in entities.queues if await probe.queue(queue.name) is None]
        return gone


async def status(
    connection: SupervisedConnection, queues: Iterable[str]
) -> dict[str, QueueStatus | None]:
    """Return the status of each queue; None for one that does not exist.

    Args:
        connection: the connection to ask on.
        queues: the queues' names.

    Raises:
        BrokerRefusedError: the user may not access one of them, or another connection owns it.
        BrokerUnavailableError: the broker does not answer.
    """
    found: dict[str, QueueStatus | None] = {}
    names = tuple(dict.fromkeys(queues))
    waiting = iter(names)

    async def check() -> None:
        async with Probe(connection) as probe:
            for queue in waiting:
                found[queue] = await probe.queue(queue)

    # the broker closes the channel for each missing queue, so use several channels
    checks = [asyncio.create_task(check()) for _ in range(min(_PARALLEL, len(names)))]
    try:
        await asyncio.gather(*checks)
    finally:
        for one in checks:
            one.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
    return {queue: found[queue] for queue in names}


class Probe:
    """Checks exchanges and queues. The broker closes the channel for each missing one.

    Args:
        connection: the connection to do it on.
    """

    def __init__(self, connection: SupervisedConnection) -> None:
        self._connection = connection
        self._channel: AbstractChannel | None = None
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._opened.aclose()

    async def exchange(self, name: str) -> bool:
        """Return whether an exchange exists.

        Args:
            name: its name.

        Raises:
            BrokerRefusedError: the user may not access it.
            BrokerUnavailableError: the broker does not answer.
        """
        channel = await self._open()
        call = channel.declare_exchange(name, passive=True)
        return await self._ask(call, f"cannot check exchange {name!r}") is not None

    async def queue(self, name: str) -> QueueStatus | None:
        """Return a queue's status, or None if it does not exist.

        Args:
            name: its name.

        Raises:
            BrokerRefusedError: the user may not access it, or another connection owns it.
            BrokerUnavailableError: the broker does not answer.
        """
        channel = await self._open()
        call = channel.declare_queue(name, passive=True)
        queue = await self._ask(call, f"cannot check queue {name!r}")
        if queue is None:
            return None
        answer = queue.declaration_result
        return QueueStatus(
            name=name, ready=answer.message_count or 0, consumers=answer.consumer_count or 0
        )

    async def _open(self) -> AbstractChannel:
        if self._channel is None or self._channel.is_closed:
            await self._opened.aclose()
            self._channel = await self._opened.enter_async_context(self._connection.plain_channel())
        return self._channel

    async def _ask(self, call: Awaitable[T], subject: str) -> T | None:
        try:
            return await answered(call, subject, timeout=self._connection.timeout)
        except TopologyMissingError:
            self._channel = None
            return None
