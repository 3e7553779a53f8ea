"""Collect the heartbeats and the answers of all workers of a namespace."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stem_amqp.errors import UnroutableError
from stem_amqp.messages.commands import Report
from stem_amqp.observability.keys import event_key
from stem_amqp.observability.registry.heartbeat import KEY, Heartbeat, decode
from stem_amqp.observability.registry.question import ask
from stem_amqp.signing.seal import Seal
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport
from stem_amqp.transport.delivery import Delivery

KEPT = 1000
"""The most heartbeats in the queue of one reader."""
MISSED = 3
"""The number of missing heartbeats after which a worker is no longer listed."""
LONGEST = 60.0
"""Seconds after which a worker that sends no heartbeats by itself is no longer listed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The last heartbeat of a worker.

    Args:
        heartbeat: the heartbeat.
        at: when it arrived, on the clock of `time.monotonic`.
    """

    heartbeat: Heartbeat
    at: float

    @property
    def age(self) -> float:
        """Seconds since its arrival."""
        return time.monotonic() - self.at

    @property
    def lost(self) -> bool:
        """Whether the worker should have sent several more since then."""
        return self.age > (MISSED * self.heartbeat.interval or LONGEST)


class WorkerWatch:
    """The workers that have sent a heartbeat or an answer; made by `watch_workers`.

    Args:
        transport: connected.
        names: the names on the broker.
        seal: signs the requests; None without keys.
        queue: the queue for heartbeats and answers.
    """

    def __init__(self, transport: Transport, names: Names, seal: Seal | None, queue: str) -> None:
        self._transport = transport
        self._names = names
        self._seal = seal
        self._queue = queue
        self._seen: dict[tuple[str, str, int], Seen] = {}
        self._change = asyncio.Event()

    async def ask(self) -> bool:
        """Ask all workers for their state at once; their answers arrive like heartbeats.

        Returns:
            Whether there is a worker.

        Raises:
            BrokerError: the request cannot be published.
        """
        try:
            await ask(self._transport, self._names, Report(), seal=self._seal, reply_to=self._queue)
        except UnroutableError:
            return False
        return True

    @property
    def workers(self) -> tuple[Seen, ...]:
        """The workers, by name; without those that have stopped or are lost."""
        for key, seen in list(self._seen.items()):
            if seen.lost:
                del self._seen[key]
        return tuple(self._seen[key] for key in sorted(self._seen))

    def silent(self, consumers: Mapping[str, int]) -> dict[str, int]:
        """Return the number of consumers that belong to none of these workers, by queue.

        Args:
            consumers: the number of consumers on the broker, by logical queue.
        """
        known = [
            # one that stops may have been counted on the broker a moment ago
            worker.queues if worker.state == "stopping" else worker.consuming
            for worker in (seen.heartbeat for seen in self.workers)
        ]
        missing = {
            queue: count - sum(queue in queues for queues in known)
            for queue, count in consumers.items()
        }
        return {queue: count for queue, count in missing.items() if count > 0}

    def take(self, delivery: Delivery) -> None:
        """Note a heartbeat or an answer; anything else is ignored."""
        heartbeat = decode(delivery.body)
        if heartbeat is not None:
            self.note(heartbeat)

    def note(self, heartbeat: Heartbeat) -> None:
        """Note a heartbeat."""
        key = (heartbeat.name, heartbeat.host, heartbeat.pid)
        if heartbeat.state == "stopped":
            self._seen.pop(key, None)
        else:
            self._seen[key] = Seen(heartbeat, time.monotonic())
        self.changed()

    def changed(self) -> None:
        """Let `until` look again whether its condition holds."""
        self._change.set()

    async def until(self, holds: Callable[[], bool], timeout: float) -> bool:
        """Wait until a condition holds after some heartbeat; return whether it does.

        Args:
            holds: the condition.
            timeout: seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                while not holds():
                    self._change.clear()
                    await self._change.wait()
        except TimeoutError:
            return holds()
        return True


@asynccontextmanager
async def watch_workers(
    transport: Transport, names: Names, *, seal: Seal | None, heartbeats: bool = True
) -> AsyncIterator[WorkerWatch]:
    """Collect heartbeats for a block, and the answers to `WorkerWatch.ask`.

    Args:
        transport: connected.
        names: the names on the broker.
        seal: signs the requests; None without keys.
        heartbeats: False collects only answers; the user then needs no permission for the events
            exchange.

    Raises:
        BrokerError: the queue cannot be declared or bound.
    """
    queue = f"{names.control}.ask-{secrets.token_hex(6)}"
    watch = WorkerWatch(transport, names, seal, queue)
    exchange = names.events if heartbeats else None
    keys = (event_key(KEY, "#"),)
    async with transport.subscribe(queue, watch.take, exchange=exchange, keys=keys, limit=KEPT):
        yield watch
