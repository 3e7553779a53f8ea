"""Moves messages of paused tasks to queues in which they wait."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from stem_amqp.errors import (
    BrokerError,
    BrokerRefusedError,
    TopologyMismatchError,
    UnroutableError,
)
from stem_amqp.topology.names import Names
from stem_amqp.topology.paused_tasks import paused_task
from stem_amqp.transport.base import Transport
from stem_amqp.transport.delivery import Delivery
from stem_amqp.worker.follow_up.again import held
from stem_amqp.worker.follow_up.publish import FollowUpPublisher
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

REFUSED_FOR = 60.0
"""Seconds after a refusal in which the broker is not asked again."""
_UNROUTABLE_FOR = 60.0

Register = Callable[[str, str], Awaitable[None]]
"""Notes for all workers that a logical queue and a task have a queue of held messages; may raise."""


class HoldingQueues:
    """Moves messages of paused tasks to queues in which they wait, in the settler's order.

    Args:
        transport: the broker.
        names: the names on the broker.
        register: called before the first message is moved to a queue.

    Attributes:
        used: the logical queues and tasks whose messages this worker has moved.
    """

    def __init__(self, transport: Transport, names: Names, register: Register) -> None:
        self.used: set[tuple[str, str]] = set()
        self._transport = transport
        self._names = names
        self._register = register
        self._declared: set[tuple[str, str]] = set()
        self._declaring = asyncio.Lock()
        self._refused: dict[tuple[str, str], float] = {}

    async def hold(
        self, delivery: Delivery, job: Job, now: float, publisher: FollowUpPublisher
    ) -> bool:
        """Publish the message of a paused task to the queue in which it waits, and wait for the confirm.

        Args:
            delivery: the message; the caller acknowledges it.
            job: its job, with its task.
            now: seconds since the epoch.
            publisher: publishes it.

        Returns:
            False if the broker refuses it, because this worker may not use such queues.

        Raises:
            StemError: it can never be published, or the delivery is stale.
        """
        if job.definition is None:
            raise RuntimeError("a task that is held is known")
        place = job.queue, job.definition.name
        if time.monotonic() - self._refused.get(place, float("-inf")) < REFUSED_FOR:
            return False

        async def recover(error: BaseException) -> None:
            if isinstance(error, UnroutableError):
                # somebody deleted the queue or its binding
                self._declared.discard(place)
                await self._ensure(place)

        try:
            await self._ensure(place)
            await publisher.publish(
                job,
                held(delivery, self._names, job, now),
                recover,
                unroutable_for=_UNROUTABLE_FOR,
            )
        except (BrokerRefusedError, UnroutableError) as error:
            self._refused[place] = time.monotonic()
            log.error(  # noqa: TRY400 - the broker's refusal says everything
                "messages of the paused task %s cannot wait in the queue %s, and are delayed by a minute"
                " each time instead: %s\n  Allow workers to configure, write and read ^%s: see Users of the"
                " broker in the documentation",
                place[1],
                self._names.held(*place),
                error,
                self._names.paused.replace(".", "\\."),
            )
            return False
        return True

    async def _ensure(self, place: tuple[str, str]) -> None:
        """Declare the queue of a paused task, unless this worker has done so.

        Raises:
            BrokerRefusedError: the user may not.
        """
        if place in self._declared:
            return
        async with self._declaring:
            if place in self._declared:
                return
            self.used.add(place)
            entities = paused_task(self._names, *place)
            try:
                await self._transport.declare(entities)
            except BrokerRefusedError:
                raise
            except TopologyMismatchError as error:
                # One from another release: it holds messages as well
                log.debug("the queue %s is used as it is: %s", self._names.held(*place), error)
            except BrokerError as error:
                # The publish waits for the broker, and then finds no queue, which comes back here
                log.debug("the queue %s is not declared yet: %s", self._names.held(*place), error)
                return
            self._declared.add(place)
            log.info(
                "task %s of queue %s is paused: its messages wait in the queue %s",
                place[1],
                place[0],
                self._names.held(*place),
            )
            await self._register(*place)
