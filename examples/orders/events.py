"""What a worker tells of its tasks: one word for each change, from the lifecycle signals."""

from __future__ import annotations

from collections.abc import Callable

from stem_amqp import Event, Stem

RUNNING, WAITING = "running", "waiting"
READY = "ready"
"""What a worker process says instead of a task's id and state once it consumes."""

Tell = Callable[[str, str], None]
"""Called with a task's id and its new state."""


def follow(stem: Stem, tell: Tell) -> None:
    """Tell the states of orders as they change in this process.

    Args:
        stem: the application whose signals are listened to.
        tell: called with a task's id and `RUNNING` or `WAITING`.
    """
    signals = stem.signals

    @signals.task_started.connect(task="orders.*")
    def started(event: Event) -> None:
        tell(event.id or "", RUNNING)

    @signals.task_retried.connect(task="orders.*")
    @signals.task_snoozed.connect(task="orders.*")
    def waits(event: Event) -> None:
        tell(event.id or "", WAITING)
