"""The socket under a connection: whether the broker still talks, and the way to cut it off."""

from __future__ import annotations

import asyncio
from typing import Any

import pamqp.frame
from aiormq.connection import TransportFactory
from pamqp import commands
from pamqp.exceptions import PAMQPException
from pamqp.heartbeat import Heartbeat
from yarl import URL

from stem_amqp.transport.amqp.frames import FrameCutter
from stem_amqp.transport.amqp.port import Port, lost
from stem_amqp.transport.amqp.urls import BrokerUrl

SIGN_OF_LIFE = 1.0
"""Seconds after which aiormq is told that the connection lives, when all else went to ports."""
_HEARTBEAT = pamqp.frame.marshal(Heartbeat(), 0)


class _Protocol(asyncio.StreamReaderProtocol):
    """The protocol of asyncio's streams; what arrives goes through the wire first."""

    def __init__(self, wire: Wire, reader: asyncio.StreamReader) -> None:
        super().__init__(reader, loop=asyncio.get_running_loop())
        self._wire = wire

    def data_received(self, data: bytes) -> None:
        """Take what came from the socket."""
        rest = self._wire.hear(data)
        if rest:
            super().data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of the connection."""
        super().connection_lost(exc)
        self._wire.ended(exc)


class _Writer(asyncio.StreamWriter):
    """A stream writer that keeps to the wire's order, and drops what comes after the end."""

    def __init__(self, wire: Wire, *args: Any) -> None:
        super().__init__(*args)
        self._wire = wire

    def write(self, data: Any) -> None:
        """Write, unless the connection has ended; asyncio would log a warning for each."""
        self._wire.flush()
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
        self._writer: _Writer | None = None
        self._handshake: bytearray | None = bytearray()
        self._ports: dict[int, Port] = {}
        self._cutter = FrameCutter(self._ports)
        self._pending: list[bytes] = []
        self._passed_on = 0.0
        self.heard = self._loop.time()
        """When the broker last sent anything, a heartbeat at least."""
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done once it has ended; aiormq notices a little later, and hangs on what it is asked for
        in between."""

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
        reader = asyncio.StreamReader(loop=self._loop)
        protocol = _Protocol(self, reader)
        transport, _ = await self._loop.create_connection(
            lambda: protocol, self._url.host, self._url.port, **kwargs
        )
        self._transport = transport
        self._writer = _Writer(self, transport, protocol, reader, self._loop)
        return reader, self._writer

    def port(self, number: int) -> Port:
        """Return a new port for a channel that is about to be opened.

        Args:
            number: the channel's number.
        """
        port = self._ports[number] = Port(number, self)
        return port

    def hear(self, data: bytes) -> bytes:
        """Give what the broker sent to the ports, and return what is for aiormq.

        Args:
            data: what it sent.
        """
        now = self.heard = self._loop.time()
        if self._handshake is not None:
            self._handshake += data
        rest = self._cutter.feed(data)
        if rest:
            self._passed_on = now
        elif now - self._passed_on > SIGN_OF_LIFE and self._handshake is None:
            # aiormq gives up a connection that it hears nothing from
            self._passed_on = now
            return _HEARTBEAT
        return rest

    def ended(self, error: Exception | None) -> None:
        """Note that the connection has ended.

        Args:
            error: why; None for a plain end.
        """
        if not self.gone.done():
            self.gone.set_result(None)
        self._pending.clear()
        for port in list(self._ports.values()):
            port.end(lost(error))

    def send(self, data: bytes) -> None:
        """Write whole frames, together with what else is written in this turn of the loop.

        Args:
            data: the frames.
        """
        if not self._pending:
            self._loop.call_soon(self.flush)
        self._pending.append(data)

    def flush(self) -> None:
        """Write what has been collected."""
        if not self._pending:
            return
        data = b"".join(self._pending)
        self._pending.clear()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the broker has read enough for more to be written.

        Raises:
            ConnectionError: the connection has ended.
        """
        self.flush()
        if self._writer is not None:
            await self._writer.drain()

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
