"""Find the destinations of dead letters: follow exchanges and bindings as RabbitMQ does."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stem_amqp.topology.entities import Binding
from stem_amqp.topology.extra_queues import UNLIMITED
from stem_amqp.topology.lint.patterns import ANY, narrower, overlap
from stem_amqp.topology.lint.planned import Planned

_BUILT_IN = {
    "amq.topic": "topic",
    "amq.direct": "direct",
    "amq.fanout": "fanout",
}


class Stop(NamedTuple):
    """A message in a queue.

    Args:
        queue: the queue.
        key: the known part of its routing key, as a topic pattern.
    """

    queue: str
    key: str


@dataclass(slots=True)
class Destinations:
    """The destinations of a message with a routing key.

    Args:
        stops: the queues.
        exchanges: the exchanges on its path.
        bindings: the indices of the bindings on its path.
    """

    stops: set[Stop] = field(default_factory=set)
    exchanges: set[str] = field(default_factory=set)
    bindings: set[int] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadLettering:
    """How a queue dead-letters messages.

    Args:
        exchange: the dead-letter exchange.
        key: the dead-letter routing key, or None for the original key.
        reasons: the causes for which the broker dead-letters without a rejection by a consumer.
        at_least_once: whether messages are kept until the destination has confirmed them.
    """

    exchange: str
    key: str | None
    reasons: tuple[str, ...]
    at_least_once: bool


class DeadLetterGraph:
    """The paths of dead letters in a topology.

    Args:
        planned: the topology.
    """

    def __init__(self, planned: Planned) -> None:
        self._planned = planned
        self._kinds = {exchange.name: exchange.type for exchange in planned.entities.exchanges}
        self._alternates = {
            exchange.name: str(exchange.arguments["alternate-exchange"])
            for exchange in planned.entities.exchanges
            if "alternate-exchange" in exchange.arguments
        }
        self._from: dict[str, list[int]] = defaultdict(list)
        for index, binding in enumerate(planned.entities.bindings):
            self._from[binding.source].append(index)
        self._dead_lettering_of = {name: self._dead_lettering(name) for name in planned.queues}

    def of(self, queue: str) -> DeadLettering | None:
        """Return how a queue dead-letters messages; None if it drops them."""
        return self._dead_lettering_of.get(queue)

    def keys(self, queue: str) -> list[str]:
        """Return patterns of the routing keys with which messages reach a queue."""
        found = [
            binding.key if self._kind(binding.source) in {"topic", "direct"} else ANY
            for binding in self._planned.entities.bindings
            if binding.destination == queue and not binding.to_exchange
        ]
        return list(dict.fromkeys(found)) or [ANY]

    def after(self, stop: Stop) -> Destinations:
        """Return the destinations of a dead letter of a queue."""
        dead_lettering = self.of(stop.queue)
        if dead_lettering is None:
            return Destinations()
        return self.route(
            dead_lettering.exchange, stop.key if dead_lettering.key is None else dead_lettering.key
        )

    def route(self, exchange: str, key: str) -> Destinations:
        """Return the destinations of a message that is published to an exchange.

        Args:
            exchange: the exchange; an empty string is the default exchange.
            key: the known part of its routing key.
        """
        destinations = Destinations()
        if not exchange:
            destinations.stops.update({Stop(key, key)} if key in self._planned.queues else ())
            return destinations
        waiting, seen = deque([(exchange, key)]), {(exchange, key)}
        while waiting:
            here, known = waiting.popleft()
            destinations.exchanges.add(here)
            for place, carried in self._taken(here, known, destinations):
                if (place, carried) not in seen:
                    seen.add((place, carried))
                    waiting.append((place, carried))
        return destinations

    def _taken(
        self, exchange: str, key: str, destinations: Destinations
    ) -> Iterator[tuple[str, str]]:
        """Yield the exchanges to which an exchange routes a message; add the queues to the destinations."""
        passed = False
        for index in self._from[exchange]:
            binding = self._planned.entities.bindings[index]
            carried = self._fits(binding, key)
            if carried is None:
                continue
            passed = True
            destinations.bindings.add(index)
            if binding.to_exchange:
                yield binding.destination, carried
            else:
                destinations.stops.add(Stop(binding.destination, carried))
        if not passed and exchange in self._alternates:
            yield self._alternates[exchange], key

    def _fits(self, binding: Binding, key: str) -> str | None:
        """Return the known part of a key after a binding, or None if the binding does not match."""
        if self._kind(binding.source) not in {"topic", "direct"}:
            return key  # a fanout matches all keys, and the rules of other types are not known
        return narrower(binding.key, key) if overlap(binding.key, key) else None

    def _kind(self, exchange: str) -> str | None:
        return self._kinds.get(exchange) or _BUILT_IN.get(exchange)

    def _dead_lettering(self, name: str) -> DeadLettering | None:
        settings = self._planned.in_force(name)
        exchange = settings.get("x-dead-letter-exchange")
        if exchange is None:
            return None
        key = settings.get("x-dead-letter-routing-key")
        kind = self._planned.kind(name)
        overflow = settings.get("x-overflow", "drop-head")
        strategy = settings.get("x-dead-letter-strategy")
        return DeadLettering(
            exchange=str(exchange),
            key=None if key is None else str(key),
            reasons=tuple(_reasons(settings, kind)),
            at_least_once=kind == "quorum"
            and (strategy, overflow) == ("at-least-once", "reject-publish"),
        )

    def way(self, starts: Iterable[Stop], goal: str, *, automatic: bool) -> list[Stop] | None:
        """Return the shortest path of dead letters from one of several queues to another queue.

        From the second queue on, only messages that the broker dead-letters by itself continue: no consumer
        is known there.

        Args:
            starts: the first queues.
            goal: the last queue, reached after at least one step.
            automatic: whether the rule also holds for the first queue.
        """
        waiting = deque(starts)
        ways: dict[Stop, list[Stop]] = {stop: [stop] for stop in waiting}
        first = set(waiting)
        while waiting:
            here = waiting.popleft()
            dead_lettering = self.of(here.queue)
            if dead_lettering is None or not (
                dead_lettering.reasons or (here in first and not automatic)
            ):
                continue
            for stop in sorted(self.after(here).stops):
                if stop.queue == goal:
                    return [*ways[here], stop]
                if stop not in ways:
                    ways[stop] = [*ways[here], stop]
                    waiting.append(stop)
        return None


def _reasons(settings: Mapping[str, Any], kind: str) -> Iterator[str]:
    if "x-message-ttl" in settings:
        yield "expired"
    limited = {"x-max-length", "x-max-length-bytes"} & settings.keys()
    if limited and settings.get("x-overflow", "drop-head") == "drop-head":
        yield "too many"
    limit = settings.get("x-delivery-limit", UNLIMITED)
    if kind == "quorum" and 0 <= limit < UNLIMITED:
        yield "returned too often"
