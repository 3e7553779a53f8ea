"""A step of a plan: one entity that differs from the topology."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stem_amqp.topology.entities import Binding, Exchange, Policy, Queue

Kind = Literal["exchange", "queue", "binding", "policy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Detail:
    """One value that differs.

    Args:
        key: the argument's or setting's name.
        wanted: the value in the topology.
        current: the value on the broker.
    """

    key: str
    wanted: str
    current: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One entity that differs from the topology.

    Args:
        kind: the kind of entity.
        name: its name; of a binding, both ends and the key.
        entity: the wanted entity; if it is undeclared, the existing one.
        details: the differing values.
        remedy: what to do about it, if applying the topology cannot fix it.
    """

    kind: Kind
    name: str
    entity: Exchange | Queue | Binding | Policy
    details: tuple[Detail, ...] = ()
    remedy: str = ""
