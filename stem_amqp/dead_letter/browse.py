"""Looking through a dead-letter queue; what is not taken out goes back to its place."""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from stem_amqp.dead_letter.letter import DeadLetter
from stem_amqp.errors import BrokerError, TopologyMissingError
from stem_amqp.transport.base import Delivery, Publication
from stem_amqp.worker.settle import discard

if TYPE_CHECKING:
    from stem_amqp.app import Stem

log = logging.getLogger("stem_amqp.dead_letter")

RETURN_TIME = 2.0
"""Seconds that letters get to be ready again after a look, at most."""
_POLL = 0.01


class DeadLetterQueue:
    """The dead-letter queue of a logical queue, as it lies on the broker.

    Args:
        app: the application; connected by the time that something is asked.
        queue: the logical queue.
    """

    def __init__(self, app: Stem, queue: str) -> None:
        self._app = app
        self._queue = queue
        self.name = _name(app, queue)

    async def count(self) -> int:
        """Return how many letters are ready in it.

        Raises:
            TopologyMissingError: there is no such queue; the message says which there are.
        """
        transport = self._app.connected.transport
        status = (await transport.status([self.name]))[self.name]
        if status is None:
            raise TopologyMissingError(await self._missing())
        return status.ready

    @asynccontextmanager
    async def look(self, at_most: int | None = None) -> AsyncIterator[Look]:
        """Look through the letters that are there now, from the head.

        When the block ends, those that were not taken out are in their place, and ready.

        Args:
            at_most: letters to look at; None for all.

        Raises:
            TopologyMissingError: there is no such queue.
            BrokerUnavailableError: the connection was lost.
        """
        present = await self.count()
        looked_at = present if at_most is None else min(at_most, present)
        version = self._app.topology.queue(self._queue).version
        work_queues = frozenset(self._app.names.works(self._queue, version).values())
        async with self._app.connected.transport.browse(self.name) as deliveries:
            look = Look(self._app, deliveries, work_queues, looked_at)
            yield look
        await self._ready_again(present - look.removed)

    async def _ready_again(self, count: int) -> None:
        """Wait until so many letters are ready: RabbitMQ takes them back a moment later.

        Who counts or replays at once would otherwise miss them.
        """
        try:
            async with asyncio.timeout(RETURN_TIME):
                while await self.count() < count:  # noqa: ASYNC110 - only the broker knows
                    await asyncio.sleep(_POLL)
        except (TimeoutError, BrokerError) as error:
            log.debug("%s: not all letters are seen to be back: %s", self.name, error)

    async def _missing(self) -> str:
        names = self._app.names
        known = {_name(self._app, queue): queue for queue in self._app.queues}
        statuses = await self._app.connected.transport.status(known)
        there = sorted(known[name] for name, status in statuses.items() if status is not None)
        close = difflib.get_close_matches(self._queue, there, n=1)
        hint = f"; did you mean the queue {close[0]!r}?" if close else ""
        if there:
            remedy = f"Known queues that have one: {', '.join(there)}."
        else:
            remedy = (
                f"Check the queue's name, the namespace ({names.namespace}) and the broker's virtual"
                f" host. Known here, but without one too: {', '.join(known.values())}."
            )
        return f"there is no dead-letter queue {self.name!r}{hint}\n  {remedy}"


def _name(app: Stem, queue: str) -> str:
    return app.names.dlq(queue, app.topology.queue(queue).dead_letter.version)


class Look:
    """A look through a dead-letter queue: iterate over it, and take out what is to go.

    Args:
        app: the application.
        deliveries: what the broker hands out.
        work_queues: the names on the broker of the queue that the letters come from.
        at_most: letters to look at.
    """

    def __init__(
        self,
        app: Stem,
        deliveries: AsyncIterator[Delivery],
        work_queues: frozenset[str],
        at_most: int,
    ) -> None:
        self.removed = 0
        self._transport = app.connected.transport
        self._seal = app.connected.seal
        self._deliveries = deliveries
        self._work_queues = work_queues
        self._at_most = at_most

    async def __aiter__(self) -> AsyncIterator[tuple[Delivery, DeadLetter]]:
        """Go through the letters: the delivery, and the letter that it is."""
        for position in range(1, self._at_most + 1):
            delivery = await anext(self._deliveries, None)
            if delivery is None:
                return
            letter = DeadLetter.read(
                delivery, position=position, work_queues=self._work_queues, seal=self._seal
            )
            yield delivery, letter

    async def discard(self, delivery: Delivery) -> None:
        """Take a letter out for good.

        Raises:
            StaleDeliveryError: the connection was lost; the letter is still there.
        """
        await discard(delivery)
        self.removed += 1

    async def replace(self, delivery: Delivery, publication: Publication) -> None:
        """Publish something in place of a letter, and take that out once it is confirmed.

        It is done as a whole even if the caller is cancelled, or both would be there.

        Raises:
            PublishError: it could not be published; the letter stays.
            StaleDeliveryError: it was published, but the letter is still there.
        """
        step = asyncio.ensure_future(self._transport.replace(delivery, publication))
        try:
            await asyncio.shield(step)
        except asyncio.CancelledError:
            await asyncio.gather(step, return_exceptions=True)
            raise
        self.removed += 1
