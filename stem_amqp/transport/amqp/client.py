"""aio-pika's connection and aiormq's channel, adapted for high throughput."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import aiormq
from aio_pika.abc import UnderlayConnection
from aiormq.abc import AbstractConnection, TimeoutType
from aiormq.exceptions import AMQPError, ChannelInvalidStateError
from typing_extensions import override
from yarl import URL

from stem_amqp.text import redacted
from stem_amqp.transport.amqp.port import lost
from stem_amqp.transport.amqp.urls import virtual_host_of
from stem_amqp.transport.amqp.wire import Wire


class Channel(aiormq.Channel):
    """A channel with a port that bypasses aiormq for frequent frames.

    A call after the broker has closed the channel fails at once: its frame is not sent, and aiormq
    records the close later than the port.
    """

    def __init__(
        self, connection: AbstractConnection, number: int, wire: Wire, **options: Any
    ) -> None:
        super().__init__(connection, number, **options)
        self.port = wire.port(number)
        self.closing.add_done_callback(self._closed)

    @property
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Hold the channel for writing.

        Raises:
            ChannelInvalidStateError: it is closed.
        """
        async with super().lock:
            if isinstance(self.port.error, AMQPError):
                raise ChannelInvalidStateError(f"{self!r} is closed by the broker")
            yield

    def _closed(self, closing: asyncio.Future[Any]) -> None:
        error = None if closing.cancelled() else closing.exception()
        # aiormq uses a CancelledError when it closes a channel itself; a task must not receive it
        self.port.end(error if isinstance(error, Exception) else lost(error))


class RawConnection(aiormq.Connection):
    """A connection with an unbounded frame queue.

    With aiormq's limit, the reply to the broker's close of a channel is dropped when the queue is full,
    and a writer that waits for a free slot waits for ever when the connection ends. The queues of
    channels have the same problem: the frames of an abandoned channel would block the reader of all
    channels. The queues remain small, since they contain replies only; other frames go to ports.
    """

    FRAME_BUFFER_SIZE = 0

    def __init__(self, *args: Any, transport_factory: Wire, **options: Any) -> None:
        super().__init__(*args, transport_factory=transport_factory, **options)
        # aiormq decodes the name twice, which changes a name that contains %2F
        self.vhost = virtual_host_of(self.url)
        self._wire = transport_factory
        self._numbers = itertools.count(1)

    def __str__(self) -> str:
        """Return the URL without its secrets: aiormq writes it to its log."""
        return redacted(str(self.url))

    def next_number(self) -> int:
        """Return an unused channel number, as long as there is one.

        A late frame of a closed channel must not reach another channel: its confirms would be attributed
        to the wrong messages.
        """
        limit = self.connection_tune.channel_max or 65535
        number = next(self._numbers)
        while number > limit or number in self.channels:
            if number > limit:
                self._numbers = itertools.count(1)
            number = next(self._numbers)
        return number

    async def open_channel(self, *, timeout: float | None, confirms: bool) -> Channel:
        """Open a channel with a port.

        Args:
            timeout: the timeout in seconds; None waits without a limit.
            confirms: with publisher confirms, raising for returned messages.

        Raises:
            AMQPError: the channel could not be opened.
        """
        if self.is_closed:
            raise ChannelInvalidStateError(f"{self!r} is closed")
        number = self.next_number()
        channel = Channel(
            self,
            number,
            self._wire,
            publisher_confirms=confirms,
            on_return_raises=confirms,
            frame_buffer=0,
        )
        self.channels[number] = channel
        await channel.open(timeout=timeout)
        return channel

    @override
    async def channel(
        self,
        channel_number: int | None = None,
        publisher_confirms: bool = True,
        frame_buffer_size: int = 0,
        timeout: TimeoutType = None,
        **kwargs: Any,
    ) -> Channel:
        """Open a channel for aio-pika; it has a port and an unused number, as all channels have.

        Args:
            channel_number: ignored.
            publisher_confirms: with publisher confirms, raising for returned messages.
            frame_buffer_size: ignored: the queue is unbounded.
            timeout: the timeout in seconds; None waits without a limit.
            **kwargs: ignored.

        Raises:
            AMQPError: the channel could not be opened.
        """
        return await self.open_channel(timeout=timeout, confirms=publisher_confirms)


class _Underlay(UnderlayConnection):
    """Lets aio-pika open our aiormq connection."""

    @classmethod
    async def make_connection(
        cls, url: URL, timeout: float | None = None, **options: Any
    ) -> AbstractConnection:
        """Connect and log in.

        Args:
            url: the broker's URL.
            timeout: the timeout in seconds.
            **options: the options of aiormq's connection.
        """
        connection = RawConnection(url, **options)
        await asyncio.wait_for(connection.connect(), timeout)
        await connection.ready()
        return connection


class ClientConnection(aio_pika.Connection):
    """aio-pika's plain connection, with our socket and channels."""

    def __init__(self, url: URL, *, wire: Wire, **options: Any) -> None:
        super().__init__(url, **options)
        self.kwargs["transport_factory"] = wire

    def __str__(self) -> str:
        """Return the URL without its secrets: aio-pika writes it to its log."""
        return redacted(str(self.url))

    async def connect(self, timeout: float | None = None) -> None:
        """Connect and log in.

        Args:
            timeout: the timeout in seconds.
        """
        self.transport = await _Underlay.connect(
            self.url, self._on_connection_close, timeout=timeout, **self.kwargs
        )
        await self._on_connected()

    @property
    def raw(self) -> RawConnection:
        """The aiormq connection underneath.

        Raises:
            RuntimeError: it is not connected.
        """
        if self.transport is None or not isinstance(self.transport.connection, RawConnection):
            raise RuntimeError("not connected")
        return self.transport.connection
