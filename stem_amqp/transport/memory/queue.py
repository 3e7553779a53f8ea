"""Queues: their ready messages, the order of delivery, and their consumers."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from stem_amqp.errors import BrokerRefusedError
from stem_amqp.transport.memory.message import Entry, Message

if TYPE_CHECKING:
    from stem_amqp.transport.memory.clock import Timer

_MICROSECONDS_PER_MS = 1000


class Reader(Protocol):
    """A consumer or browser of a queue, see `stem_amqp.transport.memory.channel.Channel`.

    Attributes:
        tag: the consumer tag.
        exclusive: whether it requests to be the only consumer.
    """

    tag: str
    exclusive: bool

    @property
    def has_room(self) -> bool:
        """Whether the prefetch allows one more delivery."""
        ...

    def deliver(self, entry: Entry) -> None:
        """Hand an entry to the consumer."""

    def queue_deleted(self) -> None:
        """Drop the deliveries of a deleted queue."""


class Lane:
    """The ready messages of one priority: requeued ones in their order, then new ones."""

    __slots__ = ("fresh", "returned")

    def __init__(self) -> None:
        self.fresh: deque[Entry] = deque()
        self.returned: list[tuple[int, Entry]] = []

    def head(self) -> Entry | None:
        """Return the entry that is delivered next."""
        if self.returned:
            return self.returned[0][1]
        return self.fresh[0] if self.fresh else None

    def pop(self) -> Entry:
        """Remove and return the head."""
        return heapq.heappop(self.returned)[1] if self.returned else self.fresh.popleft()

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in the order of delivery."""
        yield from (entry for _, entry in sorted(self.returned, key=lambda item: item[0]))
        yield from self.fresh


class MemoryQueue:
    """A queue with its arguments, its ready messages and its consumers.

    Args:
        name: its name.
        arguments: the ``x-`` arguments.
        owner: the connection that it is exclusive to, if it is.
        settings: the effective settings, if policies add to the arguments.
    """

    def __init__(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        owner: object | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.arguments = dict(arguments)
        self.owner = owner
        self.configure(arguments if settings is None else settings)
        self.single_active = bool(arguments.get("x-single-active-consumer"))
        self.held: deque[Message] = deque()
        self.consumers: deque[Reader] = deque()
        self.channels: set[Reader] = set()
        self.timer: Timer | None = None
        self.ready = 0
        self._bytes = 0
        self._positions = itertools.count()
        # highest priority first
        self._lanes = [Lane() for _ in range(int(arguments.get("x-max-priority", 0)) + 1)]

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Apply the settings that can change at run time.

        Args:
            settings: the arguments combined with policies.
        """
        ttl = settings.get("x-message-ttl")
        self.ttl: int | None = None if ttl is None else int(ttl) * _MICROSECONDS_PER_MS
        self.dead_letter_exchange: str | None = settings.get("x-dead-letter-exchange")
        self.dead_letter_key: str | None = settings.get("x-dead-letter-routing-key")
        self.max_length: int | None = settings.get("x-max-length")
        self.max_bytes: int | None = settings.get("x-max-length-bytes")
        self.delivery_limit: int | None = settings.get("x-delivery-limit")
        self.refuses_when_full = str(settings.get("x-overflow")).startswith("reject-publish")
        self.quorum = settings.get("x-queue-type") == "quorum"
        # RabbitMQ silently uses at-most-once if one of these is missing
        self.keeps_dead_letters = (
            self.quorum
            and self.dead_letter_exchange is not None
            and settings.get("x-dead-letter-strategy") == "at-least-once"
            and self.refuses_when_full
        )

    @property
    def bounded(self) -> bool:
        """Whether it can be full."""
        return self.max_length is not None or self.max_bytes is not None

    def accepts(self, message: Message) -> bool:
        """Return whether it accepts a message, which a full queue may refuse."""
        if not self.refuses_when_full:
            return True
        if self.max_length is not None and self.ready + len(self.held) >= self.max_length:
            return False
        return self.max_bytes is None or self._bytes + len(message.body) <= self.max_bytes

    def push(self, message: Message, now: int) -> None:
        """Add a message at the end.

        Args:
            message: the message.
            now: microseconds since the epoch.
        """
        expires = None if self.ttl is None else now + self.ttl
        self._lane(message).fresh.append(Entry(message, next(self._positions), expires))
        self._count(message, 1)

    def requeue(self, entry: Entry) -> None:
        """Requeue an entry at its position."""
        heapq.heappush(self._lane(entry.message).returned, (entry.position, entry))
        self._count(entry.message, 1)

    def pop(self) -> Entry:
        """Remove and return the entry to deliver next; there must be one."""
        lane = next(lane for lane in self._lanes if lane.head() is not None)
        return self._take(lane)

    def overflowing(self) -> Iterator[Entry]:
        """Remove the entries above the limit, the lowest priority first, from its head."""
        while (self.max_length is not None and self.ready > self.max_length) or (
            self.max_bytes is not None and self._bytes > self.max_bytes
        ):
            lane = next(lane for lane in reversed(self._lanes) if lane.head() is not None)
            yield self._take(lane)

    def expired(self, now: int) -> Iterator[Entry]:
        """Remove the expired entries at the head.

        Args:
            now: microseconds since the epoch.
        """
        for lane in self._lanes:
            while (head := lane.head()) and head.expires is not None and head.expires <= now:
                yield self._take(lane)

    def next_expiry(self) -> int | None:
        """Return the expiry of the first head, in microseconds since the epoch."""
        heads = (lane.head() for lane in self._lanes)
        return min((head.expires for head in heads if head and head.expires), default=None)

    def disarm(self) -> None:
        """Cancel the timer for the next expiry."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def purge(self) -> int:
        """Drop the ready messages, and return their number."""
        dropped = self.ready
        for lane in self._lanes:
            lane.fresh.clear()
            lane.returned.clear()
        self.ready = self._bytes = 0
        return dropped

    def messages(self) -> list[Message]:
        """Return the ready messages, in the order of delivery."""
        return [entry.message for lane in self._lanes for entry in lane.entries()]

    def subscribe(self, channel: Reader) -> None:
        """Add a consumer.

        A quorum queue ignores exclusive consumers, as on RabbitMQ.

        Raises:
            BrokerRefusedError: the queue is in exclusive use, or in use and exclusive use is requested.
        """
        if (
            self.consumers
            and not self.quorum
            and (channel.exclusive or self.consumers[0].exclusive)
        ):
            holder = self.consumers[0].tag
            raise BrokerRefusedError(
                f"queue {self.name!r} is in exclusive use: {channel.tag!r} cannot consume it beside"
                f" {holder!r}.\n  Stop that consumer first, or consume without exclusive=True."
            )
        self.consumers.append(channel)

    def next_consumer(self) -> Reader | None:
        """Return the next consumer in turn, or None if none has room."""
        if self.single_active:
            first = self.consumers[0] if self.consumers else None
            return first if first is not None and first.has_room else None
        for _ in range(len(self.consumers)):
            consumer = self.consumers[0]
            self.consumers.rotate(-1)
            if consumer.has_room:
                return consumer
        return None

    def _lane(self, message: Message) -> Lane:
        highest = len(self._lanes) - 1
        return self._lanes[highest - min(max(message.priority or 0, 0), highest)]

    def _take(self, lane: Lane) -> Entry:
        entry = lane.pop()
        self._count(entry.message, -1)
        return entry

    def _count(self, message: Message, change: int) -> None:
        self.ready += change
        self._bytes += change * len(message.body)
