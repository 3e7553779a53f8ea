"""What a transport does, in AMQP words.

A transport keeps two connections, one for consuming and one for publishing, so that a broker which
blocks publishers does not stop the settling of what has been consumed. It heals by itself: after a
lost connection, a closed channel or a cancelled consumer, every `Consumer` consumes again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from stem_amqp.clock import Clock
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue

Headers = Mapping[str, Any]

FRAME_MAX = 131072
"""Bytes of a frame that RabbitMQ offers unless it is set up otherwise."""
OTHER_PROPERTIES = 1664
"""Bytes of a content header without its table: six short texts of 256, and what is fixed."""
LARGEST_HEADERS = FRAME_MAX - OTHER_PROPERTIES


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """A message to publish: persistent, mandatory, and confirmed before `publish` returns.

    Each publish gets a fresh ``message_id`` from the transport.

    Args:
        exchange: the exchange; ``""`` is the default exchange (replies only).
        routing_key: the routing key, at most 255 bytes.
        body: the bytes.
        type: AMQP ``type``, the task's name.
        correlation_id: AMQP ``correlation_id``, the task's id.
        reply_to: AMQP ``reply_to``, where a reply is wanted.
        priority: AMQP ``priority``.
        app_id: AMQP ``app_id``, the namespace.
        headers: AMQP headers.
        content_type: AMQP ``content_type``.
    """

    exchange: str
    routing_key: str
    body: bytes
    type: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    priority: int | None = None
    app_id: str | None = None
    headers: Headers = field(default_factory=dict)
    content_type: str = "application/json"


class Delivery(ABC):
    """A message that the broker handed over, to be settled exactly once.

    Attributes:
        body: the bytes.
        headers: the headers as received, RabbitMQ's own among them.
        exchange: the exchange that it was last published to.
        routing_key: the routing key that it came with.
        redelivered: whether the broker delivered it before.
        type: AMQP ``type``.
        correlation_id: AMQP ``correlation_id``.
        message_id: AMQP ``message_id``.
        reply_to: AMQP ``reply_to``.
        priority: AMQP ``priority``.
        app_id: AMQP ``app_id``.
        content_type: AMQP ``content_type``.
        timestamp: AMQP ``timestamp``, seconds since the epoch.
    """

    __slots__ = ()

    body: bytes
    headers: Headers
    exchange: str
    routing_key: str
    redelivered: bool
    type: str | None
    correlation_id: str | None
    message_id: str | None
    reply_to: str | None
    priority: int | None
    app_id: str | None
    content_type: str | None
    timestamp: float | None

    @abstractmethod
    async def ack(self) -> None:
        """Acknowledge: the broker forgets the message.

        Raises:
            StaleDeliveryError: the channel is gone, and the broker delivers the message again.
        """

    @abstractmethod
    async def nack(self, *, requeue: bool) -> None:
        """Return it politely (``requeue``), or dead-letter it.

        Raises:
            StaleDeliveryError: as for `ack`.
        """

    @abstractmethod
    async def reject(self, *, requeue: bool) -> None:
        """Return it as a failure that counts towards the delivery limit, or dead-letter it.

        Raises:
            StaleDeliveryError: as for `ack`.
        """


OnDelivery = Callable[[Delivery], None]
"""Called in the event loop for each delivery; must not block and must not raise."""


class Consumer(ABC):
    """A consumer on one queue. It consumes again by itself after whatever broke."""

    queue: str
    prefetch: int

    @property
    @abstractmethod
    def consuming(self) -> bool:
        """Whether the broker currently delivers to it."""

    @abstractmethod
    async def stop(self) -> None:
        """Cancel the consumer, for good. What was delivered can still be settled."""

    @abstractmethod
    async def close(self) -> None:
        """Stop, and close its channel: the broker takes back what is not settled."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueStatus:
    """What a passive declare tells of a queue.

    Args:
        name: the queue.
        ready: messages ready for delivery.
        consumers: consumers on it.
    """

    name: str
    ready: int
    consumers: int


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerInfo:
    """What the broker says of itself.

    Args:
        product: such as ``RabbitMQ``, or ``memory``.
        version: major, minor, patch.
        cluster: the cluster's name.
        title: what to call it, where that is not product and version.
    """

    product: str
    version: tuple[int, ...]
    cluster: str = ""
    title: str = ""

    def __str__(self) -> str:
        if self.title:
            return self.title
        return f"{self.product} {'.'.join(map(str, self.version))}".strip()


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionChange:
    """A connection was lost or restored.

    Args:
        restored: True when consuming or publishing works again.
        role: ``consuming`` or ``publishing``.
        error: what broke it.
        downtime: seconds that it took, when restored.
    """

    restored: bool
    role: str
    error: str = ""
    downtime: float = 0.0


OnConnectionChange = Callable[[ConnectionChange], None]
OnMissing = Callable[[], Awaitable[bool]]
Redeclare = Callable[[], Awaitable[None]]


