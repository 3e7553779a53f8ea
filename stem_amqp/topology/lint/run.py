"""Collect the warnings about a topology: valid but risky settings."""

from __future__ import annotations

from collections.abc import Iterable

from stem_amqp.durations import format_seconds
from stem_amqp.topology.lint import bindings, dead_letters, extra_queues, policies, routes
from stem_amqp.topology.lint import queues as queue_lint
from stem_amqp.topology.lint.planned import Planned
from stem_amqp.topology.lint.warning import LintWarning
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names
from stem_amqp.topology.spec.mistake import dotted

__all__ = ["LintWarning", "lint", "lint_time_limits"]


def lint(
    topology: Topology, names: Names | None = None, queues: Iterable[str] = ()
) -> list[LintWarning]:
    """Return the warnings about valid but risky settings.

    A setting that queues inherit is reported once, at the defaults. Settings that depend on the
    broker's release are checked by `stem_amqp.provision.release`.

    Args:
        topology: the topology.
        names: the names in the namespace; default: the file's namespace.
        queues: further logical queues, such as those that tasks name.

    Raises:
        TopologyError: the topology cannot be compiled.
    """
    planned = Planned.of(topology, names, queues)
    found = [
        *queue_lint.warnings(topology),
        *extra_queues.warnings(topology),
        *bindings.warnings(topology, planned.logical),
        *policies.warnings(planned),
        *dead_letters.warnings(planned),
        *routes.warnings(topology),
    ]
    return list(dict.fromkeys(found))


def lint_time_limits(
    topology: Topology, tasks: Iterable[tuple[str, str, float]]
) -> list[LintWarning]:
    """Return warnings about time limits of tasks that exceed the consumer timeout.

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
                LintWarning(
                    key=f"{dotted(place)}.consumer_timeout",
                    problem=f"the task {task} may run for {format_seconds(limit)} (time_limit), but"
                    f" RabbitMQ requeues it after {format_seconds(timeout)}, so that another worker"
                    " runs it too",
                    remedy="Make consumer_timeout longer than the longest time_limit plus the wait of"
                    " prefetched tasks, or make the time limit shorter.",
                )
            )
    return found
