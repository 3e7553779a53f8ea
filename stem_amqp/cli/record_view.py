"""What a result backend knows of tasks, as people and programs read it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import orjson
from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from stem_amqp.cli.output import ago, iso, table
from stem_amqp.durations import format_seconds
from stem_amqp.results.model import Progress, TaskRecord
from stem_amqp.states import TaskState

_STYLES = {
    TaskState.SUCCEEDED: "green",
    TaskState.FAILED: "bold red",
    TaskState.EXPIRED: "red",
    TaskState.REVOKED: "yellow",
}
_COLUMNS = ("id", "task", "queue", "state", "attempt", "updated")
_GAP = 2
"""Blanks between two columns."""
_DETAIL = 16
"""Columns that an error must have to say anything; with less room a task gets two lines."""


def document(record: TaskRecord) -> dict[str, Any]:
    """Return a task for programs."""
    progress = record.progress
    return {
        "id": record.task_id,
        "task": record.task,
        "queue": record.queue,
        "state": record.state.value,
        "attempt": record.attempt,
        "replay": record.replay,
        "created_at": iso(record.created_at),
        "updated_at": iso(record.updated_at),
        "next_run": iso(record.next_run),
        "worker": record.worker,
        "result": None if record.result is None else orjson.loads(record.result),
        "reason": record.reason,
        "error": record.error,
        "traceback": record.traceback,
        "meta": record.meta,
        "progress": None
        if progress is None
        else {
            "fraction": progress.fraction,
            "message": progress.message,
            "data": progress.data,
            "at": iso(progress.at),
        },
    }


def state_text(state: TaskState) -> Text:
    """Return a state in its colour."""
    return Text(state.value, style=_STYLES.get(state, "cyan"))


def progress_text(progress: Progress, now: float) -> str:
    """Write how far a task is."""
    parts = [
        None if progress.fraction is None else f"{progress.fraction:.0%}",
        progress.message,
        None if progress.data is None else orjson.dumps(progress.data, default=str).decode(),
        f"({ago(progress.at, now)})",
    ]
    return " ".join(part for part in parts if part)


def list_view(records: Sequence[TaskRecord], width: int) -> RenderableType:
    """Return tasks as a table, or in two lines each where that is too wide; errors are shortened.

    Args:
        records: the tasks.
        width: columns that there are.
    """
    now = time.time()
    rows = [_row(record, now) for record in records]
    details = [_detail(record, now) for record in records]
    taken = sum(max(map(cell_len, cells)) + _GAP for cells in zip(_COLUMNS, *rows, strict=True))
    wanted = max((cell_len(detail) for detail in details), default=0)
    if width - taken < min(_DETAIL, wanted) or width < taken - _GAP:
        return _pairs(records, details, width, now)
    lines = table(*_COLUMNS, "detail", numbers=("attempt",), whole=(*_COLUMNS, "detail"))
    for record, cells, detail in zip(records, rows, details, strict=True):
        cells[_COLUMNS.index("state")] = ""
        lines.add_row(
            *(cell or state_text(record.state) for cell in cells), _cut(detail, width - taken)
        )
    return lines


def count_view(counts: dict[TaskState, int]) -> Table:
    """Return how many tasks are in each state, in the order of a task's life."""
    lines = table("state", "tasks", numbers=("tasks",))
    for state in TaskState:
        if state in counts:
            lines.add_row(state_text(state), str(counts[state]))
    return lines


def _row(record: TaskRecord, now: float) -> list[str]:
    return [
        record.task_id,
        record.task,
        record.queue,
        record.state.value,
        str(record.attempt),
        _age(record.updated_at, now),
    ]


def _pairs(records: Sequence[TaskRecord], details: Sequence[str], width: int, now: float) -> Text:
    room = max(len(record.state.value) for record in records)
    lines: list[Text] = []
    for record, detail in zip(records, details, strict=True):
        state = state_text(record.state)
        state.pad_right(room - len(state) + _GAP)
        lines.append(Text.assemble(state, record.task_id, "  ", (record.task, "bold")))
        facts = f"  {_age(record.updated_at, now)}, queue {record.queue}, attempt {record.attempt}"
        lines.append(_cut(f"{facts}: {detail}" if detail else facts, width))
    return Text("\n").join(lines)


def _detail(record: TaskRecord, now: float) -> str:
    """Say why a task ended or waits, or how far it is, the most telling part first."""
    why = (
        [record.error, record.reason and f"({record.reason})"] if record.error else [record.reason]
    )
    words = [" ".join(_first_line(word) for word in why if word)]
    if not record.state.final:
        if record.next_run is not None:
            words.insert(0, f"due {ago(record.next_run, now)}")
        elif record.progress is not None:
            words.insert(0, _first_line(progress_text(record.progress, now)))
    said = ": ".join(word for word in words if word)
    # What an exception says may steer a terminal
    return "".join(sign if sign.isprintable() else " " for sign in said)


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]


def _cut(line: str, width: int) -> Text:
    text = Text(line)
    text.truncate(max(width, 1), overflow="ellipsis")
    return text


def _age(at: float, now: float) -> str:
    distance = round(now - at)
    return f"{format_seconds(distance)} ago" if distance >= 1 else ago(at, now)
