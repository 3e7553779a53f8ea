"""The way of a message through the topology, as nodes and edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from stem_amqp.delay import LEVELS, exact_units, route
from stem_amqp.durations import format_seconds
from stem_amqp.topology.entities import Binding, Entities, Queue
from stem_amqp.topology.names import Names

Shape = Literal["actor", "exchange", "external", "queue"]
Line = Literal["flow", "binding", "failure"]
PRODUCER, OPERATOR, WORKER = "producer", "operator", "worker"
DELAY_EXCHANGE, DELAY_QUEUE = "delay exchange", "delay queue"
"""The keys of the two nodes that represent all delays in the short form."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A process, an exchange or a queue.

    Args:
        key: its key, which edges refer to.
        text: its name.
        note: a short description.
        shape: its kind; ``external`` is an exchange that is declared elsewhere.
    """

    key: str
    text: str
    shape: Shape
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """A path from one node to another.

    Args:
        source: the key of the first node.
        target: the key of the second node.
        text: a routing key or a short description.
        line: ``failure`` is the path of failed and unroutable messages.
    """

    source: str
    target: str
    text: str = ""
    line: Line = "flow"


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """The graph of a topology.

    Args:
        names: the names in the namespace.
        nodes: processes, exchanges and queues, in the topology's order.
        edges: the paths between them.
        wait: the example of a wait, in seconds, whose path is shown.
        everything: whether every delay queue is a node; otherwise two nodes represent all delays.
    """

    names: Names
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    wait: float
    everything: bool


def exchange_key(name: str) -> str:
    """Return the key of an exchange's node."""
    return f"exchange {name}"


def queue_key(name: str) -> str:
    """Return the key of a queue's node."""
    return f"queue {name}"


def delay_keys(graph: Graph) -> set[str]:
    """Return the keys of the nodes of delays."""
    names = graph.names
    exchanges = {exchange_key(names.delay_exchange(level)) for level in range(LEVELS)}
    return {DELAY_EXCHANGE, DELAY_QUEUE, *exchanges, *map(queue_key, names.delay_queues())}


def graph_of(
    entities: Entities, names: Names, *, wait: float = 2.0, everything: bool = False
) -> Graph:
    """Return the graph of a topology.

    Args:
        entities: the compiled topology.
        names: the names in the namespace.
        wait: the wait before a retry, in seconds, that is shown as an example; only its first digit
            is used, so that it takes one hop.
        everything: show every delay queue instead of the example.
    """
    units = exact_units(wait)
    step = 10 ** (len(str(units)) - 1)
    wait = units // step * step / 10
    builder = _Builder(entities, names, wait, everything=everything)
    return Graph(
        names=names,
        nodes=tuple(builder.nodes()),
        edges=tuple(dict.fromkeys(builder.edges())),
        wait=wait,
        everything=everything,
    )


