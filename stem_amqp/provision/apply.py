"""Declare the topology on the broker."""

from __future__ import annotations

import logging
import time

from stem_amqp.management import Management
from stem_amqp.provision.change import put_policy
from stem_amqp.provision.retrying import DEFAULT_WAIT, retrying
from stem_amqp.provision.verify import verify
from stem_amqp.provision.versions import current_entities
from stem_amqp.settings import Provision
from stem_amqp.topology.entities import Entities
from stem_amqp.transport.base import Transport

log = logging.getLogger("stem_amqp.provision")


async def apply(transport: Transport, entities: Entities, *, wait: float = DEFAULT_WAIT) -> None:
    """Declare everything that is missing; it is idempotent.

    For queues with versions, see `current_entities`.

    Args:
        transport: the connected transport.
        entities: the compiled topology.
        wait: seconds to retry while the broker is unavailable.

    Raises:
        TopologyMismatchError: an entity exists with other arguments.
        TopologyMissingError: the exchange of a binding, which is declared elsewhere, does not exist.
        BrokerUnavailableError: no connection within the time.
        BrokerRefusedError: the user has no permission to declare it.
    """
    started = time.monotonic()

    async def declare() -> None:
        await transport.declare(await current_entities(transport, entities))

    await retrying("declare the topology", wait)(declare)
    log.debug(
        "the topology is declared: %d exchanges, %d queues, %d bindings, in %.2f s",
        len(entities.exchanges),
        len(entities.queues),
        len(entities.bindings),
        time.monotonic() - started,
    )


async def ensure(
    mode: Provision,
    transport: Transport,
    entities: Entities,
    *,
    management: Management | None = None,
    wait: float = DEFAULT_WAIT,
) -> None:
    """Apply or verify the topology, or do nothing, by the ``provision`` setting.

    Args:
        mode: the setting.
        transport: the connected transport.
        entities: the compiled topology.
        management: the management API, which sets policies; without it policies are not changed.
        wait: seconds to retry while the broker is unavailable.

    Raises:
        BrokerError: as for `apply` and `verify`.
    """
    if mode is Provision.APPLY:
        if management is not None:
            # Before the queues, so that no queue is ever without its settings
            for policy in entities.policies:
                await put_policy(management, policy)
        await apply(transport, entities, wait=wait)
    elif mode is Provision.VERIFY:
        await verify(transport, entities, wait=wait)
