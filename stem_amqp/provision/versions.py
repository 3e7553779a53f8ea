"""Which version of a work queue is whose turn, while and after one is replaced by the next.

RabbitMQ cannot change a queue's arguments, so a changed queue is another one, with a version in its name.
Only one of them may be bound, or every task would be in both: the one that is there first, until
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
_told: set[tuple[str, str]] = set()
"""What was said once in this process, which looks again whenever it connects."""


async def as_they_stand(transport: Transport, entities: Entities) -> Entities:
    """Leave out what another version of a queue has to do at this time.

    A queue of which a later version is there is neither declared nor bound: the topology here is
    outdated. A queue of which an earlier version is there is declared, and not bound yet.

    Args:
        transport: connected.
        entities: the compiled topology.

    Raises:
        BrokerError: the broker cannot be reached, or refuses.
    """
    queues = [queue for queue in entities.queues if queue.version]
    if not queues:
        return entities
    there = await _there(transport, queues)
    outdated: set[str] = set()
    waiting: set[str] = set()
    for queue in queues:
        later = [
            version
            for version, name in later_versions(queue.name, queue.version).items()
            if name in there
        ]
        earlier = [
            version
            for version, name in earlier_versions(queue.name, queue.version).items()
            if name in there
        ]
        if later:
            outdated.add(queue.name)
            _tell(
                queue,
                f"{queue.title} has moved to version {max(later)}; this process's topology says"
                f" {queue.version}. Give it the new topology file.",
            )
        elif earlier:
            waiting.add(queue.name)
            _tell(
                queue,
                f"{queue.title}: version {queue.version} is there, and messages still go to"
                f" version {max(earlier)}. Switch over: stem-amqp topology migrate -Q {queue.logical}",
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


async def look_at_versions(
    transport: Transport, sure: Iterable[str], possible: Iterable[str]
) -> dict[str, QueueStatus | None]:
    """Return the status of queues, and of their other versions as far as the user may look at them.

    From RabbitMQ 4.3 on, looking at a queue takes a right to it, whether it is there or not.

    Args:
        transport: connected.
        sure: names of queues that the user has to do with.
        possible: names of other versions, which are taken for missing where they may not be looked at.

    Raises:
        BrokerError: the broker cannot be reached, or refuses.
    """
    certain, others = tuple(sure), tuple(possible)
    try:
        return await transport.status((*certain, *others))
    except BrokerRefusedError as error:
        log.debug("other versions are not looked for: %s", error)
    return dict.fromkeys(others) | await transport.status(certain)


async def _there(transport: Transport, queues: Iterable[Queue]) -> set[str]:
    names = [
        name
        for queue in queues
        for name in (
            *earlier_versions(queue.name, queue.version).values(),
            *later_versions(queue.name, queue.version).values(),
        )
    ]
    status = await look_at_versions(transport, (), names)
    return {name for name, found in status.items() if found is not None}


def _tell(queue: Queue, text: str) -> None:
    if (queue.name, text) not in _told:
        _told.add((queue.name, text))
        log.warning("%s", text)
