"""All names on the broker, as a pure function of the namespace."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from typing_extensions import override

from stem_amqp.delay import LEVELS, ttl_ms

VERSIONS_AHEAD = 2
"""The number of later queue versions that a process checks, beyond its own topology."""
LONGEST_NAME = 255
"""The longest name of a queue in bytes; names here are ASCII."""
REJECTED = "dead.rejected"
"""The name of the rejected queue in place of a logical queue; no logical queue can have it."""
REJECTED_KEY = "~rejected"
"""The routing key of rejected messages on the dead-letter exchange; no logical queue can have it."""
COMMAND_KEY = "command"
"""The routing key of commands to workers on the exchange of operators."""
DOCUMENT_KEY = "document"
"""The routing key of the stored directives on the exchange of operators."""
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
    def rejected(self) -> str:
        """The queue of messages without a valid signature, if signatures are verified."""
        return f"{self.namespace}.{REJECTED}"

    @property
    def deliver(self) -> str:
        """The topic exchange where a delay ends."""
        return f"{self.namespace}.deliver"

    @property
    def unroutable(self) -> str:
        """The fanout exchange, and its queue, for unroutable messages."""
        return f"{self.namespace}.unroutable"

    @property
    def control(self) -> str:
        """The fanout exchange of commands to workers."""
        return f"{self.namespace}.control"

    @property
    def directives(self) -> str:
        """The direct exchange of operators, and the queue that stores their directives.

        The exchange passes `COMMAND_KEY` on to `control`, and `DOCUMENT_KEY` to the queue: permission to
        write to this one exchange is enough to command workers.
        """
        return f"{self.control}.directives"

    @property
    def schedules(self) -> str:
        """The direct exchange of schedulers, and the queue of which one of them at a time is the leader."""
        return f"{self.namespace}.schedules"

    @property
    def events(self) -> str:
        """The topic exchange of lifecycle events."""
        return f"{self.namespace}.events"

    def work(self, queue: str, version: int = 1) -> str:
        """Return the work queue of a logical queue, in one of its versions."""
        return at_version(f"{self.namespace}.{queue}", version)

    def works(self, queue: str, version: int) -> dict[int, str]:
        """Return the possible work queues of a logical queue by version, the oldest first.

        Args:
            queue: the logical queue.
            version: the version in the topology. Earlier ones exist during a migration, later ones if the
                topology is outdated.
        """
        return {one: self.work(queue, one) for one in range(1, version + VERSIONS_AHEAD + 1)}

    def dlq(self, queue: str, version: int = 1) -> str:
        """Return the dead-letter queue of a logical queue, in one of its versions."""
        return at_version(f"{self.namespace}.{queue}.dlq", version)

    @property
    def delay(self) -> str:
        """The prefix of the names of delays.

        ``zz-`` sorts the many delay queues to the end of lists. AMQP allows no character after ``z`` in
        names.
        """
        return f"{self.namespace}.zz-delay"

    def due(self, queue: str) -> str:
        """Return the holding queue for a work queue that can be full."""
        return f"{self.namespace}.{due_word(queue)}"

    @property
    def paused(self) -> str:
        """The direct exchange to the queues of paused tasks; the key is the queue's name."""
        return f"{self.namespace}.zz-paused"

    def held(self, queue: str, task: str) -> str:
        """Return the queue in which the messages of a paused task wait.

        Its name has a digest in place of the two names if they are too long together.

        Args:
            queue: the logical queue from which they were moved, and which is still theirs.
            task: the task's name.
        """
        name = f"{self.paused}.{queue}:{task}"
        if len(name) <= LONGEST_NAME:
            return name
        return f"{self.paused}.{hashlib.sha256(f'{queue}:{task}'.encode()).hexdigest()}"

    def delay_exchange(self, level: int) -> str:
        """Return the exchange for one digit of a delay."""
        return f"{self.delay}.{level}"

    def delay_queue(self, level: int, digit: int) -> str:
        """Return the queue of a digit; its name contains its TTL."""
        ttl = ttl_ms(level, digit)
        return f"{self.delay}.{ttl // 1000:07d}.{ttl % 1000 // 100}s"

    def after_delay(self, level: int) -> str:
        """Return the exchange that a message reaches after the wait of a digit."""
        return self.deliver if level == 0 else self.delay_exchange(level - 1)

    def delay_queues(self) -> dict[str, float]:
        """Return the name of every delay queue with its TTL in seconds."""
        return {
            self.delay_queue(level, digit): ttl_ms(level, digit) / 1000
            for level in range(LEVELS)
            for digit in range(1, 10)
        }

    def delay_parts(self) -> set[str]:
        """Return the names of all exchanges and queues of delays."""
        return {*self.delay_queues(), *map(self.delay_exchange, range(LEVELS))}

    def reply(self, suffix: str) -> str:
        """Return the exclusive queue on which one process waits for replies."""
        return f"{self.namespace}.reply.{suffix}"

    def limit(self, name: str) -> str:
        """Return the beginning of the names of a limit's places, see `stem_amqp.worker.gates.limits`."""
        return f"{self.namespace}.zz-limit.{name}"

    def group(self, group_id: str) -> str:
        """Return the queue that holds the state of one group of tasks."""
        return f"{self.namespace}.group.{group_id}"

    def group_claim(self, group_id: str) -> str:
        """Return the empty queue whose arguments say who claimed a group."""
        return f"{self.namespace}.group.{group_id}.claim"

    def group_values(self, group_id: str) -> str:
        """Return the queue that holds the results of a group's members."""
        return f"{self.namespace}.group.{group_id}.values"


def due_word(queue: str) -> str:
    """Return the word for a logical queue in the routing key of a delay that ends in its holding queue."""
    return f"zz-due.{queue}"


@dataclass(frozen=True, slots=True)
class FormerNames(Names):
    """The names of delays up to release 0.1.

    They are no longer declared. During an upgrade, messages of processes of that release wait in them and
    arrive from there.
    """

    @property
    @override
    def delay(self) -> str:
        """The prefix of the former names of delays."""
        return f"{self.namespace}.delay"


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
    """Return the names of a queue's next versions, `VERSIONS_AHEAD` of them.

    Args:
        name: its name.
        version: its version.
    """
    return _versions(name, version, range(version + 1, version + VERSIONS_AHEAD + 1))


def _versions(name: str, version: int, wanted: range) -> dict[int, str]:
    first = name.removesuffix(at_version("", version))
    return {one: at_version(first, one) for one in wanted}


RESERVED = frozenset(
    {"tasks", "dead", "deliver", "unroutable", "control", "schedules", "events", "reply", "group"}
)
"""Reserved names of logical queues, in addition to ``zz-*``, ``*.dlq`` and ``*.v2``."""


def collides(queue: str) -> bool:
    """Return whether the name of a logical queue is reserved."""
    first = queue.split(".", 1)[0]
    return (
        first in RESERVED
        or first == "delay"  # of an earlier version
        or first.startswith("zz-")
        or queue.endswith(".dlq")
        or _VERSION_ENDING.search(queue) is not None
    )
