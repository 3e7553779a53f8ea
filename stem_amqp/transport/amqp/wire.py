"""The socket under a connection: whether the broker still talks, and the way to cut it off."""

from __future__ import annotations

import asyncio
from typing import Any

import pamqp.frame
from aiormq.connection import TransportFactory
from pamqp import commands
from pamqp.exceptions import PAMQPException
from yarl import URL

from stem_amqp.transport.amqp.urls import BrokerUrl


class _Reader(asyncio.StreamReader):
    """A stream reader that tells its wire what arrives."""

    def __init__(self, wire: Wire, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._wire = wire

    def feed_data(self, data: Any) -> None:
        """Take what came from the socket."""
        self._wire.hear(data)
        super().feed_data(data)


class _Writer(asyncio.StreamWriter):
    """A stream writer that drops what comes after the end; asyncio would log a warning for each."""

    def write(self, data: Any) -> None:
        """Write, unless the connection has ended."""
        if not self.transport.is_closing():
            super().write(data)


class Wire(TransportFactory):
    """One TCP or TLS connection to a broker.

    Args:
        url: the broker.
        server_name: the name to verify in its certificate; None takes the URL's host.
    """

    def __init__(self, url: BrokerUrl, *, server_name: str | None = None) -> None:
        self._url = url
        self._server_name = server_name
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._handshake: bytearray | None = bytearray()
        self.heard = self._loop.time()
        """When the broker last sent anything, a heartbeat at least."""

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the URL of this wire; aiormq calls this.

        Args:
            url: the URL as aiormq has it.
            **kwargs: aiormq's TLS provider, and options of asyncio's ``create_connection``.

        Raises:
            OSError: no connection, or no TLS session, could be had.
        """
        del url  # aiormq's copy of ours
        provider = kwargs.pop("ssl_context_provider")
        if self._url.tls:
            kwargs |= {"ssl": await provider.get_context(), "server_hostname": self._server_name}
        reader = _Reader(self, self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        transport, _ = await self._loop.create_connection(
            lambda: protocol, self._url.host, self._url.port, **kwargs
        )
        self._transport = transport
        return reader, _Writer(transport, protocol, reader, self._loop)

    def hear(self, data: bytes) -> None:
        """Note that the broker sent something.

        Args:
            data: what it sent.
        """
        self.heard = self._loop.time()
        if self._handshake is not None:
            self._handshake += data

    def opened(self) -> None:
        """Forget the handshake: the connection is open."""
        self._handshake = None

    def refusal(self) -> str:
        """Return the text with which the broker closed the connection during the handshake.

        aiormq drops it where the broker refuses the virtual host.
        """
        rest = bytes(self._handshake or b"")
        text = ""
        while rest:
            try:
                size, _, frame = pamqp.frame.unmarshal(rest)
            except PAMQPException:
                break
            rest = rest[size:]
            if isinstance(frame, commands.Connection.Close):
                text = frame.reply_text or ""
        return text

    @property
    def congested(self) -> bool:
        """Whether the broker reads more slowly than we write."""
        if self._transport is None:
            return False
        _, high = self._transport.get_write_buffer_limits()
        return self._transport.get_write_buffer_size() >= high

    def abort(self) -> None:
        """Cut the connection off, without a word to the broker."""
        if self._transport is not None:
            self._transport.abort()
