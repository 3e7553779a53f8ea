"""One open connection to one broker. It ends once and is then replaced by another."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping

from stem_amqp.transport.amqp.client import Channel, Connection
from stem_amqp.transport.amqp.failures import LOST, aiormq_call, connect_error, reason
from stem_amqp.transport.amqp.features import broker_info
from stem_amqp.transport.amqp.port import lost
from stem_amqp.transport.amqp.quiet import quiet
from stem_amqp.transport.amqp.urls import BrokerUrl
from stem_amqp.transport.amqp.wire import Wire
from stem_amqp.transport.base import FRAME_MAX

logger = logging.getLogger("stem_amqp.transport")

CLOSE_TIMEOUT = 3.0
"""Seconds that the broker gets to say goodbye."""


class Link:
    """One open connection.

    Args:
        connection: the client library's connection.
        wire: the socket underneath.
        url: the broker.
    """

    def __init__(self, connection: Connection, wire: Wire, url: BrokerUrl) -> None:
        raw = connection.raw
        self.url = url
        self.info = broker_info(raw.server_properties)
        self._connection = connection
        self._raw = raw
        self._wire = wire
        self._closing = raw.closing

    @classmethod
    async def open(
        cls,
        url: BrokerUrl,
        *,
        properties: Mapping[str, str],
        timeout: float,
        ssl_context: ssl.SSLContext | None,
        server_name: str | None,
    ) -> Link:
        """Connect and log in.

        Args:
            url: the broker.
            properties: what the connection says of itself, for operators: ``connection_name`` and
                what else the management UI is to show.
            timeout: seconds for everything.
            ssl_context: for an ``amqps`` URL; None takes the system's authorities.
            server_name: the name to verify in the certificate; None takes the host.

        Raises:
            BrokerUnavailableError: there is no connection.
            BrokerRefusedError: the broker refuses the credentials or the virtual host.
        """
        wire = Wire(url, server_name=server_name)
        connection = Connection(
            url.url, wire=wire, ssl_context=ssl_context, client_properties=dict(properties)
        )
        # a broker that stalls the end of a TLS session would stretch the timeout
        cut = asyncio.get_running_loop().call_later(timeout, wire.abort)
        try:
            with quiet():
                await connection.connect(timeout=timeout)
        except BaseException as error:
            late = asyncio.get_running_loop().time() >= cut.when()
            wire.abort()
            await connection.close()
            if not isinstance(error, Exception):
                raise
            raise connect_error(
                TimeoutError() if late else error, url, refusal=wire.refusal(), timeout=timeout
            ) from error
        finally:
            cut.cancel()
        wire.opened()
        return cls(connection, wire, url)

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._wire.gone.done() or self._raw.is_closed

    @property
    def frame_max(self) -> int:
        """Bytes of a frame, as agreed with the broker; 0 stands for no limit there."""
        return self._raw.connection_tune.frame_max or FRAME_MAX

    @property
    def congested(self) -> bool:
        """Whether the broker reads more slowly than we write."""
        return self._wire.congested

    async def drained(self) -> None:
        """Wait until the broker has read enough for more to be written.

        Raises:
            ConnectionError: the connection has ended.
        """
        await self._wire.drained()

    async def blocked(self) -> bool:
        """Return whether the broker blocks publishers because of an alarm."""
        try:
            async with asyncio.timeout(0):
                await self._raw.ready()
        except TimeoutError:
            return not self.closed
        return False

    async def channel(self, *, timeout: float, confirms: bool = False) -> Channel:
        """Open a channel.

        Args:
            timeout: seconds for it.
            confirms: with publisher confirms, raising for returned messages.

        Raises:
            AMQPError: it could not be opened; TimeoutError and ConnectionError say so too.
        """
        with aiormq_call():
            return await self._raw.open_channel(timeout=timeout, confirms=confirms)

    async def lost(self) -> str:
        """Wait until the connection ends, and return why.

        A broker that is silent for two heartbeats is given up: aiormq would wait for more than
        three.
        """
        heartbeat: int = self._raw.connection_tune.heartbeat or 0
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while not self._closing.done():
            interval = heartbeat / 2 or CLOSE_TIMEOUT
            await asyncio.wait(
                {self._closing, self._wire.gone},
                timeout=interval,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._wire.gone.done():
                # aiormq hears of it through a queue that somebody may hold up
                await asyncio.wait({self._closing}, timeout=CLOSE_TIMEOUT)
                break
            # after a blocked event loop the heartbeats lie unread in the socket: look once more
            late = loop.time() - looked > 2 * interval
            looked = loop.time()
            silent = looked - self._wire.heard
            if heartbeat and not late and silent > 2 * heartbeat:
                self._wire.abort()
                return f"no sign of life from the broker for {silent:.0f} s"
            if not self._raw.is_opened and not self._closing.done():
                self._wire.abort()
                return "connection ended"
        if not self._closing.done() or self._closing.cancelled():
            return reason(None)
        return reason(self._closing.exception())

    def abort(self) -> None:
        """Cut the connection off, without a word to the broker."""
        self._wire.abort()

    async def close(self) -> None:
        """Close the connection, within `CLOSE_TIMEOUT`; closing twice is no error."""
        cut = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self._wire.abort)
        try:
            with aiormq_call():
                await self._connection.close()
        except LOST as error:
            logger.debug("closing the connection to %s: %s", self.url, reason(error))
        finally:
            cut.cancel()
            self._wire.abort()


async def close_channel(channel: Channel) -> None:
    """Close a channel, within `CLOSE_TIMEOUT`; the broker takes back what is not settled on it.

    Args:
        channel: the channel; one that is closed already is no error.
    """
    channel.port.end(lost(None))
    if channel.is_closed:
        return
    try:
        with aiormq_call():
            await channel.close(timeout=CLOSE_TIMEOUT)
    except LOST as error:
        logger.debug("closing channel %s: %s", channel, reason(error))
