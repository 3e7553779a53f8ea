"""A topology with its compiled entities: the role of each queue and the key that declares an entity."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.entities import Binding, Entities, Policy, Queue
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import VERSIONS_AHEAD, Names
from stem_amqp.topology.policies import applied, effective, filled, matches
from stem_amqp.topology.spec.mistake import Place
from stem_amqp.topology.spec.values import NAMESPACE

Role = Literal["work", "dead-letter", "delay", "unroutable", "extra"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A topology with its compiled entities.

    Args:
        topology: the topology.
        names: the names in the namespace.
        entities: the compiled entities.
        queues: all queues by name, including external ones.
        roles: the role of each queue.
    """

    topology: Topology
    names: Names
    entities: Entities
    queues: Mapping[str, Queue]
    roles: Mapping[str, Role]

    @classmethod
    def of(cls, topology: Topology, names: Names | None = None, queues: Iterable[str] = ()) -> Self:
        """Compile a topology.

        Args:
            topology: the topology.
            names: the names in the namespace; default: the file's namespace.
            queues: logical queues beside those of the file.

        Raises:
            TopologyError: it cannot be compiled.
        """
        names = names or Names(topology.namespace or "stem")
        entities = compile_topology(topology, names, queues)
        found = {queue.name: queue for queue in entities.queues}
        foreign = (filled(key, names) for key in topology.extra_queues)
        found |= {name: Queue(name=name) for name in foreign if name not in found}
        delays = {
            *names.delay_queues(),
            *(names.due(q.logical) for q in entities.queues if q.logical),
        }
        return cls(
            topology=topology,
            names=names,
            entities=entities,
            queues=found,
            roles={name: _role(queue, delays, names) for name, queue in found.items()},
        )

    @property
    def logical(self) -> list[str]:
        """All logical queues, including those that only tasks name."""
        return [queue.logical for queue in self.entities.queues if queue.logical and not queue.dead]

    def kind(self, name: str) -> str:
        """Return a queue's type; ``unknown`` for an external queue."""
        return str(self.queues[name].arguments.get("x-queue-type", "unknown"))

    def fitting(self, policy: Policy) -> list[str]:
        """Return the queues whose name and type a policy matches."""
        # the type of an external queue is not known: it may be any
        return [
            name
            for name in self.queues
            if any(matches(policy, name, kind) for kind in _kinds(self.kind(name)))
        ]

    def in_force(self, name: str) -> dict[str, Any]:
        """Return the settings in force for a queue, from arguments and policies."""
        return effective(self.queues[name], self.entities.policies)

    def rivals(self, policy: Policy, name: str) -> Iterator[Policy]:
        """Yield other policies of the same kind that also match a queue."""
        for other in self.entities.policies:
            same_kind = other.operator == policy.operator and other.name != policy.name
            if same_kind and matches(other, name, self.kind(name)):
                yield other

    def governing(self, name: str) -> tuple[Policy, ...]:
        """Return the policy and the operator policy that RabbitMQ applies to a queue."""
        return applied(self.entities.policies, name, self.kind(name))

    def written(self) -> Iterator[tuple[Place, Policy]]:
        """Yield the policies of the file, each with its place."""
        compiled = {(policy.name, policy.operator): policy for policy in self.entities.policies}
        for section, specs, operator in (
            ("policies", self.topology.policies, False),
            ("operator_policies", self.topology.operator_policies, True),
        ):
            for key in specs:
                name = key.replace(NAMESPACE, self.names.namespace)
                yield (section, key), compiled[name, operator]

    def own_bindings(self) -> Iterator[tuple[Place, Binding]]:
        """Yield the bindings of the file, each with its place."""
        compiled = {
            (b.source, b.destination, b.key, b.to_exchange): b for b in self.entities.bindings
        }
        for index, spec in enumerate(self.topology.bindings):
            to_exchange = spec.to == "exchange"
            target = spec.destination
            if not to_exchange and target in self.topology.queues:
                target = self.names.work(target, self.topology.queue(target).version)
            ends = filled(spec.source, self.names), filled(target, self.names)
            yield ("bindings", index), compiled[(*ends, spec.key, to_exchange)]

    def passing(self) -> Iterator[str]:
        """Yield examples of the names of temporary queues, and the names of other queue versions."""
        some = "0198f2c4-7a3b-7cc2-9d4e-5b6a7c8d9e0f"
        yield from (self.names.reply(some), f"{self.names.control}.{some}")
        yield from (self.names.group(some), self.names.group_claim(some))
        yield self.names.group_values(some)
        for queue in self.entities.queues:
            if queue.logical is not None:
                for version in range(1, queue.version + VERSIONS_AHEAD + 1):
                    make = self.names.dlq if queue.dead else self.names.work
                    yield make(queue.logical, version)


def _kinds(kind: str) -> tuple[str, ...]:
    return ("quorum", "classic", "stream") if kind == "unknown" else (kind,)


def _role(queue: Queue, delays: Collection[str], names: Names) -> Role:
    if queue.logical is not None:
        return "dead-letter" if queue.dead else "work"
    if queue.name in delays:
        return "delay"
    return "unroutable" if queue.name in {names.unroutable, names.rejected} else "extra"
