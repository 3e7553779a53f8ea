"""Move messages: into queues, to consumers, and to dead-letter exchanges."""

from __future__ import annotations

import asyncio
import logging

from stem_amqp.clock import Clock
from stem_amqp.errors import PublishRefusedError, UnroutableError
from stem_amqp.messages.message import new_id
from stem_amqp.transport.memory.clock import call_at, microseconds
from stem_amqp.transport.memory.death import Reason, dead_letter, is_cycle
from stem_amqp.transport.memory.exchange import Router
from stem_amqp.transport.memory.message import Entry, Message, check_writable
from stem_amqp.transport.memory.queue import MemoryQueue
from stem_amqp.transport.publication import Publication

_log = logging.getLogger("stem_amqp.transport.memory")


class Engine:
    """Routes, delivers, expires and dead-letters the messages of the broker.

    Args:
        clock: the clock for TTLs.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.router = Router()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._paused = False
        self._awake: dict[MemoryQueue, None] = {}
        self._scheduled = False
        self._holding: dict[MemoryQueue, None] = {}

    @property
    def quiet(self) -> bool:
        """Whether no delivery is pending."""
        return self._paused or not (self._awake or self._scheduled)

    @property
    def has_consumers(self) -> bool:
        """Whether there is a consumer."""
        return any(queue.consumers for queue in self.router.queues.values())

    def run_in(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver in this event loop from now on."""
        self._loop = loop
        self._scheduled = False
        for queue in self.router.queues.values():
            queue.disarm()
            self._arm(queue)
            self.wake(queue)
        self._schedule()

    def pause(self, paused: bool) -> None:
        """Deliver nothing, or deliver again."""
        self._paused = paused
        self._schedule()

    def publish(self, publication: Publication) -> None:
        """Route a publication to its queues.

        Raises:
            UnroutableError: it matches no queue.
            PublishRefusedError: a full queue refused it.
            UnwritableError: it cannot be encoded as AMQP.
        """
        check_writable(publication)
        exchange, key = publication.exchange, publication.routing_key
        queues = self.router.route(exchange, key, publication.headers)
        if not queues:
            raise UnroutableError(self._why_unroutable(exchange, key))
        message = Message(
            exchange,
            key,
            publication.body,
            dict(publication.headers),
            new_id(),
            float(int(self.clock.time())),
            publication.type,
            publication.correlation_id,
            publication.reply_to,
            publication.priority,
            publication.app_id,
            publication.content_type,
        )
        full = [queue.name for queue in queues if not self._store(queue, message)]
        if full:
            raise PublishRefusedError(
                f"queue {', '.join(full)} is full and refused a message for exchange {exchange!r},"
                f" key {key!r}.\n  Raise its x-max-length, or let its consumers catch up."
            )

    def take(self, queue: MemoryQueue) -> Entry | None:
        """Take the next entry out of a queue, or None if nothing is ready."""
        self._expire(queue)
        if not queue.ready:
            return None
        entry = queue.pop()
        self._unblock_sources(queue)
        return entry

    def wake(self, queue: MemoryQueue) -> None:
        """Deliver what is ready, in the event loop's next turn."""
        if queue.ready and queue.consumers:
            self._awake[queue] = None
            self._schedule()

    def requeue(self, queue: MemoryQueue, entry: Entry) -> None:
        """Requeue an entry at its position, or dead-letter it if its delivery limit is exceeded."""
        entry.returns += 1
        if queue.delivery_limit is not None and entry.returns > queue.delivery_limit:
            self.dead_letter(queue, entry.message, Reason.DELIVERY_LIMIT)
            return
        queue.requeue(entry)
        if queue.ttl is not None:
            # the timer waits for an entry behind this one
            queue.disarm()
            self._arm(queue)
        self.wake(queue)

    def dead_letter(self, queue: MemoryQueue, message: Message, reason: Reason) -> None:
        """Dead-letter a message of a queue, if the queue has a dead-letter exchange."""
        exchange = queue.dead_letter_exchange
        if exchange is None:
            return
        key = message.routing_key if queue.dead_letter_key is None else queue.dead_letter_key
        dead = dead_letter(
            message,
            queue=queue.name,
            reason=reason,
            exchange=exchange,
            routing_key=key,
            now=self.clock.time(),
        )
        if not self._place(queue, dead):
            queue.held.append(dead)
            self._holding[queue] = None
            _log.warning("queue %r keeps a dead letter: %s", queue.name, _nowhere(dead))

    def release_held(self) -> None:
        """Retry the dead letters whose target was full or missing."""
        for queue in list(self._holding):
            waiting = list(queue.held)
            queue.held.clear()
            queue.held.extend([dead for dead in waiting if not self._place(queue, dead)])
            if not queue.held:
                self._holding.pop(queue, None)

    def remove(self, queue: MemoryQueue) -> None:
        """Delete a queue with its messages, and cancel its consumers."""
        self.router.remove_queue(queue.name)
        queue.disarm()
        queue.purge()
        queue.consumers.clear()
        self._holding.pop(queue, None)
        self._awake.pop(queue, None)
        channels, queue.channels = queue.channels, set()
        for channel in channels:
            channel.queue_deleted()

    def _why_unroutable(self, exchange: str, key: str) -> str:
        if not exchange:
            return f"there is no queue {key!r}, so no queue took the message.\n  Declare it first."
        if exchange not in self.router.exchanges:
            return (
                f"there is no exchange {exchange!r}, so no queue took the message with key {key!r}."
                "\n  Declare the topology first."
            )
        return (
            f"exchange {exchange!r} has no binding for the routing key {key!r}, so no queue took"
            " the message.\n  Declare the queue and its binding, or check the queue's name."
        )

    def _place(self, source: MemoryQueue, dead: Message) -> bool:
        """Store a dead letter; return False if the source must keep it for now."""
        routed = self.router.route(dead.exchange, dead.routing_key, dead.headers)
        targets = [target for target in routed if not is_cycle(dead, target.name)]
        room = bool(targets) and all(target.accepts(dead) for target in targets)
        if source.keeps_dead_letters and not room:
            return False
        # at-most-once: without a target it is lost
        taken = [target for target in targets if self._store(target, dead)]
        if not taken:
            _log.warning("queue %r lost a dead letter: %s", source.name, _nowhere(dead))
        return True

    def _store(self, queue: MemoryQueue, message: Message) -> bool:
        if not queue.accepts(message):
            return False
        queue.push(message, 0 if queue.ttl is None else microseconds(self.clock.time()))
        if queue.bounded:
            for entry in queue.overflowing():
                self.dead_letter(queue, entry.message, Reason.MAXLEN)
        self._arm(queue)
        self.wake(queue)
        return True

    def _schedule(self) -> None:
        waiting = self._awake and not self._paused and not self._scheduled
        if waiting and self._loop is not None and not self._loop.is_closed():
            self._scheduled = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        if self._paused:
            return
        awake, self._awake = self._awake, {}
        for queue in awake:
            self._expire(queue)
            while queue.ready and (channel := queue.next_consumer()) is not None:
                channel.deliver(queue.pop())
            self._unblock_sources(queue)

    def _arm(self, queue: MemoryQueue) -> None:
        """Schedule a timer for the expiry of the queue's head."""
        if queue.ttl is None or queue.timer is not None or self._loop is None:
            return
        due = queue.next_expiry()
        if due is not None and not self._loop.is_closed():
            queue.timer = call_at(self.clock, self._loop, due, lambda: self._on_timer(queue))

    def _on_timer(self, queue: MemoryQueue) -> None:
        queue.timer = None
        self._expire(queue)
        self._arm(queue)

    def _expire(self, queue: MemoryQueue) -> None:
        if queue.ttl is None or not queue.ready:
            return
        for entry in queue.expired(microseconds(self.clock.time())):
            self.dead_letter(queue, entry.message, Reason.EXPIRED)
        self._unblock_sources(queue)

    def purge(self, queue: MemoryQueue) -> int:
        """Purge a queue, and return the number of dropped messages."""
        dropped = queue.purge()
        self._unblock_sources(queue)
        return dropped

    def _unblock_sources(self, queue: MemoryQueue) -> None:
        if self._holding and queue.bounded:
            self.release_held()


def _nowhere(dead: Message) -> str:
    return (
        f"exchange {dead.exchange!r} with key {dead.routing_key!r} has no route without a cycle,"
        " or the queue there is full"
    )
