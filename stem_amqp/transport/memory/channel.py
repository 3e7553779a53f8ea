"""A channel: one consumer or browser on one queue, with its unsettled deliveries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Self

from stem_amqp.errors import BrokerUnavailableError, StaleDeliveryError
from stem_amqp.transport.delivery import Delivery, OnDelivery
from stem_amqp.transport.memory.death import Reason
from stem_amqp.transport.memory.delivery import MemoryDelivery
from stem_amqp.transport.memory.message import Entry
from stem_amqp.transport.memory.queue import MemoryQueue

if TYPE_CHECKING:
    from stem_amqp.transport.memory.engine import Engine

_log = logging.getLogger("stem_amqp.transport.memory")
_LOOKS_PER_TURN = 64
"""Messages after which a browser yields to the event loop."""


class _State(Enum):
    OPEN = auto()
    QUEUE_GONE = auto()
    CLOSED = auto()


def _unwanted(delivery: Delivery) -> None:
    raise TypeError(f"a browser received delivery {delivery.message_id} that it did not request")


class Channel:
    """A consumer or a browser on a queue.

    Args:
        engine: moves the messages.
        queue: the queue.
        on_delivery: called for each delivery; a browser calls `get` instead.
        on_cancel: called when the queue is deleted.
        prefetch: the maximum number of unsettled deliveries; 0 for no limit.
        tag: the consumer tag.
        exclusive: request to be the only consumer.
        settled: whether deliveries are acknowledged automatically.
    """

    def __init__(
        self,
        engine: Engine,
        queue: MemoryQueue,
        *,
        on_delivery: OnDelivery = _unwanted,
        on_cancel: Callable[[], None] | None = None,
        prefetch: int = 0,
        tag: str = "",
        exclusive: bool = False,
        settled: bool = False,
    ) -> None:
        self.engine = engine
        self.queue = queue
        self.tag = tag
        self.exclusive = exclusive
        self._on_delivery = on_delivery
        self._on_cancel = on_cancel
        self._prefetch = prefetch
        self._settled = settled
        self._state = _State.OPEN
        self._last_tag = 0
        self._unsettled: dict[int, Entry] = {}
        queue.channels.add(self)

    @property
    def has_room(self) -> bool:
        """Whether the prefetch allows one more delivery."""
        return not self._prefetch or len(self._unsettled) < self._prefetch

    def start(self) -> None:
        """Begin to consume.

        Raises:
            BrokerRefusedError: the queue is in exclusive use.
        """
        self.queue.subscribe(self)
        self.engine.wake(self.queue)

    def stop(self) -> None:
        """Stop consuming; deliveries can still be settled."""
        if self in self.queue.consumers:
            self.queue.consumers.remove(self)
            self.engine.wake(self.queue)

    def close(self) -> None:
        """Stop and requeue unsettled deliveries; a second call does nothing."""
        if self._state is _State.CLOSED:
            return
        self._state = _State.CLOSED
        self.stop()
        self.queue.channels.discard(self)
        unsettled, self._unsettled = self._unsettled, {}
        for entry in unsettled.values():
            self.engine.requeue(self.queue, entry)

    def queue_deleted(self) -> None:
        """Drop the deliveries of a deleted queue; settling them does nothing."""
        if self._state is _State.OPEN:
            self._state = _State.QUEUE_GONE
        self._unsettled.clear()
        if self._on_cancel is not None:
            self._on_cancel()

    def deliver(self, entry: Entry) -> None:
        """Hand an entry to the consumer."""
        delivery = self._deliver(entry)
        try:
            self._on_delivery(delivery)
        except Exception:  # noqa: BLE001 - user code can raise anything
            # An error in one consumer must not affect the deliveries of others
            _log.exception(
                "on_delivery of consumer %r raised; the delivery stays unsettled", self.tag
            )

    def get(self) -> MemoryDelivery | None:
        """Take the next entry, or None if nothing is ready.

        Raises:
            BrokerUnavailableError: the connection is lost.
        """
        if self._state is _State.CLOSED:
            raise BrokerUnavailableError(
                f"the connection was lost while browsing queue {self.queue.name!r}; browse again"
            )
        entry = self.engine.take(self.queue)
        return None if entry is None else self._deliver(entry)

    def ack(self, tag: int) -> None:
        """Forget a delivery's message.

        Raises:
            StaleDeliveryError: it cannot be settled here.
        """
        if self._take(tag) is not None:
            self.engine.wake(self.queue)

    def refuse(self, tag: int, *, requeue: bool) -> None:
        """Requeue or dead-letter a delivery's message.

        Raises:
            StaleDeliveryError: it cannot be settled here.
        """
        entry = self._take(tag)
        if entry is None:
            return
        if requeue:
            self.engine.requeue(self.queue, entry)
        else:
            self.engine.dead_letter(self.queue, entry.message, Reason.REJECTED)
        self.engine.wake(self.queue)

    def _deliver(self, entry: Entry) -> MemoryDelivery:
        headers = dict(entry.message.headers)
        if entry.returns and self.queue.quorum:
            headers["x-delivery-count"] = entry.returns
        if self._settled:
            return MemoryDelivery(self, entry, 0, headers)
        self._last_tag += 1
        self._unsettled[self._last_tag] = entry
        return MemoryDelivery(self, entry, self._last_tag, headers)

    def _take(self, tag: int) -> Entry | None:
        """Return the entry of a delivery tag; None if its queue was deleted."""
        if self._state is _State.QUEUE_GONE:
            return None
        entry = self._unsettled.pop(tag, None)
        if entry is not None:
            return entry
        if self._state is _State.CLOSED:
            raise StaleDeliveryError(
                f"the channel on queue {self.queue.name!r} is closed; its unsettled messages are"
                " back in the queue and will be delivered again"
            )
        raise StaleDeliveryError(
            f"the delivery from queue {self.queue.name!r} is settled already; settle each one once"
        )


class Browser(AsyncIterator[Delivery]):
    """Iterates over the ready messages of a queue from its head.

    Args:
        channel: a channel of its own.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._seen = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        self._seen += 1
        if self._seen % _LOOKS_PER_TURN == 0:
            await asyncio.sleep(0)
        delivery = self._channel.get()
        if delivery is None:
            raise StopAsyncIteration
        return delivery
