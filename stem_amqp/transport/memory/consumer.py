"""Consumers of the in-memory broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stem_amqp.errors import BrokerError
from stem_amqp.topology.entities import Binding, Entities
from stem_amqp.transport.base import Consumer, OnDelivery, OnMissing
from stem_amqp.transport.memory.channel import Channel
from stem_amqp.transport.memory.connection import Connection
from stem_amqp.transport.memory.declare import declare


class MemoryConsumer(Consumer):
    """A consumer on one queue.

    Args:
        queue: the queue's name.
        on_delivery: called for each delivery.
        on_lost: called when it no longer consumes and wants to be attached again.
        on_close: called when it is closed.
        prefetch: unsettled deliveries at most.
        tag: the consumer tag.
        exclusive: be the only consumer.
        on_missing: asked when the queue is gone for good; True lets the consumer end.
    """

    def __init__(
        self,
        queue: str,
        on_delivery: OnDelivery,
        *,
        on_lost: Callable[[MemoryConsumer], None],
        on_close: Callable[[MemoryConsumer], None],
        prefetch: int,
        tag: str,
        exclusive: bool = False,
        on_missing: OnMissing | None = None,
    ) -> None:
        self.queue = queue
        self.prefetch = prefetch
        self.tag = tag
        self.on_missing = on_missing
        self._on_delivery = on_delivery
        self._on_lost = on_lost
        self._on_close = on_close
        self._exclusive = exclusive
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._consuming = False
        self._stopped = False

    @property
    def consuming(self) -> bool:
        """Whether the broker currently delivers to it."""
        return self._consuming

    @property
    def stopped(self) -> bool:
        """Whether it is cancelled for good."""
        return self._stopped

    def attach(self, connection: Connection) -> None:
        """Consume through a connection; nothing happens if it does already or is stopped.

        Raises:
            TopologyMissingError: there is no such queue.
            BrokerRefusedError: the queue is in exclusive use.
        """
        if self._consuming or self._stopped:
            return
        channel = self._open(connection)
        try:
            channel.start()
        except BrokerError:
            connection.close_channel(channel)
            raise
        self._connection, self._channel = connection, channel
        self._consuming = True

    def lose(self) -> None:
        """Note that the broker delivers to it no longer, and ask to be attached again."""
        self._consuming = False
        self._on_lost(self)

    async def stop(self) -> None:
        """Cancel the consumer, for good. What was delivered can still be settled."""
        self._stopped = True
        self._consuming = False
        if self._channel is not None:
            self._channel.stop()

    async def close(self) -> None:
        """Stop, and close its channel: the broker takes back what is not settled."""
        await self.stop()
        self._on_close(self)
        if self._connection is not None and self._channel is not None:
            self._connection.close_channel(self._channel)
            self._connection = self._channel = None

    def _open(self, connection: Connection) -> Channel:
        return connection.channel(
            self.queue,
            on_delivery=self._on_delivery,
            on_cancel=self.lose,
            prefetch=self.prefetch,
            tag=self.tag,
            exclusive=self._exclusive,
        )


class MemorySubscription(MemoryConsumer):
    """A consumer with an exclusive queue of its own, acknowledged on receipt.

    Args:
        queue: the queue's name.
        on_delivery: called for each delivery.
        exchange: the fanout exchange to bind it to, if any.
        **options: as for `MemoryConsumer`.
    """

    def __init__(
        self, queue: str, on_delivery: OnDelivery, *, exchange: str | None = None, **options: Any
    ) -> None:
        super().__init__(queue, on_delivery, **options)
        self._exchange = exchange

    async def close(self) -> None:
        """Stop, and remove the queue."""
        connection = self._connection
        await super().close()
        if connection is not None:
            connection.remove_exclusive(self.queue)

    def _open(self, connection: Connection) -> Channel:
        connection.declare_exclusive(self.queue)
        if self._exchange is not None:
            binding = Binding(source=self._exchange, destination=self.queue)
            try:
                declare(connection.engine, Entities(bindings=(binding,)))
            except BrokerError:
                connection.remove_exclusive(self.queue)
                raise
        return connection.channel(
            self.queue,
            on_delivery=self._on_delivery,
            on_cancel=self.lose,
            tag=self.tag,
            settled=True,
        )
