"""Receive the lifecycle events of all processes of a namespace."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from stem_amqp import cancellation
from stem_amqp.errors import BrokerError, ConfigurationError, UnroutableError
from stem_amqp.messages.commands import Report
from stem_amqp.observability.events.catalogue import CATALOGUE
from stem_amqp.observability.events.event import LifecycleEvent, decode
from stem_amqp.observability.registry.heartbeat import KEY as HEARTBEAT
from stem_amqp.observability.registry.question import ask
from stem_amqp.signing.seal import Seal
from stem_amqp.topology.names import Names
from stem_amqp.topology.spec.mistake import did_you_mean
from stem_amqp.transport.base import Transport
from stem_amqp.transport.delivery import Delivery

log = logging.getLogger("stem_amqp.observability")

LEASE = 30.0
"""Seconds for which one announcement of a listener is valid."""
RENEWAL = 10.0
"""Seconds between two announcements; a worker that starts meanwhile learns of the listener by the next."""
BUFFER = 10_000
"""The most events that wait for a slow listener, here and in its queue on the broker."""
_MOST_KEYS = 200
"""The most bindings of a listener."""
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Which events are received; of each kind of filter, one must match.

    Args:
        events: names of events; none: all except ``worker-heartbeat``.
        tasks: globs of task names, such as ``orders.*``; none: all tasks.
        queues: globs of logical queues; none: all queues.

    Raises:
        ConfigurationError: there is no event of a name.
    """

    events: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.events:
            if name not in CATALOGUE:
                raise ConfigurationError(
                    f"there is no event {name!r:.60}{did_you_mean(name, CATALOGUE)}\n"
                    f"  The events are {', '.join(CATALOGUE)}."
                )

    def wants(self, event: LifecycleEvent) -> bool:
        """Return whether an event is one of these."""
        return (
            _matches(event.task, self.tasks)
            and _matches(event.queue, self.queues)
            and (event.event in self.events or (not self.events and event.event != HEARTBEAT))
        )

    def keys(self) -> tuple[str, ...]:
        """Return the binding keys with which the broker sends at least these events."""
        about_tasks = bool(self.tasks or self.queues)
        names = self.events or tuple(name for name in CATALOGUE if name != HEARTBEAT)
        names = tuple(name for name in names if not (about_tasks and CATALOGUE[name].of_worker))
        rest = dict.fromkeys(
            _joined(_words(queue), _words(task))
            for queue in self.queues or ("*",)
            for task in self.tasks or ("*",)
        )
        keys = tuple(f"{name}.{one}" for name in names for one in rest)
        return keys if len(keys) <= _MOST_KEYS else tuple(f"{name}.#" for name in names)


def _matches(name: str | None, globs: Sequence[str]) -> bool:
    return not globs or any(fnmatchcase(name or "", glob) for glob in globs)


def _words(glob: str) -> str:
    """Return a part of a topic key that matches all names of a glob."""
    found = _GLOB.search(glob)
    if found is None:
        return glob
    whole = glob[: found.start()].rpartition(".")[0]
    return f"{whole}.#" if whole else "#"


def _joined(queue: str, task: str) -> str:
    return f"{queue}.{task}".replace("#.#", "#")


async def stream_events(
    transport: Transport,
    names: Names,
    *,
    seal: Seal | None,
    filters: Filters,
    end: asyncio.Event | None = None,
) -> AsyncGenerator[LifecycleEvent, None]:
    """Yield events, and announce this listener to the workers meanwhile.

    Workers begin to send within a second. The queue is declared again after a lost connection; events in
    between are lost. If the listener is slow, ``dropped`` of the next event counts those that were lost.

    Args:
        transport: connected.
        names: the names on the broker.
        seal: signs the announcements; None without keys.
        filters: which events.
        end: ends the iteration when it is set.

    Raises:
        BrokerError: the queue cannot be declared or bound.
    """
    buffer = _Buffer(filters)
    queue = f"{names.control}.ask-{secrets.token_hex(6)}"
    async with transport.subscribe(
        queue, buffer.take, exchange=names.events, keys=filters.keys(), limit=BUFFER
    ):
        tasks = [asyncio.create_task(_announce(transport, names, seal), name="stem-amqp lease")]
        if end is not None:
            tasks.append(asyncio.create_task(buffer.end_with(end), name="stem-amqp events end"))
        try:
            while (event := await buffer.next()) is not None:
                yield event
        finally:
            await cancellation.end(*tasks)


class _Buffer:
    """The events that have arrived."""

    def __init__(self, filters: Filters) -> None:
        self._filters = filters
        self._waiting: asyncio.Queue[LifecycleEvent | None] = asyncio.Queue()
        self._dropped = 0

    def take(self, delivery: Delivery) -> None:
        event = decode(delivery.body, delivery.type)
        if event is None or not self._filters.wants(event):
            return
        if self._waiting.qsize() >= BUFFER:
            self._dropped += 1 + event.dropped
            return
        if self._dropped:
            event = replace(event, dropped=event.dropped + self._dropped)
            self._dropped = 0
        self._waiting.put_nowait(event)

    async def end_with(self, end: asyncio.Event) -> None:
        await end.wait()
        self._waiting.put_nowait(None)

    async def next(self) -> LifecycleEvent | None:
        return await self._waiting.get()


async def _announce(transport: Transport, names: Names, seal: Seal | None) -> None:
    """Announce the listener until cancelled; a problem is logged when it begins and when it ends."""
    command, failed = Report(events=LEASE), False
    while True:
        try:
            with suppress(UnroutableError):  # no worker runs: one that starts hears the next one
                await ask(transport, names, command, seal=seal, reply_to=None)
        except BrokerError as error:
            if not failed:
                log.warning("workers do not know of this listener, and send no events: %s", error)
            failed = True
        else:
            if failed:
                log.warning("workers know of this listener again")
            failed = False
        await asyncio.sleep(RENEWAL)
