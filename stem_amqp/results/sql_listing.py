"""Lists of tasks in SQL that both SQLite and PostgreSQL understand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import orjson

from stem_amqp.results.listing import Position, TaskQuery, is_glob, parts_of_glob
from stem_amqp.results.model import Progress, TaskRecord
from stem_amqp.results.unreadable import SKIPPED
from stem_amqp.states import TaskState

SELECT = """
SELECT task_id, task, queue, state, attempt, replay, created_at, updated_at, worker, result,
       reason, error, traceback, next_run, meta, progress
FROM stem_tasks WHERE """
"""Selects the rows that `record_of` reads."""
COUNT = "SELECT state, count(*) FROM stem_tasks WHERE "
BY_STATE = " GROUP BY state"

Mark = Callable[[Any], str]
"""Adds a value to a statement's parameters, and returns its placeholder."""


def conditions(query: TaskQuery, after: Position | None, mark: Mark) -> list[str]:
    """Return the conditions of a query in SQL, without those on metadata.

    The patterns for globs match slightly too much: `TaskQuery.matches` decides afterwards.

    Args:
        query: the query.
        after: the position after which rows are wanted.
        mark: adds a parameter.
    """
    found = []
    if query.states:
        found.append(_any_of("state", [state.value for state in query.states], mark))
    if query.queues:
        found.append(_any_of("queue", query.queues, mark))
    if query.tasks:
        found.append(_task(query.tasks, mark))
    bounds = {
        "created_at >=": query.created_after,
        "created_at <": query.created_before,
        "updated_at >=": query.updated_after,
        "updated_at <": query.updated_before,
    }
    found += [f"{bound} {mark(at)}" for bound, at in bounds.items() if at is not None]
    if after is not None:
        sign = ">" if query.oldest_first else "<"
        place = ", ".join(mark(value) for value in after)
        found.append(f"(created_at, task_id) {sign} ({place})")
    return found


def order(query: TaskQuery) -> str:
    """Return the ORDER BY and LIMIT clauses of a list."""
    direction = "ASC" if query.oldest_first else "DESC"
    return f" ORDER BY created_at {direction}, task_id {direction} LIMIT "


def place_of(row: Sequence[Any]) -> tuple[Any, Any]:
    """Return the position of a row of `SELECT` in lists: its time of creation, and its id."""
    return row[6], row[0]


def counted(rows: Iterable[Sequence[Any]]) -> dict[TaskState, int]:
    """Return the rows of `COUNT` by state; rows with an unknown state are skipped."""
    counts = {}
    for state, number in rows:
        try:
            counts[TaskState(state)] = int(number)
        except ValueError as error:
            SKIPPED.note(f"{number} in state {state!r}", error)
    return counts


def record_of(row: Sequence[Any]) -> TaskRecord:
    """Return a row of `SELECT` as a record."""
    return TaskRecord(
        task_id=row[0],
        task=row[1],
        queue=row[2],
        state=TaskState(row[3]),
        attempt=row[4],
        replay=row[5],
        created_at=row[6],
        updated_at=row[7],
        worker=row[8],
        result=row[9],
        reason=row[10],
        error=row[11],
        traceback=row[12],
        next_run=row[13],
        meta={} if row[14] is None else orjson.loads(row[14]),
        progress=None if row[15] is None else Progress(**orjson.loads(row[15])),
    )


def _any_of(column: str, values: Collection[str], mark: Mark) -> str:
    return f"{column} IN ({', '.join(mark(value) for value in sorted(values))})"


def _task(names: Sequence[str], mark: Mark) -> str:
    plain = [name for name in names if not is_glob(name)]
    either = [_any_of("task", plain, mark)] if plain else []
    either += [f"task LIKE {mark(_like(n))} ESCAPE '\\'" for n in names if n not in plain]
    return f"({' OR '.join(either)})"


def _like(glob: str) -> str:
    """Return the LIKE pattern of a glob; a set of characters becomes any one character."""
    return "".join(map(_like_part, parts_of_glob(glob)))


def _like_part(part: str) -> str:
    if part == "*":
        return "%"
    if part == "?" or len(part) > 1:
        return "_"
    return f"\\{part}" if part in "%_\\" else part
