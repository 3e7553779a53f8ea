"""Versions of a work queue: which one is declared and bound during and after a migration.

RabbitMQ cannot change a queue's arguments, so a changed queue is a new queue, with a version in its
name. Only one version may be bound, or every task would be routed to both: the earlier one, until
`stem_amqp.provision.migrate` switches the bindings.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from stem_amqp.errors import BrokerRefusedError
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.topology.names import earlier_versions, later_versions
from stem_amqp.transport.base import QueueStatus, Transport

log = logging.getLogger("stem_amqp.provision")
_logged: set[tuple[str, str]] = set()
"""Queues and texts that this process has logged already; it checks at each connect."""


async def current_entities(transport: Transport, entities: Entities) -> Entities:
    """Return the entities without queues and bindings that another version replaces now.

    If a later version of a queue exists, the queue is neither declared nor bound: this process's
    topology is outdated. If an earlier version exists, the queue is declared but not bound yet.

    Args:
        transport: connected.
        entities: the compiled topology.

    Raises:
        BrokerError: the broker cannot be reached, or refuses access.
    """
    queues = [queue for queue in entities.queues if queue.version]
    if not queues:
        return entities
    existing = await _existing_versions(transport, queues)
    outdated: set[str] = set()
    waiting: set[str] = set()
    for queue in queues:
        later = [
            version
            for version, name in later_versions(queue.name, queue.version).items()
            if name in existing
        ]
        earlier = [
            version
            for version, name in earlier_versions(queue.name, queue.version).items()
            if name in existing
        ]
        if later:
            outdated.add(queue.name)
            _log_once(
                queue,
                f"{queue.title} has moved to version {max(later)}; this process's topology has"
                f" version {queue.version}. Update its topology file.",
            )
        elif earlier:
            waiting.add(queue.name)
            _log_once(
                queue,
                f"{queue.title}: version {queue.version} exists, but messages still go to version"
                f" {max(earlier)}. Switch: stem-amqp topology migrate -Q {queue.logical}",
            )
    if not outdated and not waiting:
        return entities
    return Entities(
        exchanges=entities.exchanges,
        queues=tuple(queue for queue in entities.queues if queue.name not in outdated),
        bindings=tuple(
            binding
            for binding in entities.bindings
            if binding.to_exchange or binding.destination not in outdated | waiting
        ),
        policies=entities.policies,
    )


async def status_with_versions(
    transport: Transport, sure: Iterable[str], possible: Iterable[str]
) -> dict[str, QueueStatus | None]:
    """Return the status of queues and of their other versions, if the user may see those.

    From RabbitMQ 4.3 on, a passive declare needs a permission for the queue, even if it is missing.

    Args:
        transport: connected.
        sure: names of queues that the user has permissions for.
        possible: names of other versions; without a permission they count as missing.

    Raises:
        BrokerError: the broker cannot be reached, or refuses access.
    """
    certain, others = tuple(sure), tuple(possible)
    try:
        return await transport.status((*certain, *others))
    except BrokerRefusedError as error:
        log.debug("other versions are not checked: %s", error)
    return dict.fromkeys(others) | await transport.status(certain)


async def _existing_versions(transport: Transport, queues: Iterable[Queue]) -> set[str]:
    names = [
        name
        for queue in queues
        for name in (
            *earlier_versions(queue.name, queue.version).values(),
            *later_versions(queue.name, queue.version).values(),
        )
    ]
    status = await status_with_versions(transport, (), names)
    return {name for name, found in status.items() if found is not None}


def _log_once(queue: Queue, text: str) -> None:
    if (queue.name, text) not in _logged:
        _logged.add((queue.name, text))
        log.warning("%s", text)
