"""The socket of a connection: it distributes received bytes, monitors activity and can be aborted."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pamqp.frame
from aiormq.connection import TransportFactory
from pamqp import commands
from pamqp.exceptions import PAMQPException
from pamqp.heartbeat import Heartbeat
from yarl import URL

from stem_amqp.transport.amqp.frames import FrameCutter
from stem_amqp.transport.amqp.open_channels import OpenChannels
from stem_amqp.transport.amqp.port import Port, lost
from stem_amqp.transport.amqp.urls import BrokerUrl

SIGN_OF_LIFE = 1.0
"""Seconds after which aiormq gets a heartbeat if all received frames went to ports."""
_HEARTBEAT = pamqp.frame.marshal(Heartbeat(), 0)


class _Protocol(asyncio.StreamReaderProtocol):
    """The protocol of asyncio's streams; received bytes go through the wire first."""

    def __init__(self, wire: Wire, reader: asyncio.StreamReader) -> None:
        super().__init__(reader, loop=asyncio.get_running_loop())
        self._wire = wire

    def data_received(self, data: bytes) -> None:
        """Process bytes from the socket."""
        rest = self._wire.receive(data)
        if rest:
            super().data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """Process the end of the connection."""
        super().connection_lost(exc)
        self._wire.ended(exc)


class _Writer(asyncio.StreamWriter):
    """A stream writer that keeps the wire's order, and drops what the broker would not accept."""

    def __init__(self, wire: Wire, *args: Any) -> None:
        super().__init__(*args)
        self._wire = wire

    def write(self, data: Any) -> None:
        """Write frames of open channels, unless the connection has ended: asyncio would log a warning."""
        self._wire.flush()
        admitted = self._wire.channels.admitted(data)
        if admitted and not self.transport.is_closing():
            super().write(admitted)


class Wire(TransportFactory):
    """One TCP or TLS connection to a broker.

    Args:
        url: the broker.
        server_name: the name to verify in its certificate; None uses the URL's host.
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
        self.channels = OpenChannels(self._closed)
        """The open channels."""
        self._pending: list[bytes] = []
        self._passed_on = 0.0
        self.last_received = self._loop.time()
        """The time of the last received bytes on the loop's clock."""
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection has ended; aiormq notices later, and a call in between would hang."""

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the URL of this wire; aiormq calls this.

        Args:
            url: aiormq's copy of the URL.
            **kwargs: aiormq's TLS provider, and options of asyncio's ``create_connection``.

        Raises:
            OSError: the connection or the TLS session failed.
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

    def receive(self, data: bytes) -> bytes:
        """Pass received bytes to the ports, and return the rest for aiormq.

        Args:
            data: the received bytes.
        """
        now = self.last_received = self._loop.time()
        if self._handshake is not None:
            self._handshake += data
        rest = self._cutter.feed(data)
        if rest:
            self._passed_on = now
        elif now - self._passed_on > SIGN_OF_LIFE and self._handshake is None:
            # aiormq closes a connection without received data
            self._passed_on = now
            return _HEARTBEAT
        return rest

    def ended(self, error: Exception | None) -> None:
        """Record that the connection has ended.

        Args:
            error: the reason; None for a normal end.
        """
        if not self.gone.done():
            self.gone.set_result(None)
        self._pending.clear()
        for port in list(self._ports.values()):
            port.end(lost(error))

    def send(self, data: bytes) -> None:
        """Write whole frames, batched with other writes of this turn of the event loop.

        Args:
            data: the frames.
        """
        if not self._pending:
            self._loop.call_soon(self.flush)
        self._pending.append(data)

    def confirm_close(self, number: int) -> None:
        """Reply to the broker's close of a channel, so that nothing is written to it in between.

        Args:
            number: the channel's number.
        """
        self.channels.closed(number)
        self.send(pamqp.frame.marshal(commands.Channel.CloseOk(), number))
        self.flush()

    def _closed(self, number: int) -> None:
        self._ports[number].end(lost(None))

    def flush(self) -> None:
        """Write the batched frames."""
        if not self._pending:
            return
        data = b"".join(self._pending)
        self._pending.clear()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the write buffer has room.

        Raises:
            ConnectionError: the connection has ended.
        """
        self.flush()
        if self._writer is not None:
            await self._writer.drain()

    def opened(self) -> None:
        """Discard the recorded handshake when the connection is open."""
        self._handshake = None

    def refusal(self) -> str:
        """Return the text with which the broker closed the connection during the handshake.

        aiormq drops this text if the broker refuses the virtual host.
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
        """Whether the write buffer is full because the broker reads too slowly."""
        if self._transport is None:
            return False
        _, high = self._transport.get_write_buffer_limits()
        return self._transport.get_write_buffer_size() >= high

    def abort(self) -> None:
        """Abort the connection without closing it at the broker."""
        if self._transport is not None:
            self._transport.abort()

    def abandon(self) -> None:
        """Abort the connection after its event loop was closed, when `abort` would do nothing."""
        connected = None if self._transport is None else self._transport.get_extra_info("socket")
        if connected is not None:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
