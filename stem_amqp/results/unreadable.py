"""Unreadable stored records: they are skipped, logged and counted.

Another program, another version or a person may have written to the store. One such record must not
hide all others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stem_amqp.results.model import Progress, TaskRecord

log = logging.getLogger("stem_amqp.results")

_REPORTED_LIMIT = 1000
"""Records that are remembered as logged, so that each list does not log them again."""
_LATEST = 253402300800.0
"""Seconds since the epoch at the end of the year 9999, the last that `datetime` has."""
_EARLIEST = -62135596800.0


@dataclass(slots=True)
class Unread:
    """An unreadable row in a list of rows.

    Args:
        created_at: the stored time of creation.
        task_id: the stored id.
    """

    created_at: Any
    task_id: Any


class Skipped:
    """The records that this process could not read.

    Attributes:
        count: number of times that a record was skipped.
        problems: the reason for each of the latest, by id.
    """

    def __init__(self) -> None:
        self.count = 0
        self.problems: dict[object, str] = {}

    def note(self, task_id: object, error: Exception) -> None:
        """Count a record, and log it unless it has been logged already."""
        self.count += 1
        problem = f"{type(error).__name__}: {error}"[:300]
        key = task_id if isinstance(task_id, str) else repr(task_id)
        if self.problems.get(key) == problem:
            return
        if len(self.problems) >= _REPORTED_LIMIT:
            self.problems.clear()
        self.problems[key] = problem
        log.warning(
            "the stored record of task %.200r cannot be read and is skipped (%d so far): %s",
            task_id,
            self.count,
            problem,
        )


SKIPPED = Skipped()
"""The skipped records of this process."""


def readable(task_id: object, read: Callable[[], TaskRecord | None]) -> TaskRecord | None:
    """Return a record, or None if it cannot be read.

    Args:
        task_id: the record's task.
        read: reads it; the record is skipped whatever this raises.
    """
    try:
        record = read()
        return None if record is None else checked(record)
    except Exception as error:  # noqa: BLE001 - no stored value may end the reader
        SKIPPED.note(task_id, error)
        return None


def read_rows(
    rows: Iterable[Any],
    record_of: Callable[[Any], TaskRecord],
    place_of: Callable[[Any], tuple[Any, Any]],
) -> list[TaskRecord | Unread]:
    """Read rows, with an `Unread` for each row that cannot be read.

    Args:
        rows: the rows.
        record_of: reads a row.
        place_of: returns a row's stored ``created_at`` and ``task_id``.
    """
    read: list[TaskRecord | Unread] = []
    for row in rows:
        place = place_of(row)
        record = readable(place[1], lambda row=row: record_of(row))  # type: ignore[misc]
        read.append(Unread(*place) if record is None else record)
    return read


def checked(record: TaskRecord) -> TaskRecord:
    """Return a record unchanged if each of its values has the right type.

    Raises:
        ValueError: one has not.
    """
    for name in ("task_id", "task", "queue"):
        _check(name, getattr(record, name), str)
    for name in ("worker", "reason", "error", "traceback"):
        _check(name, getattr(record, name), str, optional=True)
    _check("result", record.result, bytes, optional=True)
    for name in ("attempt", "replay"):
        value = getattr(record, name)
        if type(value) is not int or value < 0:
            raise ValueError(f"{name} is {value!r:.80}")
    _check_time("created_at", record.created_at)
    _check_time("updated_at", record.updated_at)
    if record.next_run is not None:
        _check_time("next_run", record.next_run)
    if not isinstance(record.meta, Mapping):
        raise ValueError(f"meta is {record.meta!r:.80}")  # noqa: TRY004 - the stored value is wrong
    if record.progress is not None:
        _check_progress(record.progress)
    return record


def _check_progress(progress: Progress) -> None:
    _check("progress.message", progress.message, str, optional=True)
    fraction = progress.fraction
    if fraction is not None and type(fraction) not in {int, float}:
        raise ValueError(f"progress.fraction is {fraction!r:.80}")
    _check_time("progress.at", progress.at)


def _check(name: str, value: object, kind: type, *, optional: bool = False) -> None:
    if not isinstance(value, kind) and not (optional and value is None):
        raise ValueError(f"{name} is {value!r:.80}")


def _check_time(name: str, value: object) -> None:
    if type(value) not in {int, float} or not _EARLIEST < value < _LATEST:  # type: ignore[operator]
        raise ValueError(f"{name} is {value!r:.80}, not a time")
