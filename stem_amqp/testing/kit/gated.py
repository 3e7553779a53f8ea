"""A worker's own connection to the broker in memory, behind a gate."""

from __future__ import annotations

from typing import Any

from stem_amqp.testing.kit.gate import Gate
from stem_amqp.testing.kit.stand_in import InMemory
from stem_amqp.transport.base import Delivery, OnDelivery
from stem_amqp.transport.memory import MemoryBroker, MemoryTransport
from stem_amqp.transport.memory.consumer import MemoryConsumer
from stem_amqp.transport.memory.link import Link


class GatedTransport(MemoryTransport):
    """A worker's own connection. Behind a shut gate it takes deliveries, and passes none on.

    Args:
        home: where the broker is.
        gate: the gate.
    """

    def __init__(self, home: InMemory, gate: Gate) -> None:
        self._gate = gate
        super().__init__(
            home.broker,
            name="stem-amqp test worker",
            publish_timeout=home.app.settings.publish_timeout,
        )
        self.redeclare = home.redeclare

    def _make_link(self, **options: Any) -> Link:
        return GatedLink(self.broker, gate=self._gate, **options)

    def lose(self, reason: str) -> None:
        """Lose the connection, if there is one."""
        if self._link.connection is not None:
            self.broker.drop(self._link.connection, reason)

    def _make_consumer(self, queue: str, on_delivery: OnDelivery, **options: Any) -> MemoryConsumer:
        """Make a consumer; what is delivered behind a shut gate is passed on when it opens."""
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
    """A link that does not connect again while its gate is shut.

    Args:
        broker: the broker.
        gate: the gate.
        **options: as for `Link`.
    """

    def __init__(self, broker: MemoryBroker, *, gate: Gate, **options: Any) -> None:
        super().__init__(broker, **options)
        self._gate = gate

    async def _reconnect(self, reason: str) -> None:
        await self._gate.passed()
        await super()._reconnect(reason)
