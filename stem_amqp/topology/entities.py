"""The entities on a broker: exchanges, queues, bindings and policies, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BUILT_IN_TYPES = ("topic", "direct", "fanout", "headers")
"""The exchange types that every broker has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """A durable exchange.

    Args:
        name: its name on the broker.
        type: ``topic``, ``direct``, ``fanout``, ``headers``, or the type of a plugin.
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
        version: the version of a work or dead-letter queue in the topology; 0 for other queues.
        dead: whether it is a dead-letter queue.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    logical: str | None = None
    version: int = 0
    dead: bool = False

    @property
    def title(self) -> str:
        """The queue's name for messages."""
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
    """A policy: settings that RabbitMQ applies to entities with a matching name.

    Args:
        name: the policy's name.
        pattern: the regular expression that names must match.
        apply_to: ``queues``, ``exchanges`` or ``all``; from RabbitMQ 3.12 on also
            ``classic_queues``, ``quorum_queues`` and ``streams``.
        definition: the settings, such as ``message-ttl``.
        priority: of the matching policies, only the one with the highest priority applies.
        operator: whether it is an operator policy, which limits the values of user policies.
    """

    name: str
    pattern: str
    apply_to: str = "queues"
    definition: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    operator: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Entities:
    """All entities, in the order of declaration."""

    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[Queue, ...] = ()
    bindings: tuple[Binding, ...] = ()
    policies: tuple[Policy, ...] = ()
