"""The publishing channels: one for each exchange."""

from __future__ import annotations

import asyncio

from stem_amqp.transport.amqp.confirms import Confirms
from stem_amqp.transport.amqp.connection import Connection
from stem_amqp.transport.amqp.link import close_channel
from stem_amqp.transport.amqp.tasks import SingleFlight, end

LANES = 64
"""Channels at most; exchanges beyond that share one. RabbitMQ allows 2047 on a connection."""
RENEWAL = 1.0
"""Seconds that a channel serves at least, although the broker refuses messages on it."""
_SHARED = ""


class _Lane:
    """One channel, opened again when it is closed."""

    def __init__(self, connection: Connection) -> None:
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
    """Close a channel once it owes no confirm."""
    await confirms.drained()
    await close_channel(confirms.channel)


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

    def renew(self, exchange: str, refusing: Confirms | None) -> None:
        """Publish on another channel from now on, since the broker refused a message on this one.

        Measured on RabbitMQ 3.10: when the node that leads a quorum queue is lost, a channel that
        publishes before there is a new leader is refused every message from then on, whereas a
        channel that is opened later is served.

        Args:
            exchange: the exchange's name.
            refusing: the channel.
        """
        lane = self._lanes.get(exchange) or self._lanes.get(_SHARED)
        if lane is not None and refusing is not None:
            lane.renew(refusing)

    async def close(self) -> None:
        """Close them all; closing twice is no error."""
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))

    def _new(self, exchange: str) -> _Lane:
        key = exchange if len(self._lanes) < LANES else _SHARED
        return self._lanes.setdefault(key, _Lane(self._connection))
