"""Browse a dead-letter queue; letters that are not removed return to their position."""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from stem_amqp.dead_letter.letter import DeadLetter
from stem_amqp.errors import BrokerError, TopologyMissingError
from stem_amqp.topology.names import REJECTED
from stem_amqp.transport.browsing import fetch_returned
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.publication import Publication
from stem_amqp.worker.settle import discard

if TYPE_CHECKING:
    from stem_amqp.dead_letter.application import Application

log = logging.getLogger("stem_amqp.dead_letter")

REJECTED_ALIAS = "rejected"
"""An alias of the rejected queue, unless a logical queue has that name."""
MAX_RETURN_TIME = 2.0
"""Maximum seconds to wait for letters to be ready again after browsing."""
_POLL = 0.01


class DeadLetterQueue:
    """The dead-letter queue of a logical queue on the broker.

    Args:
        app: the application; it must be connected before a method is called.
        queue: the logical queue.
    """

    def __init__(self, app: Application, queue: str) -> None:
        self._app = app
        self._queue = queue
        self.name = _name(app, queue)

    async def count(self) -> int:
        """Return the number of ready letters.

        Raises:
            TopologyMissingError: the queue does not exist; the message lists those that do.
        """
        transport = self._app.connected.transport
        status = (await transport.status([self.name]))[self.name]
        if status is None:
            raise TopologyMissingError(await self._missing())
        return status.ready

    @asynccontextmanager
    async def browse(self, at_most: int | None = None) -> AsyncIterator[Browse]:
        """Iterate over the letters that are in the queue now, from the head.

        When the block ends, letters that were not removed are in their old position and ready.

        Args:
            at_most: maximum number of letters; None for all.

        Raises:
            TopologyMissingError: the queue does not exist.
            BrokerUnavailableError: the connection was lost.
        """
        await self.count()  # names the queues that exist if this one does not
        version = self._app.topology.queue(self._queue).version
        work_queues = frozenset(self._app.names.works(self._queue, version).values())
        async with self._app.connected.transport.browse(self.name) as deliveries:
            first = await anext(deliveries, None)
            # Counted with the first letter in hand: letters that were returned just before by another
            # browse are ready for a get earlier than RabbitMQ counts them
            present = 0 if first is None else await self.count() + 1
            found = Browse(
                self._app, first, deliveries, work_queues, present=present, at_most=at_most
            )
            yield found
            await found.finish()
        await self._ready_again(present - found.removed)

    async def _ready_again(self, count: int) -> None:
        """Wait until the given number of letters is ready: RabbitMQ requeues them with a delay.

        A count or a replay right after browsing would otherwise miss them.
        """
        try:
            async with asyncio.timeout(MAX_RETURN_TIME):
                while await self.count() < count:  # noqa: ASYNC110 - only the broker knows
                    await asyncio.sleep(_POLL)
        except (TimeoutError, BrokerError) as error:
            log.debug("%s: some dead letters are not ready again yet: %s", self.name, error)

    async def _missing(self) -> str:
        names = self._app.names
        known = {_name(self._app, queue): queue for queue in self._app.queues}
        statuses = await self._app.connected.transport.status(known)
        existing = sorted(known[name] for name, status in statuses.items() if status is not None)
        close = difflib.get_close_matches(self._queue, existing, n=1)
        hint = f"; did you mean the queue {close[0]!r}?" if close else ""
        if existing:
            remedy = f"Known queues that have one: {', '.join(existing)}."
        else:
            remedy = (
                f"Check the queue's name, the namespace ({names.namespace}) and the broker's virtual"
                f" host. Known queues, also without one: {', '.join(known.values())}."
            )
        return f"there is no dead-letter queue {self.name!r}{hint}\n  {remedy}"


def _name(app: Application, queue: str) -> str:
    if queue == REJECTED or (queue == REJECTED_ALIAS and queue not in app.queues):
        return app.names.rejected
    return app.names.dlq(queue, app.topology.queue(queue).dead_letter.version)


class Browse:
    """One pass over a dead-letter queue: iterate over the letters, discard or replace them.

    Args:
        app: the application.
        first: the first delivery; None if there is none.
        deliveries: the following deliveries from the broker.
        work_queues: the broker names of the queue that the letters come from.
        present: the number of letters in the queue at the beginning.
        at_most: maximum number of letters; None for all that are present.

    Attributes:
        present: the number of letters in the queue at the beginning.
        removed: the number of letters that were removed.
    """

    def __init__(
        self,
        app: Application,
        first: Delivery | None,
        deliveries: AsyncIterator[Delivery],
        work_queues: frozenset[str],
        *,
        present: int,
        at_most: int | None,
    ) -> None:
        self.present = present
        self.removed = 0
        self._last = first
        self._transport = app.connected.transport
        self._seal = app.connected.seal
        self._deliveries = deliveries
        self._work_queues = work_queues
        self._at_most = present if at_most is None else min(at_most, present)

    async def __aiter__(self) -> AsyncIterator[tuple[Delivery, DeadLetter]]:
        """Yield each delivery with the letter decoded from it; can be iterated over once."""
        for position in range(1, self._at_most + 1):
            delivery = self._last if position == 1 else await anext(self._deliveries, None)
            self._last = delivery
            if delivery is None:
                return
            letter = DeadLetter.read(
                delivery, position=position, work_queues=self._work_queues, seal=self._seal
            )
            yield delivery, letter

    async def finish(self) -> None:
        """Fetch the following letters that earlier browsing returned, so that all keep their order."""
        await fetch_returned(self._deliveries, self._last)

    async def discard(self, delivery: Delivery) -> None:
        """Remove a letter permanently.

        Raises:
            StaleDeliveryError: the connection was lost; the letter is still in the queue.
        """
        await discard(delivery)
        self.removed += 1

    async def replace(self, delivery: Delivery, publication: Publication) -> None:
        """Publish a message in place of a letter, and remove the letter once it is confirmed.

        Cancellation of the caller does not interrupt it; otherwise both could remain.

        Raises:
            PublishError: the message could not be published; the letter stays.
            StaleDeliveryError: the message was published, but the letter is still in the queue.
        """
        step = asyncio.ensure_future(self._transport.replace(delivery, publication))
        try:
            await asyncio.shield(step)
        except asyncio.CancelledError:
            await asyncio.gather(step, return_exceptions=True)
            raise
        self.removed += 1
