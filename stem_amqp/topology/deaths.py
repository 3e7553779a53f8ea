"""Where dead letters go: a walk over exchanges and bindings as RabbitMQ does it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from stem_amqp.topology.entities import Binding
from stem_amqp.topology.extra_queues import UNLIMITED
from stem_amqp.topology.patterns import ANY, narrower, overlap
from stem_amqp.topology.planned import Planned

_BUILT_IN = {
    "amq.topic": "topic",
    "amq.direct": "direct",
    "amq.fanout": "fanout",
}


class Stop(NamedTuple):
    """A message in a queue.

    Args:
        queue: the queue.
        key: what is known of its routing key: a topic pattern.
    """

    queue: str
    key: str


@dataclass(slots=True)
class Landing:
    """Where a message with a routing key comes to.

    Args:
        stops: the queues.
        exchanges: those that it passes.
        bindings: those that it takes.
    """

    stops: set[Stop] = field(default_factory=set)
    exchanges: set[str] = field(default_factory=set)
    bindings: set[int] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """How a queue gives up messages.

    Args:
        exchange: where they go.
        key: the routing key that they get, or None for the one that they had.
        reasons: what makes the broker give them up without any consumer's word.
        at_least_once: whether they are held until they are safe elsewhere.
    """

    exchange: str
    key: str | None
    reasons: tuple[str, ...]
    at_least_once: bool


class Deaths:
    """The ways of dead letters in a topology.

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
        self._deaths = {name: self._death(name) for name in planned.queues}

    def of(self, queue: str) -> Death | None:
        """Return how a queue gives up messages; None if it drops them."""
        return self._deaths.get(queue)

    def keys(self, queue: str) -> list[str]:
        """Return what is known of the routing keys with which messages come into a queue."""
        found = [
            binding.key if self._kind(binding.source) in {"topic", "direct"} else ANY
            for binding in self._planned.entities.bindings
            if binding.destination == queue and not binding.to_exchange
        ]
        return list(dict.fromkeys(found)) or [ANY]

    def after(self, stop: Stop) -> Landing:
        """Return where a message comes to that a queue gives up."""
        death = self.of(stop.queue)
        if death is None:
            return Landing()
        return self.route(death.exchange, stop.key if death.key is None else death.key)

    def route(self, exchange: str, key: str) -> Landing:
        """Return where a message comes to that is published to an exchange.

        Args:
            exchange: the exchange; an empty text is the default one.
            key: what is known of its routing key.
        """
        landing = Landing()
        if not exchange:
            landing.stops.update({Stop(key, key)} if key in self._planned.queues else ())
            return landing
        waiting, seen = deque([(exchange, key)]), {(exchange, key)}
        while waiting:
            here, known = waiting.popleft()
            landing.exchanges.add(here)
            for place, carried in self._taken(here, known, landing):
                if (place, carried) not in seen:
                    seen.add((place, carried))
                    waiting.append((place, carried))
        return landing

    def _taken(self, exchange: str, key: str, landing: Landing) -> Iterator[tuple[str, str]]:
        """Yield the exchanges to which an exchange passes a message on; note the queues."""
        passed = False
        for index in self._from[exchange]:
            binding = self._planned.entities.bindings[index]
            carried = self._fits(binding, key)
            if carried is None:
                continue
            passed = True
            landing.bindings.add(index)
            if binding.to_exchange:
                yield binding.destination, carried
            else:
                landing.stops.add(Stop(binding.destination, carried))
        if not passed and exchange in self._alternates:
            yield self._alternates[exchange], key

    def _fits(self, binding: Binding, key: str) -> str | None:
        """Return what is known of a key after a binding, or None if it does not fit."""
        if self._kind(binding.source) not in {"topic", "direct"}:
            return key  # fanout takes all, and of other kinds nothing is known
        return narrower(binding.key, key) if overlap(binding.key, key) else None

    def _kind(self, exchange: str) -> str | None:
        return self._kinds.get(exchange) or _BUILT_IN.get(exchange)

    def _death(self, name: str) -> Death | None:
        settings = self._planned.in_force(name)
        exchange = settings.get("x-dead-letter-exchange")
        if exchange is None:
            return None
        key = settings.get("x-dead-letter-routing-key")
        kind = self._planned.kind(name)
        overflow = settings.get("x-overflow", "drop-head")
        strategy = settings.get("x-dead-letter-strategy")
        return Death(
            exchange=str(exchange),
            key=None if key is None else str(key),
            reasons=tuple(_reasons(settings, kind)),
            at_least_once=kind == "quorum"
            and (strategy, overflow) == ("at-least-once", "reject-publish"),
        )

    def way(self, starts: Iterable[Stop], goal: str, *, automatic: bool) -> list[Stop] | None:
        """Return the shortest way of dead letters from one of some queues to another one.

        From the second queue on, only what the broker gives up by itself goes on: nobody is known to
        consume there.

        Args:
            starts: where they begin.
            goal: the queue where it ends, after it left one at least once.
            automatic: whether this holds for the first queue, too.
        """
        waiting = deque(starts)
        ways: dict[Stop, list[Stop]] = {stop: [stop] for stop in waiting}
        first = set(waiting)
        while waiting:
            here = waiting.popleft()
            death = self.of(here.queue)
            if death is None or not (death.reasons or (here in first and not automatic)):
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
