"""Convert the existing entities of a broker to a topology file, to adopt an installation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stem_amqp.topology.adopt.definitions import Existing
from stem_amqp.topology.adopt.policies import with_policies
from stem_amqp.topology.adopt.queue import queue_keys
from stem_amqp.topology.check.queues import NAME_BYTES
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import FormerNames, Names, collides
from stem_amqp.topology.spec.mistake import queue_name_mistake
from stem_amqp.topology.spec.values import NAMESPACE

_FOREIGN = "amq."
"""The prefix of RabbitMQ's own exchanges."""
_SHOWN = 5
"""The most missing names in one remark; ``apply --dry-run`` lists all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adopted:
    """The content of a topology file that was created from a broker.

    Args:
        data: the content of the file.
        remarks: the differences between the broker and the file.
        queues: the number of logical queues.
    """

    data: Mapping[str, Any]
    remarks: tuple[str, ...]
    queues: int


def adopt(existing: Existing, names: Names) -> Adopted:
    """Convert the entities of a virtual host to a topology file, as far as it can represent them.

    Args:
        existing: the existing entities.
        names: the names in the namespace to adopt.

    Returns:
        The file's content, with a remark for everything that it cannot represent.
    """
    adoption = _Adoption(existing, names)
    adoption.run()
    return Adopted(
        data=adoption.data,
        remarks=tuple(dict.fromkeys(adoption.remarks)),
        queues=len(adoption.logical),
    )


@dataclass(slots=True)
class _Adoption:
    existing: Existing
    names: Names
    data: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    logical: list[str] = field(default_factory=list)

    def run(self) -> None:
        self._exclude_former_delays()
        found = {queue.name: queue for queue in self.existing.entities.queues}
        self.logical = sorted(self._logical(found))
        self.data = {"version": 1, "namespace": self.names.namespace}
        self.data["queues"] = {
            name: queue_keys(found[self.names.work(name)], found.get(self.names.dlq(name)))
            for name in self.logical
        }
        own = compile_topology(self._topology(), self.names)
        self._extras(own)
        policies = self.existing.entities.policies
        declared = compile_topology(self._topology(), self.names)
        self.data = with_policies(self.data, policies, declared, self.names)
        compiled = compile_topology(self._topology(), self.names)
        self._differences(compiled)
        self._left_out(compiled)

    def _exclude_former_delays(self) -> None:
        """Skip the delays of an earlier version, which are no longer declared, and add one remark."""
        former = FormerNames(self.names.namespace)
        parts, existing = former.delay_parts(), self.existing.entities
        kept = Entities(
            exchanges=tuple(one for one in existing.exchanges if one.name not in parts),
            queues=tuple(one for one in existing.queues if one.name not in parts),
            bindings=tuple(
                one for one in existing.bindings if not parts & {one.source, one.destination}
            ),
            policies=existing.policies,
        )
        if kept != existing:
            self.remarks.append(
                f"{former.delay}.*: the delays of an earlier version, which are no longer declared;"
                " when they are empty, stem-amqp topology apply --prune removes them"
            )
            self.existing = Existing(entities=kept, others=self.existing.others)

    def _topology(self) -> Topology:
        return Topology.model_validate(self.data)

    def _logical(self, found: Mapping[str, Queue]) -> Iterable[str]:
        """Yield the logical queues: names in the namespace with the bindings or arguments of a work queue."""
        prefix = f"{self.names.namespace}."
        bound = {
            binding.destination
            for binding in self.existing.entities.bindings
            if binding.source in {self.names.tasks, self.names.deliver} and not binding.to_exchange
        }
        for name, queue in found.items():
            word = name.removeprefix(prefix)
            if not name.startswith(prefix) or queue_name_mistake(word, ()) is not None:
                continue
            dead = queue.arguments.get("x-dead-letter-exchange") == self.names.dead
            kind = queue.arguments.get("x-queue-type", "classic")
            if kind in {"quorum", "classic"} and (
                dead or name in bound or self.names.dlq(word) in found
            ):
                yield word

    # custom exchanges and bindings ------------------------------------------

    def _extras(self, own: Entities) -> None:
        exchanges = self._own_exchanges(own)
        known = {exchange.name for exchange in own.exchanges}
        work = {self.names.work(name): name for name in self.logical}
        ours = {*known, *exchanges}
        standard = {_identity(binding) for binding in own.bindings}
        bindings = []
        for binding in self.existing.entities.bindings:
            if _identity(binding) in standard or not binding.source:
                continue
            into = ours if binding.to_exchange else {*work}
            related = binding.destination in into or (
                binding.to_exchange and binding.source in ours
            )
            reason = self._refused(binding, work, ours) if related else None
            if not related or reason is not None:
                self._skip(binding, reason)
                continue
            for end in (binding.source, binding.destination if binding.to_exchange else ""):
                if end and end not in ours:
                    exchanges.setdefault(end, {"external": True})
            bindings.append(self._binding(binding, work))
        if exchanges:
            self.data["exchanges"] = {self._written(n): spec for n, spec in exchanges.items()}
        if bindings:
            self.data["bindings"] = bindings

    def _own_exchanges(self, own: Entities) -> dict[str, dict[str, Any]]:
        """Return the exchanges in the namespace that are not stem-amqp's own."""
        standard = {exchange.name for exchange in own.exchanges}
        found: dict[str, dict[str, Any]] = {}
        for exchange in self.existing.entities.exchanges:
            word = exchange.name.removeprefix(f"{self.names.namespace}.")
            if exchange.name in standard or word == exchange.name:
                continue
            if collides(word) or not self._is_valid(exchange.name):
                self.remarks.append(
                    f"exchange {exchange.name}: its name is not valid in a topology file"
                )
                continue
            internal = {"internal": True} if exchange.internal else {}
            filled = self._filled(exchange.arguments)
            found[exchange.name] = {"type": exchange.type, **internal, **filled}
        return found

    def _refused(self, binding: Binding, work: Mapping[str, str], ours: set[str]) -> str | None:
        """Return why a topology cannot contain a binding; None if it can."""
        if binding.source == self.names.dead and binding.destination in work:
            return "dead letters would return to the work queue for ever"
        ends = {binding.source, *([binding.destination] if binding.to_exchange else ())}
        prefix = f"{self.names.namespace}."
        taken = [
            e for e in ends - ours if e.startswith(prefix) and collides(e.removeprefix(prefix))
        ]
        if taken or not all(map(self._is_valid, ends)):
            return "one of its names is not valid in a topology file"
        return None

    def _binding(self, binding: Binding, work: Mapping[str, str]) -> dict[str, Any]:
        written: dict[str, Any] = {"source": self._written(binding.source)}
        if binding.to_exchange:
            written |= {"destination": self._written(binding.destination), "to": "exchange"}
        else:
            written["destination"] = work[binding.destination]
        if binding.key:
            written["key"] = binding.key
        return written | self._filled(binding.arguments)

    def _filled(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        if not arguments:
            return {}
        values = {
            name: self._written(value) if isinstance(value, str) else value
            for name, value in arguments.items()
        }
        return {"arguments": values}

    def _written(self, name: str) -> str:
        """Return a name as written in the file: with {namespace} for the namespace."""
        prefix = f"{self.names.namespace}."
        return f"{NAMESPACE}.{name.removeprefix(prefix)}" if name.startswith(prefix) else name

    def _is_valid(self, name: str) -> bool:
        """Return whether an exchange's name is valid in a topology file."""
        plain = name == name.strip() and name.isprintable() and not {"{", "}"} & set(name)
        return plain and 0 < len(self._written(name).encode()) <= NAME_BYTES

    # remarks ---------------------------------------------------------------------------------

    def _skip(self, binding: Binding, reason: str | None) -> None:
        kind = "exchange" if binding.to_exchange else "queue"
        why = reason or "neither end is part of this topology"
        if reason is None and not binding.to_exchange:
            why = f"the queue {binding.destination} is not part of this topology"
        key = f" with the key {binding.key}" if binding.key else ""
        self.remarks.append(
            f"binding of {binding.source} to the {kind} {binding.destination}{key}: {why}"
        )

    def _differences(self, compiled: Entities) -> None:
        """Add remarks about differences between the file and the broker."""
        existing = self.existing.entities
        for kind, wanted, found in (
            ("exchange", compiled.exchanges, {e.name: e for e in existing.exchanges}),
            ("queue", compiled.queues, {q.name: q for q in existing.queues}),
        ):
            missing = []
            for entity in wanted:
                other = found.get(entity.name)
                if other is not None:
                    self.remarks += _argument_remarks(kind, entity, other)
                elif f"{kind} {entity.name}" not in self.existing.others:
                    missing.append(entity.name)
            self._missing(kind, missing)
        bound = {_identity(binding) for binding in existing.bindings}
        bindings = [b for b in compiled.bindings if _identity(b) not in bound]
        self._missing("binding", [f"{b.source} to {b.destination}" for b in bindings])

    def _missing(self, kind: str, missing: list[str]) -> None:
        if missing:
            shown = ", ".join(missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
            self.remarks.append(
                f"not on the broker; apply will declare {len(missing)} {kind}(s): {shown}"
            )

    def _left_out(self, compiled: Entities) -> None:
        existing = self.existing.entities
        named = {self._read(name) for name in self.data.get("exchanges", {})}
        written = {*(e.name for e in compiled.exchanges), *named}
        for exchange in existing.exchanges:
            foreign = exchange.name and not exchange.name.startswith(_FOREIGN)
            if foreign and exchange.name not in written:
                self.remarks.append(
                    f"exchange {exchange.name}: is not in this namespace, and no binding here refers to it"
                )
        queues = {queue.name for queue in compiled.queues}
        passing = [queue for queue in existing.queues if self._is_temporary(queue.name)]
        if passing:
            self.remarks.append(
                f"{len(passing)} queue(s) of replies and groups, which are temporary"
            )
        for queue in existing.queues:
            if queue.name not in queues and queue not in passing:
                self.remarks.append(f"queue {queue.name}: is not a work or dead-letter queue here")
        for what, why in self.existing.others.items():
            kind, _, name = what.partition(" ")
            if name.startswith(_FOREIGN) or (kind == "queue" and self._is_temporary(name)):
                continue
            self.remarks.append(f"{what}: {why}")
        for policy in existing.policies:
            if policy in compiled.policies:
                continue
            kind = "operator policy" if policy.operator else "policy"
            self.remarks.append(
                f"{kind} {policy.name}: pattern {policy.pattern}, {policy.apply_to}, priority"
                f" {policy.priority}, {dict(policy.definition)}"
            )

    def _is_temporary(self, name: str) -> bool:
        return name.startswith((self.names.reply(""), self.names.group("")))

    def _read(self, name: str) -> str:
        return name.replace(NAMESPACE, self.names.namespace)


def _identity(binding: Binding) -> tuple[Any, ...]:
    arguments = repr(sorted(binding.arguments.items()))
    return binding.source, binding.destination, binding.key, binding.to_exchange, arguments


def _argument_remarks(kind: str, wanted: Exchange | Queue, found: Exchange | Queue) -> list[str]:
    remarks = []
    if isinstance(wanted, Exchange) and isinstance(found, Exchange) and wanted.type != found.type:
        remarks.append(f"exchange {wanted.name}: its type is {found.type}, not {wanted.type}")
    for name in sorted({*wanted.arguments, *found.arguments}):
        here, there = wanted.arguments.get(name), found.arguments.get(name)
        if here != there:
            remarks.append(
                f"{kind} {wanted.name}: {name} is {_shown(there)} on the broker and"
                f" {_shown(here)} in this file"
            )
    return remarks


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
