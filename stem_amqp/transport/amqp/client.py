"""aio-pika's connection and aiormq's channel, with what a busy publisher needs of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import aiormq
from aio_pika.abc import UnderlayConnection
from aiormq.abc import AbstractConnection
from aiormq.exceptions import AMQPError, ChannelInvalidStateError
from yarl import URL

from stem_amqp.transport.amqp.port import lost
from stem_amqp.transport.amqp.wire import Wire


class Channel(aiormq.Channel):
    """A channel with a short way in and out, its port.

    Once the broker has closed it nothing is sent on it any more. aiormq answers the broker's close
    first and notes it later; what is sent in between would reach the broker on a channel that is
    not open, for which it closes the whole connection.
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
        # aiormq closes with a CancelledError what it closes itself: not one to be raised in a task
        self.port.end(error if isinstance(error, Exception) else lost(error))


class RawConnection(aiormq.Connection):
    """A connection whose frames wait in one queue without a limit.

    With aiormq's limit, the answer to the broker's close of a channel is dropped when the queue is
    full, and who waits for a place in it waits for ever when the connection ends. The same goes for
    the queues of its channels: with a limit, the frames of one that nobody reads any more stop the
    reader of all. What can be in any of them is bounded: answers only, the rest goes to ports.
    """

    FRAME_BUFFER_SIZE = 0

    def __init__(self, *args: Any, transport_factory: Wire, **options: Any) -> None:
        super().__init__(*args, transport_factory=transport_factory, **options)
        self._wire = transport_factory
        self._numbers = itertools.count(1)

    async def open_channel(self, *, timeout: float, confirms: bool) -> Channel:
        """Open a channel, under a number that no channel had before it.

        A late frame of a closed channel must not be counted on another one: its confirms would
        be taken for those of other messages from then on.

        Args:
            timeout: seconds for it.
            confirms: with publisher confirms, raising for returned messages.

        Raises:
            AMQPError: it could not be opened.
        """
        if self.is_closed:
            raise ChannelInvalidStateError(f"{self!r} is closed")
        limit = self.connection_tune.channel_max or 65535
        number = next(self._numbers)
        while number > limit or number in self.channels:
            if number > limit:
                self._numbers = itertools.count(1)
            number = next(self._numbers)
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


class _Underlay(UnderlayConnection):
    """aio-pika's way to aiormq's connection."""

    @classmethod
    async def make_connection(
        cls, url: URL, timeout: float | None = None, **options: Any
    ) -> AbstractConnection:
        """Connect and log in.

        Args:
            url: the broker's URL.
            timeout: seconds for it.
            **options: as aiormq's connection takes them.
        """
        connection = RawConnection(url, **options)
        await asyncio.wait_for(connection.connect(), timeout)
        await connection.ready()
        return connection


class Connection(aio_pika.Connection):
    """aio-pika's plain connection, over a socket and channels of ours."""

    def __init__(self, url: URL, *, wire: Wire, **options: Any) -> None:
        super().__init__(url, **options)
        self.kwargs["transport_factory"] = wire

    async def connect(self, timeout: float | None = None) -> None:
        """Connect and log in.

        Args:
            timeout: seconds for it.
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
