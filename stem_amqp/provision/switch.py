"""Switches the bindings of a queue over to its next version, without a moment in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from stem_amqp.message import new_id
from stem_amqp.provision.migration import Migration
from stem_amqp.topology.entities import Binding
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Delivery, Publication, Transport

log = logging.getLogger("stem_amqp.provision")
_END = "stem-migration-end"
_ARRIVAL = 5.0
"""Seconds in which what was routed to an exclusive queue must be here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """What came in while both versions were bound.

    Args:
        seconds: how long a new binding and its old one were both there, at most.
        tasks: the ids of the tasks that were published in that time, and a little before and after: at
            most these are in both queues.
    """

    seconds: float
    tasks: tuple[str, ...]


async def switch(
    transport: Transport, migration: Migration, bindings: Iterable[Binding], names: Names
) -> Overlap:
    """Bind the new queue and unbind the earlier ones.

    Each binding is added and its predecessor taken away in one go, so that a message in between is never
    unroutable, and both are there for about a millisecond. A queue of our own, bound a little
    longer than both, counts what came in.

    Args:
        transport: connected.
        migration: the migration.
        bindings: what the new queue is to have.
        names: the names in the namespace.

    Raises:
        BrokerError: the broker cannot be reached, or refuses. Doing it again completes it.
    """
    seen: dict[str, None] = {}
    end = asyncio.Event()

    def witness(delivery: Delivery) -> None:
        if delivery.type == _END:
            end.set()
        else:
            seen[delivery.correlation_id or delivery.message_id or "?"] = None

    longest = 0.0
    wanted = tuple(bindings)
    async with transport.subscribe(names.reply(f"migration-{new_id()}"), witness) as own:
        for binding in wanted:
            copy = replace(binding, destination=own)
            longest = max(longest, await _replace(transport, migration, binding, copy))
        await transport.publish(Publication(exchange="", routing_key=own, body=b"", type=_END))
        async with asyncio.timeout(_ARRIVAL):
            await end.wait()
    return Overlap(seconds=longest, tasks=tuple(seen))


async def _replace(
    transport: Transport, migration: Migration, binding: Binding, copy: Binding
) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await transport.rebind((copy, binding), (*migration.from_earlier(binding), copy))
    return loop.time() - began
