"""One open connection to one broker. When it ends, another link replaces it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping

from aio_pika.abc import AbstractChannel

from stem_amqp.transport.amqp.client import Channel, ClientConnection
from stem_amqp.transport.amqp.failures import LOST, aiormq_call, connect_error, reason
from stem_amqp.transport.amqp.log_filter import filtered_log
from stem_amqp.transport.amqp.port import lost
from stem_amqp.transport.amqp.urls import BrokerUrl
from stem_amqp.transport.amqp.wire import Wire
from stem_amqp.transport.features import broker_info
from stem_amqp.transport.publication import FRAME_MAX

logger = logging.getLogger("stem_amqp.transport")

CLOSE_TIMEOUT = 3.0
"""Seconds to wait for the broker's reply to a close."""


class Link:
    """One open connection.

    Args:
        connection: the client library's connection.
        wire: the socket underneath.
        url: the broker.
    """

    def __init__(self, connection: ClientConnection, wire: Wire, url: BrokerUrl) -> None:
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
            properties: the client properties, such as ``connection_name``, for the management UI.
            timeout: seconds for everything.
            ssl_context: for an ``amqps`` URL; None uses the system's authorities.
            server_name: the name to verify in the certificate; None uses the host.

        Raises:
            BrokerUnavailableError: there is no connection.
            BrokerRefusedError: the broker refuses the credentials or the virtual host.
        """
        wire = Wire(url, server_name=server_name)
        connection = ClientConnection(
            url.url, wire=wire, ssl_context=ssl_context, client_properties=dict(properties)
        )
        # a broker that stalls the end of a TLS session would extend the timeout
        cut = asyncio.get_running_loop().call_later(timeout, wire.abort)
        try:
            with filtered_log():
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
        """The negotiated size of a frame in bytes; the default if there is no limit."""
        return self._raw.connection_tune.frame_max or FRAME_MAX

    @property
    def congested(self) -> bool:
        """Whether the write buffer is full because the broker reads too slowly."""
        return self._wire.congested

    async def drained(self) -> None:
        """Wait until the write buffer has room.

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
        """Open a channel with a port.

        Args:
            timeout: the timeout in seconds.
            confirms: with publisher confirms, raising for returned messages.

        Raises:
            AMQPError: the channel could not be opened; or TimeoutError or ConnectionError.
        """
        with aiormq_call():
            return await self._raw.open_channel(timeout=timeout, confirms=confirms)

    async def plain_channel(self, *, timeout: float) -> AbstractChannel:
        """Open a channel of aio-pika, without confirms.

        Args:
            timeout: the timeout in seconds.

        Raises:
            AMQPError: the channel could not be opened; or TimeoutError or ConnectionError.
        """
        if self.closed:
            raise lost(None)
        with aiormq_call():
            async with asyncio.timeout(timeout):
                return await self._connection.channel(publisher_confirms=False)

    async def lost(self) -> str:
        """Wait until the connection ends, and return why.

        A connection without data for two heartbeats is aborted; aiormq would wait for more than three.
        """
        heartbeat: int = self._raw.connection_tune.heartbeat or 0
        loop = asyncio.get_running_loop()
        checked_at = loop.time()
        while not self._closing.done():
            interval = heartbeat / 2 or CLOSE_TIMEOUT
            await asyncio.wait(
                {self._closing, self._wire.gone},
                timeout=interval,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._wire.gone.done():
                # aiormq learns of it through a queue that may be blocked
                await asyncio.wait({self._closing}, timeout=CLOSE_TIMEOUT)
                break
            # after a blocked event loop, heartbeats may be unread in the socket: check again
            late = loop.time() - checked_at > 2 * interval
            checked_at = loop.time()
            silent = checked_at - self._wire.last_received
            if heartbeat and not late and silent > 2 * heartbeat:
                self._wire.abort()
                return f"no data from the broker for {silent:.0f} s"
            if not self._raw.is_opened and not self._closing.done():
                self._wire.abort()
                return "connection ended"
        if not self._closing.done() or self._closing.cancelled():
            return reason(None)
        return reason(self._closing.exception())

    def abort(self) -> None:
        """Abort the connection without closing it at the broker."""
        self._wire.abort()

    def abandon(self) -> None:
        """Abort the connection after its event loop was closed."""
        self._wire.abandon()

    async def close(self) -> None:
        """Close the connection within `CLOSE_TIMEOUT`; a second call does nothing."""
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
    """Close a channel within `CLOSE_TIMEOUT`; the broker requeues its unsettled deliveries.

    Args:
        channel: the channel; a closed one is ignored.
    """
    channel.port.end(lost(None))
    if channel.is_closed:
        return
    try:
        with aiormq_call():
            await channel.close(timeout=CLOSE_TIMEOUT)
    except LOST as error:
        logger.debug("closing channel %s: %s", channel, reason(error))


async def close_plain_channel(channel: AbstractChannel) -> None:
    """Close a channel of aio-pika, within `CLOSE_TIMEOUT`.

    Args:
        channel: the channel; a closed one is ignored.
    """
    if channel.is_closed:
        return
    try:
        with aiormq_call():
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await channel.close()
    except LOST as error:
        logger.debug("closing channel %s: %s", channel, reason(error))
