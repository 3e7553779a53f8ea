"""Routing: which queues a message goes to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stem_amqp.topology.entities import BUILT_IN_TYPES, Binding, Exchange, Policy

if TYPE_CHECKING:
    from stem_amqp.transport.base import Headers
    from stem_amqp.transport.memory.queue import MemoryQueue

_CACHE_LIMIT = 10_000
"""Remembered routes; delays have many routing keys."""


def topic_matches(pattern: str, key: str) -> bool:
    """Say whether a topic pattern matches a routing key.

    Args:
        pattern: words with dots between; ``*`` is one word, ``#`` any number of them.
        key: the routing key.
    """
    words = key.split(".") if key else []
    reachable = {0}
    for part in pattern.split(".") if pattern else []:
        if part == "#":
            reachable = set(range(min(reachable), len(words) + 1))
        else:
            reachable = {
                word + 1 for word in reachable if word < len(words) and part in {"*", words[word]}
            }
        if not reachable:
            return False
    return len(words) in reachable


def headers_match(arguments: Mapping[str, Any], headers: Headers) -> bool:
    """Say whether a headers binding matches a message's headers.

    Args:
        arguments: the binding's arguments, ``x-match`` among them; a value of None asks only
            that the header is there.
        headers: the message's headers.
    """
    mode = str(arguments.get("x-match", "all"))
    wanted = (
        name in headers and (value is None or headers[name] == value)
        for name, value in arguments.items()
        if name != "x-match" and (mode.endswith("-with-x") or not name.startswith("x-"))
    )
    return any(wanted) if mode.startswith("any") else all(wanted)


class MemoryExchange:
    """An exchange with its bindings.

    Args:
        declared: what it was declared as.
    """

    __slots__ = ("bindings", "declared")

    def __init__(self, declared: Exchange) -> None:
        self.declared = declared
        self.bindings: list[Binding] = []

    @property
    def alternate(self) -> str | None:
        """The exchange for what has no route here."""
        name = self.declared.arguments.get("alternate-exchange")
        return None if name is None else str(name)

    def matches(self, key: str, headers: Headers) -> Iterator[Binding]:
        """Return the bindings that a message fits."""
        kind = self.declared.type
        for binding in self.bindings:
            if (
                kind == "fanout"
                or (kind == "direct" and binding.key == key)
                or (kind == "topic" and topic_matches(binding.key, key))
                or (kind == "headers" and headers_match(binding.arguments, headers))
            ):
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
        """Add an exchange that is not there yet."""
        self.exchanges[exchange.name] = MemoryExchange(exchange)
        self._routes.clear()

    def add_queue(self, queue: MemoryQueue) -> None:
        """Add a queue that is not there yet."""
        self.queues[queue.name] = queue
        self._routes.clear()

    def bind(self, binding: Binding) -> None:
        """Add a binding; its source and destination are there."""
        bindings = self.exchanges[binding.source].bindings
        if binding not in bindings:
            bindings.append(binding)
            self._routes.clear()

    def unbind(self, binding: Binding) -> None:
        """Take a binding away; one that is not there is no error."""
        source = self.exchanges.get(binding.source)
        if source is not None and binding in source.bindings:
            source.bindings.remove(binding)
            self._routes.clear()

    def remove_exchange(self, name: str) -> None:
        """Remove an exchange with its bindings; one that is not there is no error."""
        if self.exchanges.pop(name, None) is not None:
            self._unbind(name, to_exchange=True)

    def remove_queue(self, name: str) -> None:
        """Remove a queue with its bindings; one that is not there is no error."""
        if self.queues.pop(name, None) is not None:
            self._unbind(name, to_exchange=False)

    def route(self, exchange: str, key: str, headers: Headers) -> tuple[MemoryQueue, ...]:
        """Return the queues that a message goes to, each once.

        Args:
            exchange: the exchange; ``""`` is the default one, where the key is a queue's name.
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
        """Return the queues, and whether the headers had a say in it."""
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
            # an exchange that was seen before would make a loop
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
