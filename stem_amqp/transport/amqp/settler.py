"""Settling: the only caller of ``basic.ack``, ``basic.nack`` and ``basic.reject``."""

from __future__ import annotations

import asyncio
import bisect
import logging
from collections.abc import Awaitable, Callable

from stem_amqp.errors import StaleDeliveryError
from stem_amqp.transport.amqp.client import Channel
from stem_amqp.transport.amqp.failures import is_lost, reason
from stem_amqp.transport.amqp.link import CLOSE_TIMEOUT
from stem_amqp.transport.amqp.tasks import end

logger = logging.getLogger("stem_amqp.transport")


class Settler:
    """Settles the deliveries of one channel.

    What is settled within one turn of the event loop is written together, and acknowledgements that
    leave no gap become one frame with ``multiple``: that is what makes many small tasks fast. So
    settling never waits for the socket, and a dead connection cannot hang it; the prefetch bounds
    what can be pending.

    Args:
        channel: the channel. A delivery tag means nothing on another one.
        congested: tells whether the broker reads more slowly than we write.
    """

    def __init__(self, channel: Channel, congested: Callable[[], bool]) -> None:
        self._channel = channel
        self._congested = congested
        self._unsettled: dict[int, None] = {}
        self._last_tag = 0
        self._gapless = True
        self._acks: list[int] = []
        self._returns: list[tuple[int, bool, bool]] = []
        self._stopping = False
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._writer = asyncio.create_task(self._write(), name=f"stem-amqp settle {channel}")

    @property
    def unsettled(self) -> int:
        """How many deliveries are not settled."""
        return len(self._unsettled)

    def add(self, tag: int) -> None:
        """Note a delivery, before anything else is done with it.

        Args:
            tag: its delivery tag.
        """
        # tags count up from 1; a delivery that passed by unseen must not be acked with others
        self._gapless = self._gapless and tag == self._last_tag + 1
        self._last_tag = tag
        self._unsettled[tag] = None
        self._idle.clear()

    def ack(self, tag: int) -> None:
        """Acknowledge a delivery.

        Args:
            tag: its delivery tag.

        Raises:
            StaleDeliveryError: the channel is gone, or the delivery is settled already.
        """
        self._take(tag)
        self._acks.append(tag)
        self._work.set()

    def give_back(self, tag: int, *, requeue: bool, failed: bool) -> None:
        """Return or dead-letter a delivery.

        Args:
            tag: its delivery tag.
            requeue: return it to its queue; otherwise dead-letter it.
            failed: with ``basic.reject``, which counts; otherwise with ``basic.nack``.

        Raises:
            StaleDeliveryError: the channel is gone, or the delivery is settled already.
        """
        self._take(tag)
        self._returns.append((tag, requeue, failed))
        self._work.set()

    async def idle(self) -> None:
        """Wait until every delivery is settled and written, or the channel is gone."""
        await self._idle.wait()

    async def close(self, *, give_back: bool = False) -> None:
        """Write what is settled, and stop.

        Args:
            give_back: return what is not settled, politely, in its old order.
        """
        self._stopping = True
        self._work.set()
        await asyncio.wait({self._writer}, timeout=CLOSE_TIMEOUT)
        await end(self._writer)
        if give_back and self._unsettled and not self._channel.is_closed:
            last = next(reversed(self._unsettled))
            await self._send(self._channel.basic_nack(last, multiple=True, wait=False))
        self._unsettled.clear()
        self._idle.set()

    def _take(self, tag: int) -> None:
        if self._channel.is_closed:
            raise StaleDeliveryError(
                "the delivery's channel is gone; the broker delivers the message again"
            )
        if tag not in self._unsettled:
            raise StaleDeliveryError("the delivery is settled already, or was returned")
        del self._unsettled[tag]

    async def _write(self) -> None:
        while not self._channel.is_closed:
            await self._work.wait()
            self._work.clear()
            await self._flush()
            if not self._unsettled and not self._work.is_set():
                self._idle.set()
            if self._stopping:
                return

    async def _flush(self) -> None:
        returns, self._returns = self._returns, []
        acks, self._acks = self._acks, []
        # decided before anything is awaited: what is settled meanwhile is in the next turn
        together = self._covered(acks)
        for tag, requeue, failed in returns:
            send = self._channel.basic_reject if failed else self._channel.basic_nack
            await self._send(send(tag, requeue=requeue, wait=self._congested()))
        if together:
            await self._send(
                self._channel.basic_ack(
                    acks[together - 1], multiple=together > 1, wait=self._congested()
                )
            )
        for tag in acks[together:]:
            await self._send(self._channel.basic_ack(tag, wait=self._congested()))

    def _covered(self, acks: list[int]) -> int:
        """Sort the tags, and return how many of them one frame with ``multiple`` can cover."""
        acks.sort()
        if not self._gapless:
            return 0
        oldest = next(iter(self._unsettled), None)
        return len(acks) if oldest is None else bisect.bisect_left(acks, oldest)

    async def _send(self, frame: Awaitable[None]) -> None:
        try:
            await frame
        except Exception as error:
            if not is_lost(error):
                raise
            # the broker delivers again what it did not hear about
            logger.debug("not settled on channel %s: %s", self._channel, reason(error))
