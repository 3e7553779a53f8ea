"""The delay queues of an earlier release, ``stem.delay.*``.

They drain after an upgrade and can be deleted then. A message passes through several of their exchanges and queues, so they are deleted together or not at
all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from stem_amqp.errors import BrokerRefusedError
from stem_amqp.management import Management
from stem_amqp.provision.drain import STATISTICS_AGE
from stem_amqp.provision.inventory import FoundQueue, Inventory, take_names
from stem_amqp.topology.delays import delays
from stem_amqp.topology.entities import Entities, Exchange
from stem_amqp.topology.names import FormerNames, Names
from stem_amqp.transport.base import Transport

log = logging.getLogger("stem_amqp.provision")
PRUNE = "stem-amqp topology apply --prune"


@dataclass(frozen=True, kw_only=True, slots=True)
class FormerDelays:
    """The delay exchanges and queues of an earlier release.

    Args:
        name: the prefix of all their names.
        exchanges: the names of the exchanges.
        queues: the names of the queues.
        messages: the number of messages in them; None without statistics.
    """

    name: str
    exchanges: tuple[str, ...]
    queues: tuple[str, ...]
    messages: int | None

    def __str__(self) -> str:
        held = {None: "their number of messages is not known yet", 0: "they are empty"}.get(
            self.messages, f"{self.messages} messages are in them, and arrive when they are due"
        )
        return (
            f"{len(self.exchanges)} exchanges and {len(self.queues)} queues {self.name}.* are the delays of"
            f" an earlier version: {held}. Once they are empty and no process of that version runs,"
            f" delete them: {PRUNE}"
        )


def find_former_delays(inventory: Inventory, names: Names) -> FormerDelays | None:
    """Return the delays of an earlier release on the broker, or None.

    Args:
        inventory: the entities on the broker.
        names: the names in the namespace.
    """
    former = FormerNames(names.namespace)
    parts = former.delay_parts()
    queues = {name: found for name, found in inventory.queues.items() if name in parts}
    exchanges = tuple(name for name in inventory.exchanges if name in parts)
    if not queues and not exchanges:
        return None
    return FormerDelays(
        name=former.delay,
        exchanges=exchanges,
        queues=tuple(queues),
        messages=_messages(queues),
    )


async def former_delay_queues(names: Names, transport: Transport) -> dict[str, float]:
    """Return the delay queues of an earlier release with their TTL in seconds; empty without them.

    Args:
        names: the names in the namespace.
        transport: connected.

    Raises:
        BrokerError: the broker cannot be reached.
    """
    former = FormerNames(names.namespace)
    first = Exchange(name=former.delay_exchange(0), type="topic")
    try:
        gone = await transport.missing(Entities(exchanges=(first,)))
    except BrokerRefusedError:
        return {}  # the permission for them is removed only after they are deleted
    return {} if gone else former.delay_queues()


async def prune_former_delays(
    names: Names,
    transport: Transport,
    management: Management,
    *,
    statistics_age: float = STATISTICS_AGE,
) -> str:
    """Delete the delays of an earlier release, if all of them are empty.

    The exchanges are deleted first, so that no message can enter. Then all queues are checked again,
    with statistics newer than the deletion; if one of them contains a message, the exchanges and
    bindings are declared again, so that the message arrives.

    Args:
        names: the names in the namespace.
        transport: connected.
        management: the management API.
        statistics_age: seconds after which the API's statistics are certainly newer than the last
            change.

    Returns:
        Why they are kept, or an empty string.

    Raises:
        ManagementError: the management API does not answer, or refuses access.
        BrokerError: the broker cannot be reached, or refuses access.
    """
    former = FormerNames(names.namespace)
    parts = delays(former)
    found = (await take_names(management, f"{former.delay}.")).queues
    queues = {queue.name: found[queue.name] for queue in parts.queues if queue.name in found}
    if why := await _held(queues, transport):
        return why
    await transport.delete(Entities(exchanges=parts.exchanges))
    if queues:
        log.info(
            "waiting %.0f s for statistics before the queues %s.* are deleted",
            statistics_age,
            former.delay,
        )
        await asyncio.sleep(statistics_age)
        found = (await take_names(management, f"{former.delay}.")).queues
        queues = {name: found[name] for name in queues if name in found}
        if why := await _held(queues, transport):
            await transport.declare(parts)
            return why
    await transport.delete(Entities(queues=parts.queues))
    log.info("the delays %s.* of an earlier version are deleted: they were empty", former.delay)
    return ""


async def _held(queues: Mapping[str, FoundQueue], transport: Transport) -> str:
    """Return why queues must not be deleted, or an empty string."""
    known = _messages(queues)
    if known is None:
        return "their statistics are not available yet"
    status = await transport.status(queues)
    ready = sum(one.ready for one in status.values() if one is not None)
    held = max(known, ready)
    return f"{held} messages are in them, and arrive when they are due" if held else ""


def _messages(queues: Mapping[str, FoundQueue]) -> int | None:
    total = 0
    for found in queues.values():
        if found.messages is None:
            return None
        total += found.messages + found.dead_lettering
    return total
