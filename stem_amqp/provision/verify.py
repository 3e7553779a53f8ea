"""Says what of the topology is missing, and declares nothing."""

from __future__ import annotations

from collections.abc import Iterable

from stem_amqp.errors import TopologyMissingError
from stem_amqp.provision.patience import DEFAULT_WAIT, patience
from stem_amqp.provision.versions import as_they_stand
from stem_amqp.topology.entities import Entities, Exchange, Queue
from stem_amqp.transport.base import Transport

_NAMED = 12
"""Names that an error lists of each kind: a fresh broker misses all of the 72 delay queues."""


async def verify(transport: Transport, entities: Entities, *, wait: float = DEFAULT_WAIT) -> None:
    """Check that every exchange and queue is on the broker.

    Arguments and bindings are not compared: AMQP has no way to ask for them.

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


def _listed(missing: Iterable[Exchange | Queue]) -> str:
    exchanges = [entity.name for entity in missing if isinstance(entity, Exchange)]
    queues = [entity.name for entity in missing if isinstance(entity, Queue)]
    kinds = (("exchanges", exchanges), ("queues", queues))
    return "\n".join(f"  {kind}: {_first(names)}" for kind, names in kinds if names)


def _first(names: list[str]) -> str:
    rest = len(names) - _NAMED
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {rest} more" if rest > 0 else shown
