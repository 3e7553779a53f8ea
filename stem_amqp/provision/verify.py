"""Says what of the topology is missing or otherwise, and declares nothing."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from stem_amqp.errors import ManagementError, TopologyMismatchError, TopologyMissingError
from stem_amqp.management import Management
from stem_amqp.provision.change import told
from stem_amqp.provision.inventory import take_names
from stem_amqp.provision.patience import DEFAULT_WAIT, patience
from stem_amqp.provision.plan import differing
from stem_amqp.provision.versions import as_they_stand
from stem_amqp.topology.entities import Entities, Exchange, Queue
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport

log = logging.getLogger("stem_amqp.provision")
_TOLD: set[str] = set()
"""Why arguments were not compared, as it was said in this process already."""
_SHOWN = 5
"""Entities that an error about arguments shows: one screen with their remedies."""
_NAMED = 12
"""Names that an error lists of each kind: a fresh broker misses all of the 72 delay queues."""


async def verify(transport: Transport, entities: Entities, *, wait: float = DEFAULT_WAIT) -> None:
    """Check that every exchange and queue is on the broker.

    Arguments and bindings are not compared: AMQP has no way to ask for them, see `verify_arguments`.

    Args:
        transport: the connected transport.
        entities: the compiled topology.
        wait: seconds to go on trying while the broker is unavailable.

    Raises:
        TopologyMissingError: something is missing; the message lists all of it.
        BrokerUnavailableError: no connection within the time.
        BrokerRefusedError: the user may not ask.
    """

    async def look() -> list[Exchange | Queue]:
        return await transport.missing(await as_they_stand(transport, entities))

    missing: list[Exchange | Queue] = await patience("verify the topology", wait)(look)
    if missing:
        total = len(entities.exchanges) + len(entities.queues)
        raise TopologyMissingError(
            f"the topology is not on the broker: {len(missing)} of {total} exchanges and queues"
            f" are missing.\n{_listed(missing)}\n"
            "  Declare them with: stem-amqp topology apply (or set STEM_PROVISION=apply)."
        )


async def verify_arguments(
    transport: Transport,
    entities: Entities,
    names: Names,
    management: Management | None,
    file: Path | str = "",
) -> None:
    """Compare the arguments of exchanges and queues, if the management API lets this user see them.

    Policies and bindings may change while workers run, so they are not compared. Where nobody tells, the
    reason is in the log, at debug level and once; a worker needs no rights there.

    Args:
        transport: the connected transport.
        entities: the compiled topology.
        names: the names in the namespace.
        management: the management API; None where it is not to be asked.
        file: the topology file, for the commands in remedies.

    Raises:
        TopologyMismatchError: something differs; the message has it with both values and the remedy.
        BrokerError: the broker cannot be reached, or refuses.
    """
    if management is None:
        _say("the broker has TLS, and STEM_MANAGEMENT_URL does not say where to ask with it")
        return
    standing = await as_they_stand(transport, entities)
    every = [one.name for one in standing.exchanges] + [one.name for one in standing.queues]
    # names have no separator that all must share: character by character is right
    prefix = os.path.commonprefix(every)  # noqa: RUF071
    try:
        inventory = await take_names(management, prefix)
    except ManagementError as error:
        _say(str(error).partition("\n")[0])
        return
    steps = differing(standing, inventory, names, file)
    if steps:
        rest = len(steps) - _SHOWN
        lines = told(steps[:_SHOWN]) + ([f"  and {rest} more"] if rest > 0 else [])
        raise TopologyMismatchError(
            f"{len(steps)} of {len(every)} exchanges and queues are on the broker otherwise than in"
            " the topology:\n" + "\n".join(lines) + "\n"
            f"  All that differs: stem-amqp topology plan{f' {file}' if file else ''}"
        )


def _say(reason: str) -> None:
    if reason not in _TOLD:
        _TOLD.add(reason)
        log.debug("arguments of queues and exchanges are not compared: %s", reason)


def _listed(missing: Iterable[Exchange | Queue]) -> str:
    exchanges = [entity.name for entity in missing if isinstance(entity, Exchange)]
    queues = [entity.name for entity in missing if isinstance(entity, Queue)]
    kinds = (("exchanges", exchanges), ("queues", queues))
    return "\n".join(f"  {kind}: {_first(names)}" for kind, names in kinds if names)


def _first(names: list[str]) -> str:
    rest = len(names) - _NAMED
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {rest} more" if rest > 0 else shown
