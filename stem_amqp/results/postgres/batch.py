"""Split a batch of changes into statements: no statement may write a row twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from stem_amqp.results.base import Transition
from stem_amqp.states import TaskState

_REPLACEABLE = frozenset({TaskState.RUNNING, TaskState.RETRYING, TaskState.SNOOZED})


STATEMENT_LIMIT = 1000
"""Changes in one statement."""
STATEMENT_BYTES = 16_000_000
"""Bytes of results and tracebacks in one statement, unless a single one has more."""


def portions(changes: Sequence[Transition]) -> Iterator[Sequence[Transition]]:
    """Split a batch into parts for one statement each, in the given order.

    Args:
        changes: the batch.
    """
    start, size = 0, 0
    for position, change in enumerate(changes):
        own = len(change.result or b"") + len(change.traceback or "")
        if position - start == STATEMENT_LIMIT or (
            position > start and size + own > STATEMENT_BYTES
        ):
            yield changes[start:position]
            start, size = position, 0
        size += own
    if start < len(changes):
        yield changes[start:]


@dataclass(slots=True)
class Step:
    """The change of one row in one statement.

    Args:
        task_id: the task.
        change: the last of the changes that are combined in the step.
        created_at: the time of the first one.
        started_at: the time of the last ``running`` among them.
        positions: the positions of all of them in the batch. Either all are accepted, or none.
    """

    task_id: str
    change: Transition
    created_at: float
    started_at: float | None
    positions: list[int]


def rounds(changes: Sequence[Transition]) -> list[list[Step]]:
    """Sort changes into rounds that contain each task at most once.

    The changes of a task keep their order. Its ``running`` is absorbed by the final state of the same
    attempt, so that a fast task is written once.

    Args:
        changes: the batch.

    Returns:
        The rounds, each sorted by task, so that concurrent writers lock rows in the same order.
        Every task of a later round is in the first round too, so later rounds lock no further rows.
    """
    steps = [
        Step(
            change.task_id,
            change,
            change.at,
            change.at if change.state is TaskState.RUNNING else None,
            [position],
        )
        for position, change in enumerate(changes)
    ]
    distinct = len({step.task_id for step in steps}) == len(steps)
    found = [steps] if distinct else _without_repetition(steps)
    for steps in found:
        steps.sort(key=attrgetter("task_id"))
    return found


def _without_repetition(steps: Iterable[Step]) -> list[list[Step]]:
    found: list[list[Step]] = []
    latest: dict[str, tuple[int, Step]] = {}
    for step in steps:
        number, before = latest.get(step.task_id, (-1, None))
        if before is not None and _replaces(step.change, before.change):
            before.change = step.change
            if step.started_at is not None:
                before.started_at = step.started_at
            before.positions += step.positions
            continue
        latest[step.task_id] = (number + 1, step)
        if number + 1 == len(found):
            found.append([])
        found[number + 1].append(step)
    return found


def _replaces(later: Transition, earlier: Transition) -> bool:
    """Return whether a change can replace the one before it.

    Of the new state `may_follow` considers only whether it is ``queued``. So two other changes of one
    attempt are accepted after the same states, and the later one always after the earlier one.
    """
    return (
        earlier.state in _REPLACEABLE
        and later.state is not TaskState.QUEUED
        and later.attempt == earlier.attempt
        and later.replay == earlier.replay
        and earlier.ttl > 0
    )
