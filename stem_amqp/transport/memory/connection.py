"""Connections to the in-memory broker, with their channels and exclusive queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stem_amqp.errors import BrokerRefusedError, TopologyMissingError
from stem_amqp.transport.memory.channel import Channel
from stem_amqp.transport.memory.engine import Engine
from stem_amqp.transport.memory.queue import MemoryQueue


class MemoryConnection:
    """A connection, until it is closed or lost.

    Args:
        engine: moves the messages.
        on_lost: called with the reason when it is lost.
    """

    def __init__(self, engine: Engine, on_lost: Callable[[str], None]) -> None:
        self.engine = engine
        self.open = True
        self._on_lost = on_lost
        # dicts keep the order in which things were opened
        self._channels: dict[Channel, None] = {}
        self._exclusive: dict[MemoryQueue, None] = {}

    def queue(self, name: str) -> MemoryQueue:
        """Return a queue.

        Raises:
            TopologyMissingError: there is no such queue.
            BrokerRefusedError: it belongs to another connection.
        """
        queue = self.engine.router.queues.get(name)
        if queue is None:
            raise TopologyMissingError(
                f"there is no queue {name!r} on the broker.\n  Declare the topology, or check the"
                " queue's name and the namespace."
            )
        if queue.owner not in {None, self}:
            raise BrokerRefusedError(
                f"queue {name!r} is exclusive to another connection.\n  Use another name."
            )
        return queue

    def channel(self, queue: str, **options: Any) -> Channel:
        """Open a channel on a queue.

        Args:
            queue: the queue's name.
            **options: as `Channel` takes them.

        Raises:
            TopologyMissingError: there is no such queue.
            BrokerRefusedError: it belongs to another connection.
        """
        channel = Channel(self.engine, self.queue(queue), **options)
        self._channels[channel] = None
        return channel

    def close_channel(self, channel: Channel) -> None:
        """Close a channel; its unsettled deliveries are requeued."""
        self._channels.pop(channel, None)
        channel.close()

    def declare_exclusive(self, name: str) -> None:
        """Declare an exclusive queue, which is deleted with this connection.

        Raises:
            BrokerRefusedError: it belongs to another connection.
        """
        if name in self.engine.router.queues:
            self.queue(name)
            return
        queue = MemoryQueue(name, {}, owner=self)
        self.engine.router.add_queue(queue)
        self._exclusive[queue] = None

    def remove_exclusive(self, name: str) -> None:
        """Delete an exclusive queue; a missing one is ignored."""
        for queue in [queue for queue in self._exclusive if queue.name == name]:
            self._exclusive.pop(queue)
            self.engine.remove(queue)

    def close(self) -> None:
        """Close it with its channels and exclusive queues; a second call does nothing."""
        self.open = False
        while self._channels:
            self.close_channel(next(iter(self._channels)))
        for queue in list(self._exclusive):
            self.remove_exclusive(queue.name)

    def lose(self, reason: str) -> None:
        """Close it as after a network failure, and notify its owner."""
        self.close()
        self._on_lost(reason)
