"""The names on the broker: a pure function of the namespace, here and nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stem_amqp.delay import LEVELS, ttl_ms

VERSIONS_AHEAD = 2
"""How many versions ahead of its own topology a process looks for a queue that has moved on."""
_VERSION_ENDING = re.compile(r"\.v\d+\Z")


@dataclass(frozen=True, slots=True)
class Names:
    """Every name in one namespace.

    Args:
        namespace: the prefix, such as ``stem`` or ``stem.staging``.
    """

    namespace: str

    @property
    def tasks(self) -> str:
        """The topic exchange of first publication; the key is the logical queue."""
        return f"{self.namespace}.tasks"

    @property
    def dead(self) -> str:
        """The direct exchange of dead letters; the key is the logical queue."""
        return f"{self.namespace}.dead"

    @property
    def deliver(self) -> str:
        """The topic exchange where a delay ends."""
        return f"{self.namespace}.deliver"

    @property
    def unroutable(self) -> str:
        """The fanout exchange, and its queue, for what lost its queue."""
        return f"{self.namespace}.unroutable"

    @property
    def control(self) -> str:
        """The fanout exchange of commands to workers."""
        return f"{self.namespace}.control"

    @property
    def events(self) -> str:
        """The topic exchange of lifecycle events."""
        return f"{self.namespace}.events"

    def work(self, queue: str, version: int = 1) -> str:
        """Return the work queue of a logical queue, in one of its versions."""
        return at_version(f"{self.namespace}.{queue}", version)

    def works(self, queue: str, version: int) -> dict[int, str]:
        """Return the work queues that a logical queue may have, by version, the oldest first.

        Args:
            queue: the logical queue.
            version: the version that the topology says. There are earlier ones during a migration,
                and later ones where the topology is outdated.
        """
        return {one: self.work(queue, one) for one in range(1, version + VERSIONS_AHEAD + 1)}

    def dlq(self, queue: str, version: int = 1) -> str:
        """Return the dead-letter queue of a logical queue, in one of its versions."""
        return at_version(f"{self.namespace}.{queue}.dlq", version)

    def delay_exchange(self, level: int) -> str:
        """Return the exchange for one digit of a delay."""
        return f"{self.namespace}.delay.{level}"

    def delay_queue(self, level: int, digit: int) -> str:
        """Return the queue in which one digit waits; its TTL is in the name."""
        ttl = ttl_ms(level, digit)
        return f"{self.namespace}.delay.{ttl // 1000:07d}.{ttl % 1000 // 100}s"

    def after_delay(self, level: int) -> str:
        """Return the exchange that a message reaches when a digit's wait is over."""
        return self.deliver if level == 0 else self.delay_exchange(level - 1)

    def delay_queues(self) -> dict[str, float]:
        """Return the name of every delay queue with its TTL in seconds."""
        return {
            self.delay_queue(level, digit): ttl_ms(level, digit) / 1000
            for level in range(LEVELS)
            for digit in range(1, 10)
        }

    def reply(self, suffix: str) -> str:
        """Return the exclusive queue on which one process waits for replies."""
        return f"{self.namespace}.reply.{suffix}"

    def group(self, group_id: str) -> str:
        """Return the queue that holds the state of one group of tasks."""
        return f"{self.namespace}.group.{group_id}"

    def group_claim(self, group_id: str) -> str:
        """Return the empty queue whose arguments say who claimed a group."""
        return f"{self.namespace}.group.{group_id}.claim"


def at_version(name: str, version: int) -> str:
    """Return a queue's name in one of its versions: ``stem.orders``, then ``stem.orders.v2``."""
    return name if version == 1 else f"{name}.v{version}"


def earlier_versions(name: str, version: int) -> dict[int, str]:
    """Return the names that a queue had in earlier versions, the oldest first.

    Args:
        name: its name.
        version: its version.
    """
    return _versions(name, version, range(1, version))


def later_versions(name: str, version: int) -> dict[int, str]:
    """Return the names that a queue will have in its next versions, as far as one looks ahead.

    Args:
        name: its name.
        version: its version.
    """
    return _versions(name, version, range(version + 1, version + VERSIONS_AHEAD + 1))


def _versions(name: str, version: int, wanted: range) -> dict[int, str]:
    first = name.removesuffix(at_version("", version))
    return {one: at_version(first, one) for one in wanted}


RESERVED = frozenset(
    {"tasks", "dead", "deliver", "unroutable", "control", "events", "reply", "group"}
)
"""Logical queue names that would collide with our own, as ``delay.*``, ``*.dlq`` and ``*.v2`` would."""


def collides(queue: str) -> bool:
    """Say whether a logical queue of that name would collide with an own name."""
    first = queue.split(".", 1)[0]
    return (
        first in RESERVED
        or first == "delay"
        or queue.endswith(".dlq")
        or _VERSION_ENDING.search(queue) is not None
    )
