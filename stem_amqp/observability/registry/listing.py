"""List the workers of a namespace once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from stem_amqp.errors import BrokerRefusedError
from stem_amqp.observability.registry.watch import Seen, WorkerWatch, watch_workers
from stem_amqp.provision.versions import status_with_versions
from stem_amqp.signing.seal import Seal
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport

ANSWER = 0.8
"""Seconds in which a worker whose event loop turns has answered."""
SETTLE = 0.15
"""Seconds to wait at least: a worker may consume no queue at this moment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerListing:
    """The workers of a namespace at one time.

    Args:
        at: seconds since the epoch.
        workers: their last heartbeats, by name.
        silent: the number of consumers whose worker has not answered, by logical queue.
    """

    at: float
    workers: tuple[Seen, ...]
    silent: Mapping[str, int]


async def list_workers(
    transport: Transport,
    names: Names,
    versions: Mapping[str, int],
    *,
    seal: Seal | None,
    wait: float,
) -> WorkerListing:
    """Ask all workers for their state, and collect the answers and the heartbeats.

    It ends as soon as there is an answer for each consumer on the queues. A worker with a blocked event
    loop does not answer, but sends a heartbeat through another connection.

    Args:
        transport: connected.
        names: the names on the broker.
        versions: the logical queues whose consumers are expected to answer, with their versions in the
            topology.
        seal: signs the request; None without keys.
        wait: seconds to wait for the workers that do not answer at once.

    Raises:
        BrokerError: the broker cannot be reached, or refuses access.
    """
    async with watch_workers(transport, names, seal=seal) as watch:
        consumers = await consumers_of(transport, names, versions)
        if await watch.ask() or any(consumers.values()):
            await _collect(watch, consumers, wait)
        return WorkerListing(
            at=transport.clock.time(), workers=watch.workers, silent=watch.silent(consumers)
        )


async def _collect(watch: WorkerWatch, consumers: Mapping[str, int], wait: float) -> None:
    def complete() -> bool:
        return not watch.silent(consumers)

    await asyncio.sleep(min(SETTLE, wait))
    if not await watch.until(complete, min(ANSWER, wait)):
        await watch.until(complete, max(0.0, wait - ANSWER))


async def consumers_of(
    transport: Transport, names: Names, versions: Mapping[str, int]
) -> dict[str, int]:
    """Return the number of consumers by logical queue, from passive declares; none if they are refused.

    Args:
        transport: connected.
        names: the names on the broker.
        versions: the logical queues with their versions in the topology.

    Raises:
        BrokerError: the broker cannot be reached.
    """
    works = {queue: names.works(queue, version) for queue, version in versions.items()}
    sure = [works[queue][version] for queue, version in versions.items()]
    others = {name for one in works.values() for name in one.values()}.difference(sure)
    try:
        status = await status_with_versions(transport, sure, others)
    except BrokerRefusedError:
        return {}  # from RabbitMQ 4.3 on, a user needs a permission for each queue
    # a worker consumes each version of a queue that exists, with one consumer for each
    return {
        queue: max(found.consumers if (found := status[name]) else 0 for name in one.values())
        for queue, one in works.items()
    }
