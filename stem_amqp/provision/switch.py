"""Switch the bindings of a queue to its next version, without a gap."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from stem_amqp.messages.message import new_id
from stem_amqp.provision.migration import Migration
from stem_amqp.topology.entities import Binding
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.publication import Publication

log = logging.getLogger("stem_amqp.provision")
_END = "stem-migration-end"
_ARRIVAL = 5.0
"""Maximum seconds for a message to arrive from an exclusive queue."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """Messages that arrived while both versions were bound.

    Args:
        seconds: maximum seconds for which a new binding and its old one both existed.
        tasks: the ids of the tasks that were published in that time, and shortly before and after:
            only these can be in both queues.
    """

    seconds: float
    tasks: tuple[str, ...]


async def switch(
    transport: Transport, migration: Migration, bindings: Iterable[Binding], names: Names
) -> Overlap:
    """Bind the new queue and unbind the earlier ones.

    Each binding is added and its predecessor removed in one step, so that no message is unroutable
    and both exist for about a millisecond. A temporary queue, bound slightly longer than both, records
    the messages of that time.

    Args:
        transport: connected.
        migration: the migration.
        bindings: the bindings of the new queue.
        names: the names in the namespace.

    Raises:
        BrokerError: the broker cannot be reached, or refuses access. Run it again to complete it.
    """
    seen: dict[str, None] = {}
    end = asyncio.Event()

    def note_copy(delivery: Delivery) -> None:
        if delivery.type == _END:
            end.set()
        else:
            seen[delivery.correlation_id or delivery.message_id or "?"] = None

    longest = 0.0
    wanted = tuple(bindings)
    async with transport.subscribe(names.reply(f"migration-{new_id()}"), note_copy) as own:
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