class Transport(ABC):
    """The way to a broker.

    Attributes:
        clock: the time that delays and TTLs are measured with.
        on_connection_change: called when a connection is lost or restored; set by the worker.
        redeclare: called before a consumer consumes again on a queue that is gone; set by the
            application so that a deleted queue comes back. None: wait until it is there again.
    """

    clock: Clock
    on_connection_change: OnConnectionChange | None = None
    redeclare: Redeclare | None = None

    @property
    def largest_headers(self) -> int:
        """Bytes of headers that fit into one frame beside the other properties.

        A publication with more is an `UnwritableError`.
        """
        return LARGEST_HEADERS

    @abstractmethod
    async def connect(self) -> BrokerInfo:
        """Open the connections.

        Raises:
            BrokerUnavailableError: none of the URLs answers.
            BrokerRefusedError: the broker refuses the credentials or the virtual host.
            ConfigurationError: the URL or a TLS file cannot be used.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close everything; closing twice is no error."""

    @abstractmethod
    async def publish(self, publication: Publication) -> None:
        """Publish and wait for the broker's confirm. May be called concurrently.

        Raises:
            UnwritableError: it cannot be written as AMQP, now or later.
            UnroutableError: no queue took it.
            PublishRefusedError: the broker nacked it.
            PublishTimeoutError: no confirm within the publish timeout.
            BrokerUnavailableError: there is no connection, within the publish timeout.
        """

    async def replace(self, delivery: Delivery, publication: Publication) -> None:
        """Publish, and only after the confirm acknowledge what it replaces.

        A crash in between repeats the message and never loses it.

        Raises:
            PublishError: as `publish` does; the delivery is not settled then.
            StaleDeliveryError: the delivery's channel is gone; the message is there twice.
        """
        await self.publish(publication)
        await delivery.ack()

    @abstractmethod
    async def consume(
        self,
        queue: str,
        on_delivery: OnDelivery,
        *,
        prefetch: int,
        tag: str,
        exclusive: bool = False,
        on_missing: OnMissing | None = None,
    ) -> Consumer:
        """Start to consume a queue on a channel of its own, with per-consumer QoS.

        Args:
            queue: the queue's name on the broker.
            on_delivery: called for each delivery.
            prefetch: unsettled deliveries at most, at least 1.
            tag: the consumer tag, as operators see it.
            exclusive: be the only consumer.
            on_missing: called when the queue has gone later on, and `redeclare` does not bring it
                back: True lets the consumer end, False lets it go on waiting for the queue.

        Raises:
            TopologyMissingError: there is no such queue, and `redeclare` could not bring it.
            BrokerUnavailableError: there is no connection.
        """

    @abstractmethod
    def browse(self, queue: str) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Look through a queue from its head.

        Deliveries that are not settled inside the block go back to the queue at its end,
        in their old order.

        Raises:
            TopologyMissingError: there is no such queue.
        """

    @abstractmethod
    def subscribe(
        self,
        name: str,
        on_delivery: OnDelivery,
        *,
        expires: float | None = None,
        exchange: str | None = None,
        on_renamed: Callable[[str], None] | None = None,
    ) -> AbstractAsyncContextManager[str]:
        """Have an exclusive queue of this process for replies, acknowledged on receipt.

        It comes back after a lost connection; what arrives in between is lost. It has the same
        name then, unless the broker keeps that one locked, as a cluster does for a dead node.

        Args:
            name: the queue's name.
            on_delivery: called for each delivery, which is settled already.
            expires: unused seconds after which the broker may remove it.
            exchange: bind it to this fanout exchange, to get what everybody gets.
            on_renamed: called with its new name, before it is there.
        """

    @abstractmethod
    async def declare(self, entities: Entities) -> None:
        """Declare everything that is missing; what is there already must be the same.

        Raises:
            TopologyMismatchError: something is there with other arguments.
            BrokerRefusedError: the user may not declare it.
        """

    @abstractmethod
    async def missing(self, entities: Entities) -> list[Exchange | Queue]:
        """Return the exchanges and queues that are not there. Bindings cannot be asked for."""

    @abstractmethod
    async def status(self, queues: Iterable[str]) -> dict[str, QueueStatus | None]:
        """Return the status of each queue; None for one that is not there."""

    @abstractmethod
    async def purge(self, queue: str) -> int:
        """Drop every ready message of a queue, and return how many.

        Raises:
            TopologyMissingError: there is no such queue.
        """

    @abstractmethod
    async def rebind(self, bind: Sequence[Binding], unbind: Sequence[Binding]) -> None:
        """Add bindings and take others away right after, so that no message is unroutable in between.

        A message that is published in the moment in which both are there goes both ways. Taking away
        a binding that is not there is no error.

        Args:
            bind: what to add.
            unbind: what to take away.

        Raises:
            TopologyMissingError: a source or destination of a new binding is not there.
            BrokerRefusedError: the user may not bind.
            BrokerUnavailableError: there is no connection.
        """

    @abstractmethod
    async def delete(self, entities: Entities) -> None:
        """Delete exchanges and queues with all that is in them; what is not there is no error."""


__all__ = [
    "Binding",
    "BrokerInfo",
    "ConnectionChange",
    "Consumer",
    "Delivery",
    "Entities",
    "Exchange",
    "Headers",
    "OnConnectionChange",
    "OnDelivery",
    "OnMissing",
    "Publication",
    "Queue",
    "QueueStatus",
    "Redeclare",
    "Transport",
]
