"""List the groups and calls with which a node of a composition begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stem_amqp.messages.links import Chain, GroupNode, LinkNode, Source
from stem_amqp.producer.linking.calls import Calls, Given, Value
from stem_amqp.producer.linking.dependents import Watch
from stem_amqp.producer.linking.place import Place
from stem_amqp.producer.linking.plan import Plan
from stem_amqp.tasks.call import Call


@dataclass(frozen=True, kw_only=True, slots=True)
class NewGroup:
    """A group to create.

    Args:
        id: its id.
        size: the number of its members.
        ttl: seconds for which it is kept.
        plan: what follows it.
    """

    id: str
    size: int
    ttl: float
    plan: Plan


@dataclass(kw_only=True, slots=True)
class Start:
    """What begins a node.

    Args:
        groups: to create first, the outer ones before the inner ones.
        watches: to register then, by which the groups learn of the ends of tasks that were enqueued before.
        calls: to publish then.
        empty: the places of members that are empty groups, and have ended with an empty list.
    """

    groups: list[NewGroup] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    empty: list[Place] = field(default_factory=list)


def start_of(nodes: Chain, place: Place, given: Given, calls: Calls) -> Start:
    """Return what begins a chain.

    Args:
        nodes: the nodes of the chain; nothing begins without one.
        place: the place of the first one.
        given: what its links take.
        calls: makes the calls of links.

    Raises:
        ConfigurationError: an option of a link is invalid.
    """
    starting = _Starting(calls)
    starting.add(nodes, place, given)
    return starting.start


class _Starting:
    """Lists what begins a chain, and the chains in its first group."""

    def __init__(self, calls: Calls) -> None:
        self.start = Start()
        self._calls = calls

    def add(self, nodes: Chain, place: Place, given: Given) -> None:
        """Add what begins a chain."""
        if not nodes:
            return
        first, then = nodes[0], nodes[1:]
        if isinstance(first, LinkNode):
            # Only a single link claims its group: of a group, each member would have to win
            claims = isinstance(given, Source) and given.group == place.next(-1).id
            self.start.calls.append(self._calls.call(first, place, given, then, claims=claims))
        elif first.of or first.on:
            self._add_gate(first, then, place)
        elif first.members:
            self._add_group(first, then, place, given)
        elif then:
            self.add(then, place.next(), Value([]))
        elif place.group is not None:
            self.start.empty.append(place)

    def _add_gate(self, node: GroupNode, then: Chain, place: Place) -> None:
        """Add the group that counts what a member waits for; other members report to it."""
        plan = Plan.of(node, place, then)
        inside = len(node.of)
        size = inside + len(node.on)
        self.start.groups.append(NewGroup(id=place.id, size=size, ttl=node.ttl, plan=plan))
        self.start.watches += [
            Watch(task_id, place.id, index, node.ttl)
            for index, task_id in enumerate(node.on, inside)
        ]

    def _add_group(self, node: GroupNode, then: Chain, place: Place, given: Given) -> None:
        plan = Plan.of(node, place, then)
        size = len(node.members)
        self.start.groups.append(NewGroup(id=place.id, size=size, ttl=node.ttl, plan=plan))
        waiting = _waiting(node)
        for index, member in enumerate(node.members):
            chain = isinstance(member, tuple)
            nodes = member if isinstance(member, tuple) else (member,)
            gates = tuple(waiting.get(index, ()))
            self.add(nodes, place.member(index, chain=chain, gates=gates), given)


def _waiting(node: GroupNode) -> Mapping[int, list[tuple[int, int]]]:
    """Return the members that wait for others: for each of these the index of a waiting one, and its position."""
    found: dict[int, list[tuple[int, int]]] = {}
    for index, member in enumerate(node.members):
        if isinstance(member, tuple) and member and isinstance(member[0], GroupNode):
            for position, needed in enumerate(member[0].of):
                found.setdefault(needed, []).append((index, position))
    return found
