"""Settle deliveries: the only sender of ``basic.ack``, ``basic.nack`` and ``basic.reject``."""

from __future__ import annotations

import asyncio
import bisect
import logging

import pamqp.frame
from pamqp.commands import Basic

from stem_amqp.errors import StaleDeliveryError
from stem_amqp.transport.amqp.content import write_ack
from stem_amqp.transport.amqp.port import Port

logger = logging.getLogger("stem_amqp.transport")


class ChannelSettler:
    """Settles the deliveries of one channel.

    Settlements of one turn of the event loop are written together, and consecutive acknowledgements become
    one frame with ``multiple``, which makes many small tasks fast. Settling never waits for the socket, so
    a dead connection cannot block it; the prefetch bounds the pending settlements.

    Args:
        port: the channel's port. Delivery tags are valid on their channel only.
    """

    def __init__(self, port: Port) -> None:
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._unsettled: dict[int, None] = {}
        self._last_tag = 0
        self._gapless = True
        self._acks: list[int] = []
        self._returns: list[tuple[int, bool, bool]] = []
        self._scheduled = False
        self._idle = asyncio.Event()
        self._idle.set()

    def add(self, tag: int) -> None:
        """Register a delivery before it is processed.

        Args:
            tag: its delivery tag.
        """
        # tags are consecutive from 1 on; an unregistered delivery must not be acked with others
        self._gapless = self._gapless and tag == self._last_tag + 1
        self._last_tag = tag
        self._unsettled[tag] = None
        if self._idle.is_set():
            self._idle.clear()

    def ack(self, tag: int) -> None:
        """Acknowledge a delivery.

        Args:
            tag: its delivery tag.

        Raises:
            StaleDeliveryError: the channel is closed, or the delivery is already settled.
        """
        self._take(tag)
        self._acks.append(tag)
        self._flush_soon()

    def negative_ack(self, tag: int, *, requeue: bool, failed: bool) -> None:
        """Return or dead-letter a delivery.

        Args:
            tag: its delivery tag.
            requeue: return it to its queue; otherwise dead-letter it.
            failed: use ``basic.reject``, which counts as a failed delivery; otherwise ``basic.nack``.

        Raises:
            StaleDeliveryError: the channel is closed, or the delivery is already settled.
        """
        self._take(tag)
        self._returns.append((tag, requeue, failed))
        self._flush_soon()

    async def idle(self) -> None:
        """Wait until every settlement is written, or the channel is closed."""
        await self._idle.wait()

    def close(self, *, requeue: bool = False) -> None:
        """Write pending settlements, and accept no further ones.

        Args:
            requeue: requeue unsettled deliveries with ``basic.nack``, in their order.
        """
        self._flush()
        if requeue and self._unsettled and not self._port.ended:
            last = next(reversed(self._unsettled))
            nack = Basic.Nack(last, multiple=True)
            self._send([pamqp.frame.marshal(nack, self._port.number)])
        self._unsettled.clear()
        self._idle.set()

    def _take(self, tag: int) -> None:
        if self._port.ended:
            raise StaleDeliveryError(
                "the delivery's channel is closed; the broker delivers the message again"
            )
        if tag not in self._unsettled:
            raise StaleDeliveryError("the delivery is already settled or returned")
        del self._unsettled[tag]

    def _flush_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        returns, self._returns = self._returns, []
        acks, self._acks = self._acks, []
        number = self._port.number
        frames = [
            pamqp.frame.marshal(
                Basic.Reject(tag, requeue=requeue) if failed else Basic.Nack(tag, requeue=requeue),
                number,
            )
            for tag, requeue, failed in returns
        ]
        together = self._covered(acks)
        if together:
            frames.append(write_ack(number, acks[together - 1], multiple=together > 1))
        frames += [write_ack(number, tag) for tag in acks[together:]]
        self._send(frames)
        if not self._unsettled:
            self._idle.set()

    def _covered(self, acks: list[int]) -> int:
        """Sort the tags, and return the number of tags that one frame with ``multiple`` can cover."""
        acks.sort()
        if not self._gapless:
            return 0
        oldest = next(iter(self._unsettled), None)
        return len(acks) if oldest is None else bisect.bisect_left(acks, oldest)

    def _send(self, frames: list[bytes]) -> None:
        if not frames:
            return
        if self._port.ended:
            # the broker redelivers these messages
            logger.debug("not settled on channel %d: it is closed", self._port.number)
            return
        self._port.send(b"".join(frames))
