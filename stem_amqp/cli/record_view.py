"""Output of task records as text and as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from stem_amqp.cli.output import ago, iso, table
from stem_amqp.durations import format_seconds
from stem_amqp.results.model import Progress, TaskRecord
from stem_amqp.results.unreadable import SKIPPED
from stem_amqp.states import TaskState
from stem_amqp.text import json_text, one_line

_STYLES = {
    TaskState.SUCCEEDED: "green",
    TaskState.FAILED: "bold red",
    TaskState.EXPIRED: "red",
    TaskState.REVOKED: "yellow",
}
_COLUMNS = ("id", "task", "queue", "state", "attempt", "updated")
_GAP = 2
"""Spaces between two columns."""
_DETAIL = 16
"""Minimum columns for an error; with less room each task takes two lines."""


def document(record: TaskRecord) -> dict[str, Any]:
    """Return a task record as JSON values."""
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
        "result": None if record.result is None else _value(record),
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


def _value(record: TaskRecord) -> Any:
    """Return a result, or None if the stored bytes are not valid JSON."""
    try:
        return json.loads(record.result or b"null")
    except ValueError as error:
        SKIPPED.note(record.task_id, error)
        return None


def state_text(state: TaskState) -> Text:
    """Return a state in its colour."""
    return Text(state.value, style=_STYLES.get(state, "cyan"))


def progress_text(progress: Progress, now: float) -> str:
    """Format the progress of a task."""
    parts = [
        None if progress.fraction is None else f"{progress.fraction:.0%}",
        progress.message,
        None if progress.data is None else json_text(progress.data),
        f"({ago(progress.at, now)})",
    ]
    return " ".join(part for part in parts if part)


def list_view(records: Sequence[TaskRecord], width: int) -> RenderableType:
    """Return tasks as a table, or in two lines each if it is too wide; errors are shortened.

    Args:
        records: the tasks.
        width: the available columns.
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
    """Return the number of tasks in each state, in the order of the states."""
    lines = table("state", "tasks", numbers=("tasks",))
    for state in TaskState:
        if state in counts:
            lines.add_row(state_text(state), str(counts[state]))
    return lines


def _row(record: TaskRecord, now: float) -> list[str]:
    return [
        one_line(record.task_id),
        one_line(record.task),
        one_line(record.queue),
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
        task_id, task, queue = map(one_line, (record.task_id, record.task, record.queue))
        lines.append(Text.assemble(state, task_id, "  ", (task, "bold")))
        facts = f"  {_age(record.updated_at, now)}, queue {queue}, attempt {record.attempt}"
        lines.append(_cut(f"{facts}: {detail}" if detail else facts, width))
    return Text("\n").join(lines)


def _detail(record: TaskRecord, now: float) -> str:
    """Return why a task ended or waits, or its progress, the most important part first."""
    why = (
        [record.error, record.reason and f"({record.reason})"] if record.error else [record.reason]
    )
    words = [" ".join(_first_line(word) for word in why if word)]
    if not record.state.final:
        if record.next_run is not None:
            words.insert(0, f"due {ago(record.next_run, now)}")
        elif record.progress is not None:
            words.insert(0, _first_line(progress_text(record.progress, now)))
    return one_line(": ".join(word for word in words if word))


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]


def _cut(line: str, width: int) -> Text:
    text = Text(line)
    text.truncate(max(width, 1), overflow="ellipsis")
    return text


def _age(at: float, now: float) -> str:
    distance = round(now - at)
    return f"{format_seconds(distance)} ago" if distance >= 1 else ago(at, now)
