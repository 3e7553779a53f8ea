"""Routing of messages through exchanges and bindings to queues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from stem_amqp.topology.entities import BUILT_IN_TYPES, Binding, Exchange, Policy
from stem_amqp.topology.routing import binding_matches

if TYPE_CHECKING:
    from stem_amqp.transport.memory.queue import MemoryQueue
    from stem_amqp.transport.publication import Headers

_CACHE_LIMIT = 10_000
"""Maximum number of cached routes; delays have many routing keys."""


class MemoryExchange:
    """An exchange with its bindings.

    Args:
        declared: its declaration.
    """

    __slots__ = ("bindings", "declared")

    def __init__(self, declared: Exchange) -> None:
        self.declared = declared
        self.bindings: list[Binding] = []

    @property
    def alternate(self) -> str | None:
        """The alternate exchange for unroutable messages, or None."""
        name = self.declared.arguments.get("alternate-exchange")
        return None if name is None else str(name)

    def matches(self, key: str, headers: Headers) -> Iterator[Binding]:
        """Yield the bindings that match a message."""
        kind = self.declared.type
        for binding in self.bindings:
            if binding_matches(kind, binding, key, headers):
                yield binding


class Router:
    """All exchanges, queues and bindings of a broker."""

    def __init__(self) -> None:
        self.exchanges: dict[str, MemoryExchange] = {}
        self.queues: dict[str, MemoryQueue] = {}
        self.policies: dict[tuple[bool, str], Policy] = {}
        self._routes: dict[tuple[str, str], tuple[MemoryQueue, ...]] = {}
        for kind in BUILT_IN_TYPES:
            self.add_exchange(Exchange(name=f"amq.{kind}", type=kind))

    def add_exchange(self, exchange: Exchange) -> None:
        """Add a new exchange."""
        self.exchanges[exchange.name] = MemoryExchange(exchange)
        self._routes.clear()

    def add_queue(self, queue: MemoryQueue) -> None:
        """Add a new queue."""
        self.queues[queue.name] = queue
        self._routes.clear()

    def bind(self, binding: Binding) -> None:
        """Add a binding between existing entities."""
        bindings = self.exchanges[binding.source].bindings
        if binding not in bindings:
            bindings.append(binding)
            self._routes.clear()

    def unbind(self, binding: Binding) -> None:
        """Remove a binding; a missing one is ignored."""
        source = self.exchanges.get(binding.source)
        if source is not None and binding in source.bindings:
            source.bindings.remove(binding)
            self._routes.clear()

    def remove_exchange(self, name: str) -> None:
        """Remove an exchange with its bindings; a missing one is ignored."""
        if self.exchanges.pop(name, None) is not None:
            self._unbind(name, to_exchange=True)

    def remove_queue(self, name: str) -> None:
        """Remove a queue with its bindings; a missing one is ignored."""
        if self.queues.pop(name, None) is not None:
            self._unbind(name, to_exchange=False)

    def route(self, exchange: str, key: str, headers: Headers) -> tuple[MemoryQueue, ...]:
        """Return the queues to which a message is routed, each once.

        Args:
            exchange: the exchange; ``""`` is the default exchange, where the key is a queue's name.
            key: the routing key.
            headers: the message's headers.
        """
        if not exchange:
            queue = self.queues.get(key)
            return () if queue is None else (queue,)
        known = self._routes.get((exchange, key))
        if known is not None:
            return known
        queues, by_headers = self._resolve(exchange, key, headers)
        if not by_headers:
            if len(self._routes) >= _CACHE_LIMIT:
                self._routes.clear()
            self._routes[exchange, key] = queues
        return queues

    def _resolve(
        self, exchange: str, key: str, headers: Headers
    ) -> tuple[tuple[MemoryQueue, ...], bool]:
        """Return the queues, and whether they depend on the headers."""
        names: dict[str, None] = {}
        seen = {exchange}
        todo = [exchange]
        by_headers = False
        for name in todo:
            source = self.exchanges.get(name)
            if source is None:
                continue
            by_headers = by_headers or source.declared.type == "headers"
            matching = list(source.matches(key, headers))
            further = [binding.destination for binding in matching if binding.to_exchange]
            names.update((b.destination, None) for b in matching if not b.to_exchange)
            if not matching and source.alternate is not None:
                further = [source.alternate]
            # visited exchanges are skipped, to avoid loops
            todo += [new for new in dict.fromkeys(further) if new not in seen]
            seen.update(further)
        return tuple(self.queues[name] for name in names), by_headers

    def _unbind(self, name: str, *, to_exchange: bool) -> None:
        for exchange in self.exchanges.values():
            exchange.bindings = [
                binding
                for binding in exchange.bindings
                if (binding.destination, binding.to_exchange) != (name, to_exchange)
            ]
        self._routes.clear()
