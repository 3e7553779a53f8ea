"""Limits of concurrency without a store: places that RabbitMQ holds for the tasks that run.

A limit of k runs has k queues without messages, its places. A task that runs is the exclusive consumer of
one of them, so the broker itself keeps two from having the same place, and a place is free as soon as its
worker has died. Nothing is counted or seeded, so there are never more places than k, whoever creates the
queues and whenever k changes. No delivery is unsettled, so RabbitMQ's consumer timeout does not apply. An
unused place is deleted by the broker after a while, and declared again when it is needed.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import random
import re
from collections.abc import Callable, Sequence

from stem_amqp.cancellation import end
from stem_amqp.errors import BrokerError, BrokerRefusedError
from stem_amqp.limits.base import Wanted
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Consumer, Transport

log = logging.getLogger("stem_amqp.worker")

MOST_PLACES = 500
"""The largest concurrency of a limit that is held in the broker."""
UNUSED = 600.0
"""Seconds without use after which the broker deletes a place."""
ASKED = 32
"""The most places that one ask looks at."""
WAIT = (0.5, 1.0)
"""The shortest and longest wait of a task until it asks again, in seconds, if few wait."""
SPACING = 0.05
"""Seconds between two asks of a worker's tasks that wait for the same limit."""


class BrokerPlaces:
    """Takes places for the tasks of one worker.

    Args:
        transport: the broker.
        names: the names on it.
    """

    def __init__(self, transport: Transport, names: Names) -> None:
        self._transport = transport
        self._names = names
        self._locks: dict[str, asyncio.Lock] = {}
        self._turns: dict[str, float] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def take(self, wants: Sequence[Wanted]) -> Callable[[], None] | float:
        """Take a place in each limit, or in none.

        Args:
            wants: limits with a concurrency.

        Returns:
            What gives the places back; or, if one is not free, the seconds until the task asks again.

        Raises:
            BrokerError: the broker cannot be reached, or refuses to declare the places.
        """
        taken: list[Consumer] = []
        try:
            for wanted in sorted(wants, key=lambda one: one.key):
                place = await self._take_one(wanted)
                if place is None:
                    self._give_back(taken)
                    return self._next_turn(wanted.key)
                taken.append(place)
        except BaseException:
            self._give_back(taken)
            raise
        return functools.partial(self._give_back, taken)

    async def close(self) -> None:
        """Wait until what was given back is free."""
        if self._closing:
            await asyncio.wait(self._closing, timeout=5.0)
        await end(*self._closing)

    async def _take_one(self, wanted: Wanted) -> Consumer | None:
        queues = place_names(self._names, wanted.key, wanted.concurrency or 1)
        some = random.sample(queues, min(ASKED, len(queues)))
        # One of the worker's tasks asks at a time, or they would take each other's chance
        async with self._locks.setdefault(wanted.key, asyncio.Lock()):
            status = await self._transport.status(some)
            missing = tuple(_queue(name) for name in some if status[name] is None)
            if missing:
                await self._transport.declare(Entities(queues=missing))
            for name in some:
                found = status[name]
                if found is None or not found.consumers:
                    place = await self._consume(name)
                    if place is not None:
                        return place
        return None

    async def _consume(self, queue: str) -> Consumer | None:
        try:
            return await self._transport.consume(
                queue,
                lambda _: None,
                prefetch=1,
                tag=queue,
                exclusive=True,
                on_missing=_ends,
            )
        except BrokerRefusedError:
            return None  # another worker was faster

    def _give_back(self, places: Sequence[Consumer]) -> None:
        for place in places:
            task = asyncio.create_task(_close(place), name="stem-amqp limit place")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _next_turn(self, key: str) -> float:
        now = asyncio.get_running_loop().time()
        soon = now + random.uniform(*WAIT)
        turn = self._turns[key] = max(self._turns.get(key, 0.0) + SPACING, soon)
        return turn - now


def place_names(names: Names, key: str, count: int) -> list[str]:
    """Return the names of a limit's places.

    Args:
        names: the names on the broker.
        key: the limit and its key value.
        count: how many run at once.
    """
    text = re.sub(r"[^A-Za-z0-9_.-]+", "-", key.partition("/")[2])[:60]
    digest = hashlib.sha256(key.encode(errors="backslashreplace")).hexdigest()[:12]
    return [f"{names.limit(text)}.{digest}.{number}" for number in range(min(count, MOST_PLACES))]


def _queue(name: str) -> Queue:
    arguments = {"x-queue-type": "classic", "x-expires": round(UNUSED * 1000)}
    return Queue(name=name, arguments=arguments)


async def _ends() -> bool:
    """Let a consumer whose place was deleted end."""
    return True


async def _close(place: Consumer) -> None:
    try:
        await place.close()
    except BrokerError as error:
        log.debug("a place of a limit ends with its connection: %s", error)
