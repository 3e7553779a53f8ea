"""Send transient messages on a channel without confirms; they may be lost, and nothing waits for them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import struct
import uuid
from collections import deque

from stem_amqp.cancellation import end
from stem_amqp.clock import Clock
from stem_amqp.errors import BrokerError, UnwritableError
from stem_amqp.transport.amqp.client import Channel
from stem_amqp.transport.amqp.connection import SupervisedConnection
from stem_amqp.transport.amqp.content import write_message
from stem_amqp.transport.amqp.failures import reason
from stem_amqp.transport.amqp.link import close_channel
from stem_amqp.transport.publication import Publication

logger = logging.getLogger("stem_amqp.transport")

WAITING = 100
"""The most messages that wait for the channel to open; the oldest of more are lost."""
PAUSE = 30.0
"""Seconds until another channel is opened, after the broker closed one because of a message."""


class Sender:
    """Sends transient messages on a channel of its own, which opens with the first message.

    The broker closes the channel of a message that it refuses, for example for a missing exchange: other
    channels are not affected.

    Args:
        connection: the publishing connection.
        clock: for the ``timestamp`` property.
    """

    def __init__(self, connection: SupervisedConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._channel: Channel | None = None
        self._opening: asyncio.Task[None] | None = None
        self._pause_ends = 0.0
        self._refused = False
        self._waiting: deque[Publication] = deque(maxlen=WAITING)
        self._ids = map("{}-{:x}".format, itertools.repeat(uuid.uuid4().hex), itertools.count())

    def send(self, publication: Publication) -> bool:
        """Send a message, or let it wait until the channel is open.

        Returns:
            Whether it was sent or waits.

        Raises:
            UnwritableError: it cannot be encoded as AMQP.
        """
        channel = self._channel
        if channel is None or channel.port.ended:
            return self._open_for(publication)
        if self._connection.congested:
            return False
        try:
            frames = write_message(
                channel.port.number,
                publication,
                message_id=next(self._ids),
                timestamp=self._clock.time(),
                largest=channel.max_content_size,
                transient=True,
            )
        except (TypeError, ValueError, ArithmeticError, struct.error) as error:
            raise UnwritableError(
                f"a message to exchange {publication.exchange!r} cannot be written as AMQP: {error}"
            ) from error
        channel.port.send(frames)
        return True

    async def close(self) -> None:
        """Close the channel; a second call does nothing."""
        await end(self._opening)
        self._waiting.clear()
        if self._channel is not None:
            await close_channel(self._channel)

    def _open_for(self, publication: Publication) -> bool:
        if not self._connection.up or asyncio.get_running_loop().time() < self._pause_ends:
            return False
        self._waiting.append(publication)
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open(), name="stem-amqp open sending channel")
        return True

    async def _open(self) -> None:
        try:
            channel = await self._connection.channel(patience=self._connection.timeout)
        except BrokerError as error:
            logger.debug("transient messages are lost: %s", error)
            self._waiting.clear()
            return
        channel.port.on_end = self._on_end
        self._channel = channel
        while self._waiting:
            try:
                self.send(self._waiting.popleft())
            except UnwritableError as error:
                logger.debug("a transient message is lost: %s", error)

    def _on_end(self, error: BaseException) -> None:
        if isinstance(error, ConnectionError):
            return  # the connection ended, or this transport closes
        self._pause_ends = asyncio.get_running_loop().time() + PAUSE
        level, self._refused = logging.DEBUG if self._refused else logging.WARNING, True
        logger.log(
            level,
            "the broker refuses events and heartbeats, so that `stem-amqp workers` and `stem-amqp events`"
            " do not show this process: %s\n  Declare the exchange (stem-amqp topology apply), and give"
            " the user the permission to write to it.",
            reason(error),
        )
