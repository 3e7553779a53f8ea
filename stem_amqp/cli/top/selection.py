"""The rows of a view: filtered, and sorted as chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from stem_amqp.cli.top.snapshot import (
    DeadRow,
    FailureRow,
    QueueRow,
    Row,
    RunRow,
    Snapshot,
    View,
    WorkerRow,
)

R = TypeVar("R")

ORDERS: dict[View, tuple[tuple[str, Callable[[Any], Any] | None], ...]] = {
    View.QUEUES: (
        ("topology", None),
        ("ready", lambda row: -(row.ready or 0)),
        ("out/s", lambda row: -(row.acked or 0)),
        ("oldest", lambda row: -(row.oldest or 0)),
        ("dead", lambda row: -(row.dead or 0)),
        ("name", lambda row: row.queue),
    ),
    View.WORKERS: (
        ("name", None),
        ("problems", lambda row: row.healthy),
        ("running", lambda row: -row.running),
        ("done/s", lambda row: -(row.rate or 0)),
        ("lag", lambda row: -(row.lag or 0)),
    ),
    View.FAILURES: (
        ("newest", None),
        ("task", lambda row: row.task),
        ("reason", lambda row: row.reason),
        ("queue", lambda row: row.queue),
    ),
    View.DEAD: (
        ("queue", None),
        ("messages", lambda row: -row.messages),
        ("reason", lambda row: row.reason),
    ),
}
"""The sort orders of each view: name and key; the first one is the order of the snapshot."""


def order_name(view: View, number: int) -> str:
    """Return the name of a sort order."""
    return ORDERS[view][number % len(ORDERS[view])][0]


def rows(snapshot: Snapshot, view: View, pattern: str, number: int) -> list[Row]:
    """Return the rows of a view.

    Args:
        snapshot: the data.
        view: the view.
        pattern: what to show, a part of a name or a glob; empty for all.
        number: the number of the sort order.
    """
    found: dict[View, Iterable[Row]] = {
        View.QUEUES: snapshot.queues,
        View.WORKERS: snapshot.workers,
        View.FAILURES: snapshot.failures,
        View.DEAD: snapshot.dead,
    }
    key = ORDERS[view][number % len(ORDERS[view])][1]
    kept = matching(found[view], pattern)
    return kept if key is None else sorted(kept, key=key)


def matching(found: Iterable[R], pattern: str) -> list[R]:
    """Return the rows of which some text contains the pattern, or is matched by the glob.

    Upper and lower case are the same.
    """
    wanted = pattern.lower()
    if not wanted:
        return list(found)
    return [row for row in found if any(_matches(word.lower(), wanted) for word in _words(row))]


def _matches(word: str, wanted: str) -> bool:
    return wanted in word or fnmatchcase(word, wanted)


def _words(row: object) -> tuple[str, ...]:
    """Return the texts of a row that the filter looks at."""
    if isinstance(row, QueueRow):
        return (row.queue,)
    if isinstance(row, WorkerRow):
        return (row.name, row.queues, row.state, *(run.task for run in row.runs))
    if isinstance(row, RunRow):
        return (row.task, row.id, row.queue, row.worker)
    if isinstance(row, FailureRow):
        return (row.task, row.id, row.queue, row.reason, row.error)
    return (row.queue, row.reason) if isinstance(row, DeadRow) else ()
