"""Consumers of the in-memory broker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from typing_extensions import override

from stem_amqp.errors import BrokerError
from stem_amqp.topology.entities import Binding, Entities
from stem_amqp.transport.base import Consumer, OnMissing
from stem_amqp.transport.delivery import OnDelivery
from stem_amqp.transport.memory.channel import Channel
from stem_amqp.transport.memory.connection import MemoryConnection
from stem_amqp.transport.memory.declare import declare


class MemoryConsumer(Consumer):
    """A consumer on one queue.

    Args:
        queue: the queue's name.
        on_delivery: called for each delivery.
        on_lost: called when it no longer consumes and wants to be attached again.
        on_close: called when it is closed.
        prefetch: the maximum number of unsettled deliveries.
        tag: the consumer tag.
        exclusive: request to be the only consumer.
        on_missing: called when the queue is deleted and cannot be restored; True ends the consumer.
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
        self._connection: MemoryConnection | None = None
        self._channel: Channel | None = None
        self._consuming = False
        self._stopped = False

    @property
    @override
    def consuming(self) -> bool:
        return self._consuming

    @property
    def stopped(self) -> bool:
        """Whether it is cancelled for good."""
        return self._stopped

    def attach(self, connection: MemoryConnection) -> None:
        """Start to consume over a connection; does nothing if it already consumes or is stopped.

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
        """Record that the broker no longer delivers to it, and request to be attached again."""
        self._consuming = False
        self._on_lost(self)

    @override
    async def stop(self) -> None:
        self._stopped = True
        self._consuming = False
        if self._channel is not None:
            self._channel.stop()

    @override
    async def close(self) -> None:
        await self.stop()
        self._on_close(self)
        if self._connection is not None and self._channel is not None:
            self._connection.close_channel(self._channel)
            self._connection = self._channel = None

    def _open(self, connection: MemoryConnection) -> Channel:
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
        exchange: the exchange to bind it to, if any.
        keys: the binding keys.
        **options: as for `MemoryConsumer`.
    """

    def __init__(
        self,
        queue: str,
        on_delivery: OnDelivery,
        *,
        exchange: str | None = None,
        keys: Sequence[str] = ("",),
        **options: Any,
    ) -> None:
        super().__init__(queue, on_delivery, **options)
        self._exchange = exchange
        self._keys = tuple(keys)

    @override
    async def close(self) -> None:
        """Stop, and remove the queue."""
        connection = self._connection
        await super().close()
        if connection is not None:
            connection.remove_exclusive(self.queue)

    @override
    def _open(self, connection: MemoryConnection) -> Channel:
        connection.declare_exclusive(self.queue)
        if self._exchange is not None:
            bindings = tuple(
                Binding(source=self._exchange, destination=self.queue, key=key)
                for key in self._keys
            )
            try:
                declare(connection.engine, Entities(bindings=bindings))
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
