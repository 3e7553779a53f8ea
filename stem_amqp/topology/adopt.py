"""From what stands on a broker to a topology file, so that an installation can be adopted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stem_amqp.topology.adopted_policies import with_policies
from stem_amqp.topology.adopted_queue import queue_keys
from stem_amqp.topology.check import NAME_BYTES, NAMESPACE
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.definitions_file import Standing
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.topology.mistake import queue_name_mistake
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names, collides

_FOREIGN = "amq."
"""The beginning of the names of RabbitMQ's own exchanges."""
_SHOWN = 5
"""Names of what is missing in one remark; all of them say ``apply --dry-run``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adopted:
    """A topology file in the making.

    Args:
        data: what the file says.
        remarks: what is on the broker and not in the file, or in the file and not on the broker.
        queues: how many logical queues it has.
    """

    data: Mapping[str, Any]
    remarks: tuple[str, ...]
    queues: int


def adopt(standing: Standing, names: Names) -> Adopted:
    """Write down what stands on a virtual host as far as a topology file can say it.

    Args:
        standing: what there is.
        names: the names in the namespace that is adopted.

    Returns:
        The file's content. Whatever it cannot say is a remark; nothing is left out silently.
    """
    adoption = _Adoption(standing, names)
    adoption.run()
    return Adopted(
        data=adoption.data,
        remarks=tuple(dict.fromkeys(adoption.remarks)),
        queues=len(adoption.logical),
    )


@dataclass(slots=True)
class _Adoption:
    standing: Standing
    names: Names
    data: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    logical: list[str] = field(default_factory=list)

    def run(self) -> None:
        found = {queue.name: queue for queue in self.standing.entities.queues}
        self.logical = sorted(self._logical(found))
        self.data = {"version": 1, "namespace": self.names.namespace}
        self.data["queues"] = {
            name: queue_keys(found[self.names.work(name)], found.get(self.names.dlq(name)))
            for name in self.logical
        }
        own = compile_topology(self._topology(), self.names)
        self._extras(own)
        policies = self.standing.entities.policies
        declared = compile_topology(self._topology(), self.names)
        self.data = with_policies(self.data, policies, declared, self.names)
        compiled = compile_topology(self._topology(), self.names)
        self._differences(compiled)
        self._left_out(compiled)

    def _topology(self) -> Topology:
        return Topology.model_validate(self.data)

    def _logical(self, found: Mapping[str, Queue]) -> Iterable[str]:
        """Yield the logical queues: a name of ours, with a sign that it is more than a name."""
        prefix = f"{self.names.namespace}."
        bound = {
            binding.destination
            for binding in self.standing.entities.bindings
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

    # exchanges and bindings of the installation's own ------------------------------------------

    def _extras(self, own: Entities) -> None:
        exchanges = self._own_exchanges(own)
        known = {exchange.name for exchange in own.exchanges}
        work = {self.names.work(name): name for name in self.logical}
        ours = {*known, *exchanges}
        standard = {_identity(binding) for binding in own.bindings}
        bindings = []
        for binding in self.standing.entities.bindings:
            if _identity(binding) in standard or not binding.source:
                continue
            into = ours if binding.to_exchange else {*work}
            related = binding.destination in into or (
                binding.to_exchange and binding.source in ours
            )
            reason = self._refused(binding, work, ours) if related else None
            if not related or reason is not None:
                self._not_said(binding, reason)
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
        for exchange in self.standing.entities.exchanges:
            word = exchange.name.removeprefix(f"{self.names.namespace}.")
            if exchange.name in standard or word == exchange.name:
                continue
            if collides(word) or not self._sayable(exchange.name):
                self.remarks.append(
                    f"exchange {exchange.name}: its name cannot stand in a topology file"
                )
                continue
            internal = {"internal": True} if exchange.internal else {}
            filled = self._filled(exchange.arguments)
            found[exchange.name] = {"type": exchange.type, **internal, **filled}
        return found

    def _refused(self, binding: Binding, work: Mapping[str, str], ours: set[str]) -> str | None:
        """Return why a topology cannot hold a binding, if it cannot."""
        if binding.source == self.names.dead and binding.destination in work:
            return "dead letters would come back into the work queue for ever"
        ends = {binding.source, *([binding.destination] if binding.to_exchange else ())}
        prefix = f"{self.names.namespace}."
        taken = [
            e for e in ends - ours if e.startswith(prefix) and collides(e.removeprefix(prefix))
        ]
        if taken or not all(map(self._sayable, ends)):
            return "a name in it cannot stand in a topology file"
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
        """Return a name as the file says it: with {namespace} for the namespace."""
        prefix = f"{self.names.namespace}."
        return f"{NAMESPACE}.{name.removeprefix(prefix)}" if name.startswith(prefix) else name

    def _sayable(self, name: str) -> bool:
        """Say whether an exchange's name can stand in a topology file."""
        plain = name == name.strip() and name.isprintable() and not {"{", "}"} & set(name)
        return plain and 0 < len(self._written(name).encode()) <= NAME_BYTES

    # what is left ------------------------------------------------------------------------------

    def _not_said(self, binding: Binding, reason: str | None) -> None:
        kind = "exchange" if binding.to_exchange else "queue"
        why = reason or "neither end is part of this topology"
        if reason is None and not binding.to_exchange:
            why = f"the queue {binding.destination} is not part of this topology"
        key = f" with the key {binding.key}" if binding.key else ""
        self.remarks.append(
            f"binding of {binding.source} to the {kind} {binding.destination}{key}: {why}"
        )

    def _differences(self, compiled: Entities) -> None:
        """Remark what the file says otherwise than it stands."""
        standing = self.standing.entities
        for kind, wanted, found in (
            ("exchange", compiled.exchanges, {e.name: e for e in standing.exchanges}),
            ("queue", compiled.queues, {q.name: q for q in standing.queues}),
        ):
            missing = []
            for entity in wanted:
                other = found.get(entity.name)
                if other is not None:
                    self.remarks += _argument_remarks(kind, entity, other)
                elif f"{kind} {entity.name}" not in self.standing.others:
                    missing.append(entity.name)
            self._missing(kind, missing)
        there = {_identity(binding) for binding in standing.bindings}
        bindings = [b for b in compiled.bindings if _identity(b) not in there]
        self._missing("binding", [f"{b.source} to {b.destination}" for b in bindings])

    def _missing(self, kind: str, missing: list[str]) -> None:
        if missing:
            shown = ", ".join(missing[:_SHOWN]) + (", …" if len(missing) > _SHOWN else "")
            self.remarks.append(
                f"not on the broker, and declared by apply: {len(missing)} {kind}(s): {shown}"
            )

    def _left_out(self, compiled: Entities) -> None:
        standing = self.standing.entities
        named = {self._read(name) for name in self.data.get("exchanges", {})}
        written = {*(e.name for e in compiled.exchanges), *named}
        for exchange in standing.exchanges:
            foreign = exchange.name and not exchange.name.startswith(_FOREIGN)
            if foreign and exchange.name not in written:
                self.remarks.append(
                    f"exchange {exchange.name}: is not in this namespace, and no binding here names it"
                )
        queues = {queue.name for queue in compiled.queues}
        passing = [queue for queue in standing.queues if self._passes(queue.name)]
        if passing:
            self.remarks.append(
                f"{len(passing)} queue(s) of replies and groups, which come and go by themselves"
            )
        for queue in standing.queues:
            if queue.name not in queues and queue not in passing:
                self.remarks.append(f"queue {queue.name}: is no work or dead-letter queue here")
        for what, why in self.standing.others.items():
            kind, _, name = what.partition(" ")
            if name.startswith(_FOREIGN) or (kind == "queue" and self._passes(name)):
                continue
            self.remarks.append(f"{what}: {why}")
        for policy in standing.policies:
            if policy in compiled.policies:
                continue
            kind = "operator policy" if policy.operator else "policy"
            self.remarks.append(
                f"{kind} {policy.name}: pattern {policy.pattern}, {policy.apply_to}, priority"
                f" {policy.priority}, {dict(policy.definition)}"
            )

    def _passes(self, name: str) -> bool:
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
                f"{kind} {wanted.name}: {name} is {_shown(there)} on the broker, and"
                f" {_shown(here)} by this file"
            )
    return remarks


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
