"""Publish on a channel with confirms: the only sender of ``basic.publish``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pamqp.commands import Basic

from stem_amqp.transport.amqp.client import Channel
from stem_amqp.transport.amqp.content import write_message
from stem_amqp.transport.amqp.properties import Properties
from stem_amqp.transport.publication import Publication


class NackedError(Exception):
    """The broker nacked a message."""


class ReturnedError(Exception):
    """The broker returned a message as unroutable; the text is the broker's."""


@dataclass(slots=True, eq=False)
class _Unconfirmed:
    """A message that is not confirmed yet.

    Args:
        confirmed: the future of its confirm.
        message_id: its AMQP ``message_id``, which identifies it when the broker returns it.
        deadline: its deadline on the loop's clock.
        returned: the broker's ``basic.return``, if any; the confirm still follows.
    """

    confirmed: asyncio.Future[None]
    message_id: str
    deadline: float
    returned: Basic.Return | None = None


class Confirms:
    """Publishes on one channel, and assigns each confirm to its message.

    Args:
        channel: an open channel with publisher confirms.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._port = channel.port
        self._loop = asyncio.get_running_loop()
        self._largest = channel.max_content_size
        self._last_tag = 0
        self._lowest = 1
        self._awaited: dict[int, _Unconfirmed] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._port.on_confirm = self._on_confirm
        self._port.on_return = self._on_return
        self._port.on_end = self._on_end

    @property
    def open(self) -> bool:
        """Whether it can publish."""
        return not self._port.ended

    async def drained(self) -> None:
        """Wait until every message is confirmed or has timed out."""
        while awaited := [
            one.confirmed for one in self._awaited.values() if not one.confirmed.done()
        ]:
            await asyncio.wait(awaited)

    def publish(
        self, publication: Publication, *, message_id: str, timestamp: float, deadline: float
    ) -> asyncio.Future[None]:
        """Publish a message.

        Args:
            publication: the message.
            message_id: its AMQP ``message_id``.
            timestamp: its AMQP ``timestamp``, seconds since the epoch.
            deadline: its deadline on the loop's clock.

        Returns:
            A future of the confirm. It raises `ReturnedError`, `NackedError`, `TimeoutError`, or the
            error that ended the channel.

        Raises:
            ChannelInvalidStateError: the channel has ended; the message was not sent.
            ValueError: the message cannot be encoded as AMQP; or TypeError.
        """
        self._port.send(
            write_message(
                self._port.number,
                publication,
                message_id=message_id,
                timestamp=timestamp,
                largest=self._largest,
            )
        )
        self._last_tag += 1
        confirmed: asyncio.Future[None] = self._loop.create_future()
        self._awaited[self._last_tag] = _Unconfirmed(confirmed, message_id, deadline)
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._expire)
        return confirmed

    def _on_confirm(self, tag: int, multiple: bool, taken: bool) -> None:
        if not multiple:
            self._confirm(tag, taken)
            return
        # tags are consecutive, from 1 on
        for earlier in range(self._lowest, tag + 1):
            self._confirm(earlier, taken)
        self._lowest = tag + 1

    def _confirm(self, tag: int, taken: bool) -> None:
        awaited = self._awaited.pop(tag, None)
        if awaited is None or awaited.confirmed.done():
            return
        if not taken:
            awaited.confirmed.set_exception(NackedError())
        elif awaited.returned is not None:
            text = awaited.returned.reply_text or "no reason given"
            awaited.confirmed.set_exception(ReturnedError(text))
        else:
            awaited.confirmed.set_result(None)

    def _on_return(self, returned: Basic.Return, properties: Properties) -> None:
        for awaited in self._awaited.values():
            if awaited.message_id == properties.message_id:
                awaited.returned = returned
                return

    def _on_end(self, error: BaseException) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for awaited in self._awaited.values():
            if not awaited.confirmed.done():
                awaited.confirmed.set_exception(error)
                awaited.confirmed.exception()  # mark it as retrieved: the caller may be gone
        self._awaited.clear()

    def _expire(self) -> None:
        now = self._loop.time()
        for tag, awaited in list(self._awaited.items()):
            if awaited.deadline <= now:
                # a later confirm is ignored
                del self._awaited[tag]
                if not awaited.confirmed.done():
                    awaited.confirmed.set_exception(TimeoutError())
        deadlines = [awaited.deadline for awaited in self._awaited.values()]
        self._timer = self._loop.call_at(min(deadlines), self._expire) if deadlines else None
