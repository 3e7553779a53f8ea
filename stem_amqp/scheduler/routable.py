"""Whether the queue of a tick exists: RabbitMQ confirms a tick that is published ahead, and parks it when it is due."""

from __future__ import annotations

import asyncio
import logging

from stem_amqp.connected import Connected
from stem_amqp.errors import BrokerRefusedError
from stem_amqp.producer.producer import no_such_queue
from stem_amqp.tasks.call import Call
from stem_amqp.topology.names import Names

log = logging.getLogger("stem_amqp.scheduler")

FOUND = 60.0
"""Seconds for which a queue that exists is not looked for again."""
MISSING = 10.0
"""Seconds for which a queue that does not exist is not looked for again."""


class Routable:
    """Looks for the queues of ticks which are none of the application's, so that nobody here has declared them.

    Args:
        names: the names on the broker.
        connected: the connections.
    """

    def __init__(self, names: Names, connected: Connected) -> None:
        self._names = names
        self._connected = connected
        self._turn = asyncio.Lock()
        self._seen: dict[str, tuple[bool, float]] = {}

    async def check(self, call: Call) -> None:
        """Check that the queue of a call exists.

        Raises:
            UnroutableError: it does not; the text names the remedy.
            BrokerUnavailableError: the broker does not answer.
        """
        queue = self._connected.producer.foreign_queue(call)
        if queue is not None and not await self._exists(queue):
            raise no_such_queue(call.task, queue, self._names.namespace)

    async def _exists(self, queue: str) -> bool:
        async with self._turn:
            now = asyncio.get_running_loop().time()
            known, until = self._seen.get(queue, (False, now))
            if now < until:
                return known
            found = await self._asked(queue)
            self._seen[queue] = found, now + (FOUND if found else MISSING)
            return found

    async def _asked(self, queue: str) -> bool:
        try:
            works = self._names.works(queue, 1).values()
            status = await self._connected.transport.status(works)
        except BrokerRefusedError as error:
            # this user may publish to it, but not look at it
            log.debug("whether the queue %s exists is not known: %s", queue, error)
            return True
        return any(one is not None for one in status.values())
