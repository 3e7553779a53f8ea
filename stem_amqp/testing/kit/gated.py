"""A worker's connection to the broker in memory, behind a gate."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from stem_amqp.testing.kit.gate import Gate
from stem_amqp.testing.kit.stand_in import InMemory
from stem_amqp.transport.delivery import Delivery, OnDelivery
from stem_amqp.transport.memory import MemoryBroker, MemoryTransport
from stem_amqp.transport.memory.consumer import MemoryConsumer
from stem_amqp.transport.memory.link import Link


class GatedTransport(MemoryTransport):
    """A worker's connection. While its gate is shut it receives deliveries, but passes none on.

    Args:
        home: the application's stand-in with the broker.
        gate: the gate.
    """

    def __init__(self, home: InMemory, gate: Gate) -> None:
        self._gate = gate
        settings = home.app.settings
        super().__init__(
            home.broker,
            name="stem-amqp test worker",
            connect_timeout=settings.connect_timeout,
            publish_timeout=settings.publish_timeout,
        )
        home.attach_restorer(self)

    @override
    def _make_link(self, **options: Any) -> Link:
        return GatedLink(self.broker, gate=self._gate, **options)

    def lose(self, reason: str) -> None:
        """Drop the connection, if there is one."""
        if self._link.connection is not None:
            self.broker.drop(self._link.connection, reason)

    @override
    def _make_consumer(self, queue: str, on_delivery: OnDelivery, **options: Any) -> MemoryConsumer:
        """Create a consumer; deliveries during a shut gate are passed on when it opens."""
        held: list[Delivery] = []

        def pass_on() -> None:
            while held:
                on_delivery(held.pop(0))

        def take(delivery: Delivery) -> None:
            if self._gate.shut:
                held.append(delivery)
            else:
                on_delivery(delivery)

        self._gate.on_thaw.append(pass_on)
        return super()._make_consumer(queue, take, **options)


class GatedLink(Link):
    """A link that does not reconnect while its gate is shut.

    Args:
        broker: the broker.
        gate: the gate.
        **options: as for `Link`.
    """

    def __init__(self, broker: MemoryBroker, *, gate: Gate, **options: Any) -> None:
        super().__init__(broker, **options)
        self._gate = gate

    @override
    async def _reconnect(self, reason: str) -> None:
        await self._gate.passed()
        await super()._reconnect(reason)
