"""The queues of an application that the exporter reports, by their names on the broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product

from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportedQueue:
    """One logical queue.

    Args:
        queue: its name, the value of the label.
        work: the work queue's name on the broker.
        versions: other work queues that exist while it is migrated.
        dead: the dead-letter queue's name.
        limit: the limit in seconds of the age of its oldest ready message; None without a limit.
    """

    queue: str
    work: str
    versions: tuple[str, ...]
    dead: str
    limit: float | None

    @property
    def works(self) -> frozenset[str]:
        """The names of the work queue in all versions."""
        return frozenset({self.work, *self.versions})


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What the exporter reports.

    Args:
        names: the names in the namespace.
        queues: the logical queues.
        delays: the delay queues with their waiting time in seconds.
        unroutable: the unroutable queue.
        rejected: the rejected queue; None where signatures are not verified.
        schedulers: the queue that schedulers consume; None for an application without schedules.
        held: by the name of each queue in which messages of a paused task wait, the logical queue and the task.
    """

    names: Names
    queues: tuple[ReportedQueue, ...]
    delays: dict[str, float]
    unroutable: str
    rejected: str | None = None
    schedulers: str | None = None
    held: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """The prefix of all names."""
        return f"{self.names.namespace}."

    @property
    def certain(self) -> list[str]:
        """The queues that exist if the topology is declared."""
        more = [name for name in (self.rejected, self.schedulers) if name is not None]
        works = [queue.work for queue in self.queues]
        dead = [queue.dead for queue in self.queues]
        return [*works, *dead, *self.delays, self.unroutable, *more]

    @property
    def possible(self) -> list[str]:
        """The queues that exist only during a migration."""
        return [name for queue in self.queues for name in queue.versions]


def make_plan(
    names: Names,
    topology: Topology,
    queues: Iterable[str],
    tasks: Iterable[str] = (),
    *,
    schedules: bool = False,
) -> Plan:
    """Return what the exporter reports.

    Args:
        names: the names in the namespace.
        topology: the topology.
        queues: the logical queues.
        tasks: the names of the tasks that the application knows, whose held messages are reported.
        schedules: whether the application has schedules.
    """
    logical = tuple(queues)
    return Plan(
        names=names,
        queues=tuple(_reported(names, topology, queue) for queue in logical),
        delays=names.delay_queues(),
        unroutable=names.unroutable,
        rejected=None if topology.rejected is None else names.rejected,
        schedulers=names.schedules if schedules else None,
        held={names.held(*place): place for place in product(logical, tasks)},
    )


def _reported(names: Names, topology: Topology, queue: str) -> ReportedQueue:
    spec = topology.queue(queue)
    work = names.work(queue, spec.version)
    return ReportedQueue(
        queue=queue,
        work=work,
        versions=tuple(name for name in names.works(queue, spec.version).values() if name != work),
        dead=names.dlq(queue, spec.dead_letter.version),
        limit=spec.max_ready_age,
    )
