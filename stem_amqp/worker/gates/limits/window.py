"""How many tasks of a queue may wait in a worker for the last fraction of a second before their start."""

from __future__ import annotations

import math
from collections.abc import Iterable

from stem_amqp.blueprint import Blueprint
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.worker.gates.limits.plan import Plan, plan_of

SECONDS = 1.0
"""The starts of this many seconds at the limit's rate wait in a worker at most."""
LEAST, MOST = 2, 128
KEYS = 4
"""The factor for limits that count by a key, each value of which has its own rate."""


def window_of(queue: str, blueprint: Blueprint) -> int:
    """Return the number of unsettled deliveries of a queue beyond its concurrency; 0 without a rate.

    Args:
        queue: the logical queue.
        blueprint: the application.
    """
    return max(map(_window, _plans(queue, blueprint.registry, blueprint)), default=0)


def _plans(queue: str, tasks: Iterable[TaskDefinition], blueprint: Blueprint) -> Iterable[Plan]:
    for task in tasks:
        if blueprint.queue_of(task) == queue:
            plan = plan_of(task, queue, blueprint.topology)
            if plan is not None:
                yield plan


def _window(plan: Plan) -> int:
    largest = 0.0
    for counter in (*plan.shared, *plan.own):
        if counter.rate is not None:
            keys = 1 if counter.limit.by is None else KEYS
            largest = max(largest, keys * counter.rate.count / counter.rate.period)
    return min(max(math.ceil(largest * SECONDS), LEAST), MOST) if largest else 0
