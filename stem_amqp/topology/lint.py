"""What a topology allows and will be regretted. Nothing here is an error."""

from __future__ import annotations

from collections.abc import Iterable

from stem_amqp.durations import format_seconds
from stem_amqp.topology import (
    binding_lint,
    death_lint,
    extra_lint,
    policy_lint,
    queue_lint,
    route_lint,
)
from stem_amqp.topology.caution import Caution
from stem_amqp.topology.mistake import dotted
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names
from stem_amqp.topology.planned import Planned

__all__ = ["Caution", "lint", "lint_time_limits"]


def lint(
    topology: Topology, names: Names | None = None, queues: Iterable[str] = ()
) -> list[Caution]:
    """Return what is allowed but probably not meant, in the file's order.

    What a queue inherits is reported once, at the defaults. What depends on the broker's release is
    in `stem_amqp.topology.release_lint`.

    Args:
        topology: the topology.
        names: the names in the namespace; default: those of the file's.
        queues: logical queues beside those of the file, such as those that tasks name.

    Raises:
        TopologyError: the topology cannot be compiled.
    """
    planned = Planned.of(topology, names, queues)
    found = [
        *queue_lint.cautions(topology),
        *extra_lint.cautions(topology),
        *binding_lint.cautions(topology, planned.logical),
        *policy_lint.cautions(planned),
        *death_lint.cautions(planned),
        *route_lint.cautions(topology),
    ]
    return list(dict.fromkeys(found))


def lint_time_limits(topology: Topology, tasks: Iterable[tuple[str, str, float]]) -> list[Caution]:
    """Return the time limits of tasks that RabbitMQ does not wait for.

    Args:
        topology: the topology.
        tasks: a task's name, its queue, and its time limit in seconds.
    """
    found = []
    for task, queue, limit in tasks:
        timeout = topology.queue(queue).consumer_timeout
        if timeout is not None and limit >= timeout:
            place = ("queues", queue) if queue in topology.queues else ("defaults",)
            found.append(
                Caution(
                    key=f"{dotted(place)}.consumer_timeout",
                    problem=f"the task {task} may run for {format_seconds(limit)} (time_limit), and"
                    f" RabbitMQ takes it away from its worker after {format_seconds(timeout)} and"
                    " has another one run it too",
                    remedy="Make consumer_timeout longer than the longest time_limit, and than what"
                    " prefetched tasks wait for their turn; or make the time limit shorter.",
                )
            )
    return found
