"""Brings the topology onto the broker."""

from __future__ import annotations

import logging
import time

from stem_amqp.management import Management
from stem_amqp.provision.change import put_policy
from stem_amqp.provision.patience import DEFAULT_WAIT, patience
from stem_amqp.provision.verify import verify
from stem_amqp.provision.versions import as_they_stand
from stem_amqp.settings import Provision
from stem_amqp.topology.entities import Entities
from stem_amqp.transport.base import Transport

log = logging.getLogger("stem_amqp.provision")


async def apply(transport: Transport, entities: Entities, *, wait: float = DEFAULT_WAIT) -> None:
    """Declare everything that is missing; applying twice changes nothing.

    Of a queue with versions, see `as_they_stand`.

    Args:
        transport: the connected transport.
        entities: the compiled topology.
        wait: seconds to go on trying while the broker is unavailable.

    Raises:
        TopologyMismatchError: something is there with other arguments.
        TopologyMissingError: a binding's exchange, which someone else declares, is not there.
        BrokerUnavailableError: no connection within the time.
        BrokerRefusedError: the user may not declare it.
    """
    started = time.monotonic()

    async def declare() -> None:
        await transport.declare(await as_they_stand(transport, entities))

    await patience("declare the topology", wait)(declare)
    log.debug(
        "the topology stands: %d exchanges, %d queues, %d bindings, in %.2f s",
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
    """Do about the topology what the ``provision`` setting says: apply, verify or nothing.

    Args:
        mode: the setting.
        transport: the connected transport.
        entities: the compiled topology.
        management: the management API, which sets policies; without one they are left alone.
        wait: seconds to go on trying while the broker is unavailable.

    Raises:
        BrokerError: as `apply` and `verify` do.
    """
    if mode is Provision.APPLY:
        if management is not None:
            # before the queues, so that none is ever without its settings
            for policy in entities.policies:
                await put_policy(management, policy)
        await apply(transport, entities, wait=wait)
    elif mode is Provision.VERIFY:
        await verify(transport, entities, wait=wait)
