"""The publishing channels: one for each exchange."""

from __future__ import annotations

import asyncio

from stem_amqp.transport.amqp.confirms import Confirms
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
        self.current: Confirms | None = None
        self.open = SingleFlight(self._open, name="stem-amqp open publishing channel")

    async def _open(self) -> Confirms:
        self.current = Confirms(await self._connection.channel(confirms=True))
        return self.current

    async def close(self) -> None:
        await self.open.cancel()
        if self.current is not None:
            await close_channel(self.current.channel)


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

    def ready(self, exchange: str) -> Confirms | None:
        """Return the channel for an exchange, or None if it is to be opened first.

        Args:
            exchange: the exchange's name.
        """
        lane = self._lanes.get(exchange)
        if lane is None or lane.current is None or not lane.current.open:
            return None
        return lane.current

    async def open(self, exchange: str) -> Confirms:
        """Return the channel for an exchange, opened if need be.

        Args:
            exchange: the exchange's name.

        Raises:
            BrokerUnavailableError: the transport is closed, or the broker opens no channel.
        """
        lane = self._lanes.get(exchange) or self._new(exchange)
        if lane.current is not None and lane.current.open:
            return lane.current
        return await lane.open()

    async def close(self) -> None:
        """Close them all; closing twice is no error."""
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))

    def _new(self, exchange: str) -> _Lane:
        key = exchange if len(self._lanes) < LANES else _SHARED
        return self._lanes.setdefault(key, _Lane(self._connection))
