"""How many messages of a queue a worker may hold for its batch tasks."""

from __future__ import annotations

from stem_amqp.blueprint import Blueprint
from stem_amqp.errors import ConfigurationError
from stem_amqp.tasks.batch import Batch

AT_ONCE = 2
"""The batches of a task for which there is room: one runs while the next is collected."""


def batches_of(queue: str, blueprint: Blueprint) -> dict[str, Batch]:
    """Return the batch tasks of a queue.

    Args:
        queue: the logical queue.
        blueprint: the application.
    """
    return {
        task.name: task.options.batch
        for task in blueprint.registry
        if task.options.batch is not None and blueprint.queue_of(task) == queue
    }


def room_for(batches: dict[str, Batch]) -> int:
    """Return the number of messages of a queue, beyond its concurrency, that a worker may hold."""
    return AT_ONCE * sum(batch.size for batch in batches.values())


def check_prefetch(queue: str, prefetch: int, batches: dict[str, Batch]) -> None:
    """Check a prefetch that somebody has set.

    Args:
        queue: the logical queue.
        prefetch: the most unsettled deliveries.
        batches: the batch tasks of the queue.

    Raises:
        ConfigurationError: no batch of a task would ever be full.
    """
    for task, batch in batches.items():
        if batch.size > prefetch:
            raise ConfigurationError(
                f"queue {queue}: with a prefetch of {prefetch}, a batch of {task} is never full: its size is"
                f" {batch.size}.\n  Leave the prefetch out, so that the worker chooses one; or set at least"
                f" {AT_ONCE * batch.size}; or make the batch smaller: Batch(size={prefetch}, …)"
            )
