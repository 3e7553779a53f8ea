"""Report what of the topology is missing or different, without declaring anything."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from stem_amqp.errors import ManagementError, TopologyMismatchError, TopologyMissingError
from stem_amqp.management import Management
from stem_amqp.provision.change import describe_steps
from stem_amqp.provision.inventory import take_names
from stem_amqp.provision.plan import differing
from stem_amqp.provision.retrying import DEFAULT_WAIT, retrying
from stem_amqp.provision.versions import current_entities
from stem_amqp.topology.entities import Entities, Exchange, Queue
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport

log = logging.getLogger("stem_amqp.provision")
_LOGGED: set[str] = set()
"""Reasons why arguments were not compared that this process has logged already."""
_SHOWN = 5
"""Maximum entities in an error about arguments: one screen with their remedies."""
_NAMED = 12
"""Maximum names of each kind in an error: a new broker lacks all 72 delay queues."""


async def verify(transport: Transport, entities: Entities, *, wait: float = DEFAULT_WAIT) -> None:
    """Check that every exchange and queue is on the broker.

    Arguments and bindings are not compared: AMQP cannot read them, see `verify_arguments`.

    Args:
        transport: the connected transport.
        entities: the compiled topology.
        wait: seconds to retry while the broker is unavailable.

    Raises:
        TopologyMissingError: entities are missing; the message lists them.
        BrokerUnavailableError: no connection within the time.
        BrokerRefusedError: the user has no permission to ask.
    """

    async def find_missing() -> list[Exchange | Queue]:
        return await transport.missing(await current_entities(transport, entities))

    missing: list[Exchange | Queue] = await retrying("verify the topology", wait)(find_missing)
    if missing:
        total = len(entities.exchanges) + len(entities.queues)
        raise TopologyMissingError(
            f"the topology is not on the broker: {len(missing)} of {total} exchanges and queues"
            f" are missing.\n{_format_names(missing)}\n"
            "  Declare them with: stem-amqp topology apply (or set STEM_PROVISION=apply)."
        )


async def verify_arguments(
    transport: Transport,
    entities: Entities,
    names: Names,
    management: Management | None,
    file: Path | str = "",
) -> None:
    """Compare the arguments of exchanges and queues, if this user may read them by the management API.

    Policies and bindings may change while workers run, so they are not compared. If the API cannot be
    used, the reason is logged once at debug level; a worker needs no permissions there.

    Args:
        transport: the connected transport.
        entities: the compiled topology.
        names: the names in the namespace.
        management: the management API; None does not ask it.
        file: the topology file, for the commands in remedies.

    Raises:
        TopologyMismatchError: arguments differ; the message has both values and the remedy.
        BrokerError: the broker cannot be reached, or refuses access.
    """
    if management is None:
        _log_once("the broker uses TLS, and STEM_MANAGEMENT_URL is not set to an address with TLS")
        return
    current = await current_entities(transport, entities)
    every = [one.name for one in current.exchanges] + [one.name for one in current.queues]
    # These are not paths: a common prefix of characters is correct
    prefix = os.path.commonprefix(every)  # noqa: RUF071
    try:
        inventory = await take_names(management, prefix)
    except ManagementError as error:
        _log_once(str(error).partition("\n")[0])
        return
    steps = differing(current, inventory, names, file)
    if steps:
        rest = len(steps) - _SHOWN
        lines = describe_steps(steps[:_SHOWN]) + ([f"  and {rest} more"] if rest > 0 else [])
        raise TopologyMismatchError(
            f"{len(steps)} of {len(every)} exchanges and queues on the broker differ from the"
            " topology:\n" + "\n".join(lines) + "\n"
            f"  See all differences: stem-amqp topology plan{f' {file}' if file else ''}"
        )


def _log_once(reason: str) -> None:
    if reason not in _LOGGED:
        _LOGGED.add(reason)
        log.debug("arguments of queues and exchanges are not compared: %s", reason)


def _format_names(missing: Iterable[Exchange | Queue]) -> str:
    exchanges = [entity.name for entity in missing if isinstance(entity, Exchange)]
    queues = [entity.name for entity in missing if isinstance(entity, Queue)]
    kinds = (("exchanges", exchanges), ("queues", queues))
    return "\n".join(f"  {kind}: {_first(names)}" for kind, names in kinds if names)


def _first(names: list[str]) -> str:
    rest = len(names) - _NAMED
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {rest} more" if rest > 0 else shown
