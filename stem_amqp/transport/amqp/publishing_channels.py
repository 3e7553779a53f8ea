"""The publishing channels: one for each exchange."""

from __future__ import annotations

import asyncio

from stem_amqp.cancellation import end
from stem_amqp.transport.amqp.confirms import Confirms
from stem_amqp.transport.amqp.connection import SupervisedConnection
from stem_amqp.transport.amqp.link import close_channel
from stem_amqp.transport.amqp.single_flight import SingleFlight

MAXIMUM_CHANNELS = 64
"""The most channels; further exchanges share one. RabbitMQ allows 2047 on a connection."""
RENEWAL = 1.0
"""The shortest lifetime of a channel on which the broker refuses messages, in seconds."""
_SHARED = ""


class _ReopenedChannel:
    """A channel that is reopened when it is closed."""

    def __init__(self, connection: SupervisedConnection) -> None:
        self._connection = connection
        self.current: Confirms | None = None
        self.open = SingleFlight(self._open, name="stem-amqp open publishing channel")
        self._opened_at = 0.0
        self._retiring: set[asyncio.Task[None]] = set()

    async def _open(self) -> Confirms:
        self.current = Confirms(await self._connection.channel(confirms=True))
        self._opened_at = asyncio.get_running_loop().time()
        return self.current

    def renew(self, refusing: Confirms) -> None:
        now = asyncio.get_running_loop().time()
        if self.current is not refusing or now - self._opened_at < RENEWAL:
            return
        self.current = None
        retiring = asyncio.create_task(_retire(refusing), name="stem-amqp retire channel")
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def close(self) -> None:
        await self.open.cancel()
        await asyncio.gather(*map(end, tuple(self._retiring)))
        if self.current is not None:
            await close_channel(self.current.channel)


async def _retire(confirms: Confirms) -> None:
    """Close a channel when no confirm is outstanding."""
    await confirms.drained()
    await close_channel(confirms.channel)


class PublishingChannels:
    """Channels with publisher confirms, one for each exchange.

    The broker closes a channel for an error in one message, such as a missing exchange, and all other
    outstanding confirms are lost. With a channel for each exchange, other exchanges are not affected.

    Args:
        connection: the publishing connection.
    """

    def __init__(self, connection: SupervisedConnection) -> None:
        self._connection = connection
        self._channels: dict[str, _ReopenedChannel] = {}

    def ready(self, exchange: str) -> Confirms | None:
        """Return the open channel for an exchange, or None if it must be opened first.

        Args:
            exchange: the exchange's name.
        """
        channel = self._channels.get(exchange)
        if channel is None or channel.current is None or not channel.current.open:
            return None
        return channel.current

    async def open(self, exchange: str) -> Confirms:
        """Return the channel for an exchange; open it if necessary.

        Args:
            exchange: the exchange's name.

        Raises:
            BrokerUnavailableError: the transport is closed, or the broker opens no channel.
        """
        channel = self._channels.get(exchange) or self._new(exchange)
        if channel.current is not None and channel.current.open:
            return channel.current
        return await channel.open()

    def renew(self, exchange: str, refusing: Confirms | None) -> None:
        """Replace a channel on which the broker refused a message.

        Measured on RabbitMQ 3.10: when the leader node of a quorum queue is lost, a channel that publishes
        before a new leader is elected has all its messages refused from then on; a channel that is opened
        later works.

        Args:
            exchange: the exchange's name.
            refusing: the channel.
        """
        channel = self._channels.get(exchange) or self._channels.get(_SHARED)
        if channel is not None and refusing is not None:
            channel.renew(refusing)

    async def close(self) -> None:
        """Close all channels; a second call does nothing."""
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))

    def _new(self, exchange: str) -> _ReopenedChannel:
        key = exchange if len(self._channels) < MAXIMUM_CHANNELS else _SHARED
        return self._channels.setdefault(key, _ReopenedChannel(self._connection))
