"""Directives in RabbitMQ: one document in a durable queue, of which only one process at a time has it.

A change takes the document, publishes the changed one, waits for the confirm, and acknowledges the one that
it took. A crash in between leaves both; whoever takes them next merges them, so nothing is lost. The queue
has a single active consumer: whoever waits is served in turn by the broker, and gets all documents at once.
A process that dies returns them, since its connection closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence

from typing_extensions import override

from stem_amqp.directives.document import Document, Entry
from stem_amqp.directives.store import Change, Store
from stem_amqp.errors import StaleDeliveryError, TopologyMissingError
from stem_amqp.topology.names import DOCUMENT_KEY, Names
from stem_amqp.transport.base import QueueStatus, Transport
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.publication import Publication

log = logging.getLogger("stem_amqp.directives")

PATIENCE = 10.0
"""Seconds to wait for a document that another process has. After that a change is published as a document
of its own, which is merged later."""
COPIES = 50
"""The most documents that are taken at once; more than one exist only after a crash."""
TYPE = "stem.directives"
"""AMQP ``type`` of the document."""


class BrokerStore(Store):
    """Stores the document in a queue of the namespace.

    Args:
        transport: the broker.
        names: the names on it.
        accepts: returns whether an entry's signature is valid, or not needed.
        patience: seconds to wait for a document that another process has.
    """

    name = "rabbitmq"

    def __init__(
        self,
        transport: Transport,
        names: Names,
        accepts: Callable[[Entry], bool],
        *,
        patience: float = PATIENCE,
    ) -> None:
        self._transport = transport
        self._names = names
        self._accepts = accepts
        self._patience = patience

    @override
    async def read(self) -> Document:
        if _is_unused(await self._status()):
            return Document()
        async with self._taken() as deliveries:
            return await self._merged(deliveries)

    @override
    async def change(self, change: Change) -> Document:
        if _is_unused(await self._status()):
            # if another process does the same now, there are two documents, which are merged later
            return await self._publish(change(Document()))
        async with self._taken() as deliveries:
            taken = list(deliveries)
            stored = await self._publish(change(await self._merged(taken)))
            for delivery in taken:
                with contextlib.suppress(StaleDeliveryError):
                    await delivery.ack()
            return stored

    async def _publish(self, document: Document) -> Document:
        await self._transport.publish(
            Publication(
                exchange=self._names.directives,
                routing_key=DOCUMENT_KEY,
                body=document.encode(),
                type=TYPE,
                content_type="application/json",
                app_id=self._names.namespace,
            )
        )
        return document

    async def _merged(self, deliveries: Sequence[Delivery]) -> Document:
        document = Document()
        for delivery in deliveries:
            # verifying many signatures takes long
            read = await asyncio.to_thread(Document.decode, delivery.body, self._accepts)
            document = document.merge(read)
        return document

    async def _status(self) -> QueueStatus:
        name = self._names.directives
        status = (await self._transport.status([name]))[name]
        if status is None:
            raise TopologyMissingError(
                f"the queue {name}, which stores directives, does not exist\n"
                "  Declare it: stem-amqp topology apply"
            )
        return status

    @contextlib.asynccontextmanager
    async def _taken(self) -> AsyncIterator[list[Delivery]]:
        """Take all documents for a block; those that are not acknowledged then are returned."""
        deliveries: list[Delivery] = []
        arrived = asyncio.Event()

        def receive(delivery: Delivery) -> None:
            deliveries.append(delivery)
            arrived.set()

        consumer = await self._transport.consume(
            self._names.directives, receive, prefetch=COPIES, tag="directives"
        )
        try:
            await self._all(deliveries, arrived)
            yield deliveries
        finally:
            try:
                # cancelled first, so that what is returned goes to the next process
                await consumer.stop()
                for delivery in deliveries:
                    with contextlib.suppress(StaleDeliveryError):
                        await delivery.nack(requeue=True)
            finally:
                await consumer.close()

    async def _all(self, deliveries: list[Delivery], arrived: asyncio.Event) -> None:
        """Wait until all documents have arrived; none arrives if another process keeps them for long."""
        try:
            async with asyncio.timeout(self._patience):
                await arrived.wait()
        except TimeoutError:
            log.warning(
                "no document of directives after %g s: another process may have it", self._patience
            )
            return
        while (found := len(deliveries)) < COPIES:
            status = await self._status()
            if not status.ready and len(deliveries) == found:
                return


def _is_unused(status: QueueStatus) -> bool:
    """Return whether no document is stored, and no process has it.

    Whoever has it is the active consumer, or was until it has returned the document, and counts as one.
    """
    return not status.ready and not status.consumers
