"""A worker's reports about its tasks: one word per change, from the lifecycle signals."""

from __future__ import annotations

from collections.abc import Callable

from stem_amqp import Event, Stem

RUNNING, WAITING = "running", "waiting"
READY = "ready"
"""Printed by a worker process, in place of a task's id and state, once it consumes."""

Report = Callable[[str, str], None]
"""Called with a task's id and its new state."""


def follow(stem: Stem, report: Report) -> None:
    """Report state changes of orders in this process.

    Args:
        stem: the application that sends the signals.
        report: called with a task's id and `RUNNING` or `WAITING`.
    """
    signals = stem.signals

    @signals.task_started.connect(task="orders.*")
    def started(event: Event) -> None:
        report(event.id or "", RUNNING)

    @signals.task_retried.connect(task="orders.*")
    @signals.task_snoozed.connect(task="orders.*")
    def waits(event: Event) -> None:
        report(event.id or "", WAITING)
