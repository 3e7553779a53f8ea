"""The publishing channels: one for each exchange."""

from __future__ import annotations

import asyncio

from stem_amqp.transport.amqp.client import Channel
from stem_amqp.transport.amqp.connection import Connection
from stem_amqp.transport.amqp.link import close_channel
from stem_amqp.transport.amqp.tasks import SingleFlight

LANES = 64
"""Channels at most; exchanges beyond that share one. RabbitMQ allows 2047 on a connection."""
_SHARED = ""


class _Lane:
    """One channel, opened again when it is closed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.current: Channel | None = None
        self.open = SingleFlight(self._open, name="stem-amqp open publishing channel")

    async def _open(self) -> Channel:
        self.current = await self._connection.channel(confirms=True)
        return self.current

    async def close(self) -> None:
        await self.open.cancel()
        if self.current is not None:
            await close_channel(self.current)


class Lanes:
    """Channels with publisher confirms.

    The broker closes a channel for what it objects to in one message, a missing exchange above all,
    and with it all other confirms are lost. With a channel for each exchange that hits nothing
    else.

    Args:
        connection: the publishing connection.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lanes: dict[str, _Lane] = {}

    async def channel(self, exchange: str) -> Channel:
        """Return the open channel for an exchange, or open it.

        Args:
            exchange: the exchange's name.

        Raises:
            BrokerUnavailableError: the transport is closed, or the broker opens no channel.
        """
        lane = self._lanes.get(exchange) or self._new(exchange)
        channel = lane.current
        if channel is None or channel.is_closed:
            channel = await lane.open()
        return channel

    async def close(self) -> None:
        """Close them all; closing twice is no error."""
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))

    def _new(self, exchange: str) -> _Lane:
        key = exchange if len(self._lanes) < LANES else _SHARED
        return self._lanes.setdefault(key, _Lane(self._connection))
