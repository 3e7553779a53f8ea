"""The route of a message through a topology: the entities that it needs to reach a queue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.topology.routing import binding_matches
from stem_amqp.transport.publication import Publication


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """The entities that route a message.

    Args:
        exchanges: the exchanges that it passes, including the first one.
        bindings: the bindings that it matches.
        queues: the queues that it is routed to; empty if there are none.
    """

    exchanges: tuple[Exchange, ...] = ()
    bindings: tuple[Binding, ...] = ()
    queues: tuple[Queue, ...] = ()

    @property
    def entities(self) -> Entities:
        """The exchanges and queues."""
        return Entities(exchanges=self.exchanges, queues=self.queues)


def route_of(entities: Entities, publication: Publication) -> Route | None:
    """Return the route of a message in a topology.

    Args:
        entities: the compiled topology.
        publication: the message.

    Returns:
        The route; None if the message's exchange is not in the topology.
    """
    exchanges = {one.name: one for one in entities.exchanges}
    if publication.exchange not in exchanges:
        return None
    key, headers = publication.routing_key, publication.headers
    passed, followed = [publication.exchange], []
    for name in passed:
        kind = exchanges[name].type
        matching = [
            binding
            for binding in entities.bindings
            if binding.source == name and binding_matches(kind, binding, key, headers)
        ]
        followed += matching
        further = _exchanges_of(matching)
        passed += [one for one in further if one not in passed and one in exchanges]
    taken = {binding.destination for binding in followed if not binding.to_exchange}
    return Route(
        exchanges=tuple(exchanges[name] for name in passed),
        bindings=tuple(followed),
        queues=tuple(queue for queue in entities.queues if queue.name in taken),
    )


def _exchanges_of(bindings: Iterable[Binding]) -> list[str]:
    return list(dict.fromkeys(one.destination for one in bindings if one.to_exchange))
