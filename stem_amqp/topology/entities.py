"""What stands on the broker: exchanges, queues and bindings, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BUILT_IN_TYPES = ("topic", "direct", "fanout", "headers")
"""The types of exchanges that every broker has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """A durable exchange.

    Args:
        name: its name on the broker.
        type: ``topic``, ``direct``, ``fanout``, ``headers``, or a kind that a plugin brings.
        arguments: such as ``alternate-exchange``.
        internal: whether only other exchanges can publish to it.
    """

    name: str
    type: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    internal: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Queue:
    """A durable queue.

    Args:
        name: its name on the broker.
        arguments: the ``x-`` arguments.
        logical: the logical queue whose work or dead-letter queue it is.
        version: of a work or dead-letter queue, its version in the topology; 0 for every other queue.
        dead: whether it is a dead-letter queue.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    logical: str | None = None
    version: int = 0
    dead: bool = False

    @property
    def title(self) -> str:
        """The queue as people call it."""
        if self.logical is None:
            return f"queue {self.name}"
        return f"dead-letter queue {self.logical}" if self.dead else f"queue {self.logical}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """A binding from an exchange to a queue or to another exchange.

    Args:
        source: the exchange.
        destination: the queue or exchange.
        key: the routing key or topic pattern.
        to_exchange: whether the destination is an exchange.
        arguments: such as a headers exchange's ``x-match``.
    """

    source: str
    destination: str
    key: str = ""
    to_exchange: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """A policy: settings that RabbitMQ gives to whatever has a matching name, changed in one call.

    Args:
        name: the policy's name.
        pattern: the regular expression that names must match.
        apply_to: ``queues``, ``exchanges`` or ``all``; from RabbitMQ 3.12 on also
            ``classic_queues``, ``quorum_queues`` and ``streams``.
        definition: the settings, such as ``message-ttl``.
        priority: of the policies that match, only the one with the highest priority counts.
        operator: whether it is an operator policy, which limits what users' policies set.
    """

    name: str
    pattern: str
    apply_to: str = "queues"
    definition: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    operator: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Entities:
    """All that is declared, in the order in which it can be declared."""

    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[Queue, ...] = ()
    bindings: tuple[Binding, ...] = ()
    policies: tuple[Policy, ...] = ()