class _Builder:
    """Builds the nodes and edges."""

    def __init__(self, entities: Entities, names: Names, wait: float, *, everything: bool) -> None:
        self._entities, self._names, self._everything = entities, names, everything
        self._wait = wait
        self._delay_exchanges = {names.delay_exchange(level) for level in range(LEVELS)}
        self._delay_queues = names.delay_queues()
        self._holding = {names.due(q.logical) for q in entities.queues if q.logical is not None}
        self._work = [
            queue
            for queue in entities.queues
            if queue.logical is not None and queue.name == names.work(queue.logical)
        ]
        logical = self._work[0].logical if self._work else None
        self._example = route(exact_units(wait), logical or "<queue>")

    def nodes(self) -> Iterator[Node]:
        yield Node(key=PRODUCER, text="producer", shape="actor")
        yield Node(key=OPERATOR, text="operator", shape="actor")
        yield Node(key=WORKER, text="worker", shape="actor")
        yield from self._exchange_nodes()
        for queue in self._entities.queues:
            if queue.name in self._holding:
                continue  # noted at its work queue, where its path ends
            if queue.name not in self._delay_queues:
                yield Node(
                    key=queue_key(queue.name),
                    text=queue.name,
                    shape="queue",
                    note=self._note(queue),
                )
            elif self._everything:
                note = format_seconds(self._delay_queues[queue.name])
                yield Node(key=queue_key(queue.name), text=queue.name, shape="queue", note=note)
        if not self._everything:
            yield from self._example_nodes()

    def _note(self, queue: Queue) -> str:
        note = _limits(queue)
        declared = {one.name for one in self._entities.queues}
        if queue.logical is None or queue.dead or self._names.due(queue.logical) not in declared:
            return note
        return f"{note}, delays wait for room"

    def _exchange_nodes(self) -> Iterator[Node]:
        bound = {name for b in self._entities.bindings for name in (b.source, b.destination)}
        declared = set()
        for exchange in self._entities.exchanges:
            declared.add(exchange.name)
            idle = exchange.name == self._names.events and exchange.name not in bound
            if not self._everything and (exchange.name in self._delay_exchanges or idle):
                continue
            yield Node(
                key=exchange_key(exchange.name),
                text=exchange.name,
                shape="exchange",
                note=exchange.type,
            )
        for name in self._outside(declared):
            yield Node(key=exchange_key(name), text=name, shape="external", note="external")

    def _outside(self, declared: set[str]) -> dict[str, None]:
        """Return the exchanges that bindings and arguments name but that are declared elsewhere."""
        named = [b.source for b in self._entities.bindings]
        named += [b.destination for b in self._entities.bindings if b.to_exchange]
        named += [
            str(e.arguments["alternate-exchange"])
            for e in self._entities.exchanges
            if "alternate-exchange" in e.arguments
        ]
        return {name: None for name in named if name not in declared}

    def _example_nodes(self) -> Iterator[Node]:
        level = self._example.level
        queue = self._names.delay_queue(level, self._digit)
        yield Node(
            key=DELAY_EXCHANGE,
            text=self._names.delay_exchange(level),
            shape="exchange",
            note=f"one of {len(self._delay_exchanges)}: one a digit",
        )
        yield Node(
            key=DELAY_QUEUE,
            text=queue,
            shape="queue",
            note=f"one of {len(self._delay_queues)}: TTL {format_seconds(self._wait)}",
        )

    @property
    def _digit(self) -> int:
        return int(str(self._example.units)[0])

    def edges(self) -> Iterator[Edge]:
        names = self._names
        dead = exchange_key(names.dead)
        yield Edge(source=PRODUCER, target=exchange_key(names.tasks))
        ordered = names.directives in {one.name for one in self._entities.exchanges}
        to = names.directives if ordered else names.control
        yield Edge(source=OPERATOR, target=exchange_key(to), text="commands")
        yield Edge(source=exchange_key(names.control), target=WORKER)
        yield from self._bindings()
        for queue in self._work:
            key = queue_key(queue.name)
            yield Edge(source=key, target=WORKER)
            text = "rejected, expired, delivery limit"
            yield Edge(source=key, target=dead, text=text, line="failure")
        yield Edge(source=WORKER, target=dead, text="failed for good", line="failure")
        yield from self._delays()
        for exchange in self._entities.exchanges:
            alternate = exchange.arguments.get("alternate-exchange")
            source = self._end(exchange.name, to_exchange=True)
            if alternate is not None and source is not None:
                target = exchange_key(str(alternate))
                yield Edge(source=source, target=target, text="no such queue", line="failure")

    def _bindings(self) -> Iterator[Edge]:
        for binding in self._entities.bindings:
            source = self._end(binding.source, to_exchange=True)
            target = self._end(binding.destination, to_exchange=binding.to_exchange)
            if binding.destination in self._holding and not binding.to_exchange:
                continue
            if source is not None and target is not None and not self._folded(binding):
                yield Edge(source=source, target=target, text=_key(binding), line="binding")

    def _folded(self, binding: Binding) -> bool:
        """Return whether a binding is part of the delays and not shown in the short form."""
        inside = {*self._delay_exchanges, *self._delay_queues, self._names.deliver}
        from_delay = binding.source in self._delay_exchanges
        return from_delay and binding.destination in inside and not self._everything

    def _end(self, name: str, *, to_exchange: bool) -> str | None:
        if not self._everything and to_exchange and name in self._delay_exchanges:
            return DELAY_EXCHANGE
        return exchange_key(name) if to_exchange else queue_key(name)

    def _delays(self) -> Iterator[Edge]:
        names, level = self._names, self._example.level
        text = "retry, snooze, ETA"
        if not self._everything:
            key = self._example.routing_key
            yield Edge(source=WORKER, target=DELAY_EXCHANGE, text=f"{text}\n{key}")
            yield Edge(source=DELAY_EXCHANGE, target=DELAY_QUEUE, line="binding")
            after = f"after {format_seconds(self._wait)}"
            yield Edge(source=DELAY_QUEUE, target=exchange_key(names.deliver), text=after)
            return
        yield Edge(source=WORKER, target=exchange_key(names.delay_exchange(level)), text=text)
        for queue in self._entities.queues:
            if queue.name in self._delay_queues:
                after = exchange_key(str(queue.arguments["x-dead-letter-exchange"]))
                yield Edge(source=queue_key(queue.name), target=after)


def _key(binding: Binding) -> str:
    arguments = ", ".join(f"{name}: {value}" for name, value in binding.arguments.items())
    return binding.key or arguments


def _limits(queue: Queue) -> str:
    arguments: dict[str, Any] = dict(queue.arguments)
    words = [str(arguments.get("x-queue-type", "classic"))]
    if "x-max-priority" in arguments:
        words.append(f"priority {arguments['x-max-priority']}")
    if "x-message-ttl" in arguments:
        words.append(f"TTL {format_seconds(arguments['x-message-ttl'] / 1000)}")
    if arguments.get("x-single-active-consumer"):
        words.append("single active consumer")
    return ", ".join(words)
