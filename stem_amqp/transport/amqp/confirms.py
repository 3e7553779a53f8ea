"""A channel that publishes and confirms: the only sender of ``basic.publish``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pamqp.commands import Basic

from stem_amqp.transport.amqp.client import Channel
from stem_amqp.transport.amqp.content import Properties, write_message
from stem_amqp.transport.base import Publication


class NackedError(Exception):
    """The broker did not take a message."""


class ReturnedError(Exception):
    """No queue took a message; the broker's text says why."""


@dataclass(slots=True, eq=False)
class _Awaited:
    """A message whose confirm has not come.

    Args:
        confirmed: who waits for it.
        message_id: its AMQP ``message_id``, by which the broker names one that it returns.
        deadline: when its time is up, on the loop's clock.
        returned: what the broker returned it with; the confirm still follows.
    """

    confirmed: asyncio.Future[None]
    message_id: str
    deadline: float
    returned: Basic.Return | None = None


class Confirms:
    """Publishes on one channel, and gives each message the confirm that is its own.

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
        self._awaited: dict[int, _Awaited] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._port.on_confirm = self._on_confirm
        self._port.on_return = self._on_return
        self._port.on_end = self._on_end

    @property
    def open(self) -> bool:
        """Whether it can publish."""
        return not self._port.ended

    async def drained(self) -> None:
        """Wait until every message has its confirm, or has been given up."""
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
            deadline: when its time is up, on the loop's clock.

        Returns:
            Done with the confirm. It raises `ReturnedError`, `NackedError`, `TimeoutError`, or
            what ended the channel.

        Raises:
            ChannelInvalidStateError: the channel has ended; it was not sent.
            ValueError: it cannot be written as AMQP; TypeError says so too.
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
        self._awaited[self._last_tag] = _Awaited(confirmed, message_id, deadline)
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._expire)
        return confirmed

    def _on_confirm(self, tag: int, multiple: bool, taken: bool) -> None:
        if not multiple:
            self._confirm(tag, taken)
            return
        # tags count up from 1, without a gap
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
                awaited.confirmed.exception()  # nobody may be waiting any more
        self._awaited.clear()

    def _expire(self) -> None:
        now = self._loop.time()
        for tag, awaited in list(self._awaited.items()):
            if awaited.deadline <= now:
                # a confirm that comes later is of no use to anybody
                del self._awaited[tag]
                if not awaited.confirmed.done():
                    awaited.confirmed.set_exception(TimeoutError())
        deadlines = [awaited.deadline for awaited in self._awaited.values()]
        self._timer = self._loop.call_at(min(deadlines), self._expire) if deadlines else None
