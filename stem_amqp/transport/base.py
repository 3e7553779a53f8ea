"""The contract of a transport, in terms of AMQP.

A transport keeps two connections, one for consuming and one for publishing, so that a broker that blocks
publishers does not block settling. It recovers automatically: after a lost connection, a closed channel or a
cancelled consumer, every `Consumer` consumes again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from stem_amqp.clock import Clock
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.transport.delivery import Delivery, OnDelivery
from stem_amqp.transport.publication import LARGEST_HEADERS, Publication
from stem_amqp.transport.restorer import Restorer


class Consumer(ABC):
    """A consumer on one queue. It consumes again automatically after every interruption."""

    queue: str
    prefetch: int

    @property
    @abstractmethod
    def consuming(self) -> bool:
        """Whether the broker currently delivers to it."""

    @abstractmethod
    async def stop(self) -> None:
        """Cancel the consumer permanently. Its deliveries can still be settled."""

    @abstractmethod
    async def close(self) -> None:
        """Stop, and close its channel: the broker requeues unsettled deliveries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueStatus:
    """The status of a queue, from a passive declaration.

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
    """The broker's information about itself.

    Args:
        product: such as ``RabbitMQ``, or ``memory``.
        version: major, minor, patch.
        cluster: the cluster's name.
        title: its name for messages; default: product and version.
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
        error: the cause.
        downtime: the duration of the interruption in seconds, when restored.
        consumer: whether the connection stays, and only one of its consumers is affected.
    """

    restored: bool
    role: str
    error: str = ""
    downtime: float = 0.0
    consumer: bool = False


OnConnectionChange = Callable[[ConnectionChange], None]
OnMissing = Callable[[], Awaitable[bool]]
Redeclare = Callable[[], Awaitable[None]]


class Transport(ABC):
    """A transport to a broker.

    Attributes:
        clock: the clock for delays and TTLs.
        on_connection_change: called when a connection is lost or restored; set by the worker.
        redeclare: called before a consumer consumes a deleted queue again; set by the application to
            restore the queue. None: wait until the queue exists again.
        restorer: called for an unroutable message, which is then published once more; set by the
            application. None: the publish fails at once.
    """

    clock: Clock
    on_connection_change: OnConnectionChange | None = None
    redeclare: Redeclare | None = None
    restorer: Restorer | None = None

    @property
    def largest_headers(self) -> int:
        """The largest headers in bytes that fit into one frame with the other properties.

        A publication with larger headers raises `UnwritableError`.
        """
        return LARGEST_HEADERS

    @abstractmethod
    async def connect(self) -> BrokerInfo:
        """Open the connections.

        Raises:
            BrokerUnavailableError: none of the URLs answers.
            BrokerRefusedError: the broker refuses the credentials or the virtual host.
            ConfigurationError: the URL or a TLS file is not valid.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close everything; a second call does nothing."""

    def abandon(self) -> None:
        """Abort connections whose event loop is closed, so that the broker requeues their deliveries."""
        return

    @abstractmethod
    async def publish(self, publication: Publication) -> None:
        """Publish and wait for the broker's confirm. May be called concurrently.

        Raises:
            UnwritableError: it cannot be encoded as AMQP.
            UnroutableError: it matches no queue.
            PublishRefusedError: the broker nacked it.
            PublishTimeoutError: no confirm within the publish timeout.
            BrokerUnavailableError: no connection within the publish timeout.
        """

    @abstractmethod
    def send(self, publication: Publication) -> bool:
        """Send a transient message at once: information that may be lost, such as an event.

        It is neither mandatory nor confirmed, and waits for nothing. Messages of tasks are published
        with `publish`.

        Returns:
            Whether it was sent. It is not while there is no connection, and while the broker does not
            read what was sent before.

        Raises:
            UnwritableError: it cannot be encoded as AMQP.
        """

    async def replace(self, delivery: Delivery, publication: Publication) -> None:
        """Publish, and after the confirm acknowledge the delivery that the publication replaces.

        A crash in between may repeat the message but never loses it.

        Raises:
            PublishError: as `publish` does; the delivery is not settled then.
            StaleDeliveryError: the delivery's channel is closed; the message exists twice.
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
            prefetch: the most unsettled deliveries, at least 1.
            tag: the consumer tag, which the management UI shows.
            exclusive: request to be the only consumer.
            on_missing: called when the queue is deleted later and `redeclare` does not restore it: True
                ends the consumer, False keeps waiting for the queue.

        Raises:
            TopologyMissingError: there is no such queue, and `redeclare` could not restore it.
            BrokerRefusedError: it is in exclusive use, or the user may not read it.
            BrokerUnavailableError: there is no connection.
        """

    @abstractmethod
    def browse(self, queue: str) -> AbstractAsyncContextManager[AsyncIterator[Delivery]]:
        """Browse a queue from its head.

        Deliveries that are not settled inside the block are requeued at its end, in their order.

        Raises:
            TopologyMissingError: there is no such queue.
            BrokerUnavailableError: there is no connection.
        """

    @abstractmethod
    def subscribe(
        self,
        name: str,
        on_delivery: OnDelivery,
        *,
        expires: float | None = None,
        exchange: str | None = None,
        keys: Sequence[str] = ("",),
        limit: int | None = None,
        on_renamed: Callable[[str], None] | None = None,
    ) -> AbstractAsyncContextManager[str]:
        """Consume an exclusive queue of this process, for replies, with automatic acknowledgement.

        It is declared again after a lost connection; messages in between are lost. Its name is the same,
        unless the broker keeps that name locked, as a cluster does for a failed node.

        Args:
            name: the queue's name.
            on_delivery: called for each delivery, which is already acknowledged.
            expires: seconds without use after which the broker may delete it.
            exchange: the exchange to bind it to, for broadcasts.
            keys: the binding keys; a fanout exchange ignores them.
            limit: the most messages in it; the broker drops the oldest of more. None: no limit.
            on_renamed: called with its new name before it is declared.

        Raises:
            BrokerRefusedError: another connection owns a queue of that name.
            BrokerUnavailableError: there is no connection.
        """

    async def blocked(self) -> str:
        """Return why the broker takes no publish at this moment, with a remedy; an empty string if it does.

        A broker reports an alarm only after the first publish that it does not take.
        """
        return ""

    @abstractmethod
    async def declare(self, entities: Entities) -> None:
        """Declare missing entities; existing ones must be equal.

        Raises:
            TopologyMismatchError: an entity exists with other arguments.
            TopologyMissingError: a binding's source or destination does not exist.
            BrokerRefusedError: the user may not declare an entity.
            BrokerUnavailableError: there is no connection.
        """

    @abstractmethod
    async def missing(self, entities: Entities) -> list[Exchange | Queue]:
        """Return the exchanges and queues that do not exist. AMQP has no query for bindings.

        Raises:
            BrokerUnavailableError: there is no connection.
        """

    @abstractmethod
    async def status(self, queues: Iterable[str]) -> dict[str, QueueStatus | None]:
        """Return the status of each queue; None for one that does not exist.

        Raises:
            BrokerUnavailableError: there is no connection.
        """

    @abstractmethod
    async def purge(self, queue: str) -> int:
        """Purge a queue, and return the number of dropped messages.

        Raises:
            TopologyMissingError: there is no such queue.
            BrokerUnavailableError: there is no connection.
        """

    @abstractmethod
    async def rebind(self, bind: Sequence[Binding], unbind: Sequence[Binding]) -> None:
        """Add bindings and immediately remove others, so that no message is unroutable in between.

        A message that is published while both exist is routed both ways.

        Args:
            bind: the bindings to add.
            unbind: the bindings to remove; missing ones are ignored.

        Raises:
            TopologyMissingError: a source or destination of a new binding does not exist.
            BrokerRefusedError: the user may not bind.
            BrokerUnavailableError: there is no connection.
        """

    @abstractmethod
    async def delete(self, entities: Entities) -> None:
        """Delete exchanges and queues with their messages; missing ones are ignored.

        Raises:
            BrokerRefusedError: the user may not delete an entity.
            BrokerUnavailableError: there is no connection.
        """
