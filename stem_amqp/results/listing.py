"""Lists of tasks: queries, pages, and the cursors between pages."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeAlias

import orjson

from stem_amqp.errors import ConfigurationError
from stem_amqp.results.model import TaskRecord
from stem_amqp.results.unreadable import Unread
from stem_amqp.states import TaskState

PAGE_LIMIT = 1000
"""Records of one page, at most."""
_CURSOR_VERSION = 1
_GLOB_PARTS = re.compile(r"\*|\?|\[!?\]?[^]]*\]|.", re.DOTALL)


class Position(NamedTuple):
    """A position in a list of tasks; it stays valid when tasks change.

    Args:
        created_at: seconds since the epoch.
        task_id: orders tasks of the same time, by code points.
    """

    created_at: float
    task_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskQuery:
    """Conditions for tasks, all of which must hold; without any condition every task matches.

    Created by `stem_amqp.results.filters.query_of`, which validates it.

    Args:
        states: the state is one of these.
        tasks: names, or globs such as ``orders.*``; one of them matches the task's name.
        queues: the logical queue is one of these.
        meta: each key has this JSON value in the caller's metadata: 1 is neither 1.0 nor "1".
        created_after: seconds since the epoch; at this time or later.
        created_before: before this time.
        updated_after: the last change, at this time or later.
        updated_before: the last change, before this time.
        oldest_first: the order of the list; otherwise the newest come first.
    """

    states: frozenset[TaskState] = frozenset()
    tasks: tuple[str, ...] = ()
    queues: frozenset[str] = frozenset()
    meta: Mapping[str, Any] = field(default_factory=dict)
    created_after: float | None = None
    created_before: float | None = None
    updated_after: float | None = None
    updated_before: float | None = None
    oldest_first: bool = False

    @property
    def has_globs(self) -> bool:
        """Whether task names are given as globs."""
        return any(is_glob(name) for name in self.tasks)

    def matches(self, record: TaskRecord) -> bool:
        """Return whether a task matches."""
        return (
            (not self.states or record.state in self.states)
            and (not self.queues or record.queue in self.queues)
            and _within(record.created_at, self.created_after, self.created_before)
            and _within(record.updated_at, self.updated_after, self.updated_before)
            and (not self.tasks or any(fnmatchcase(record.task, glob) for glob in self.tasks))
            and (not self.meta or has_meta(record.meta, self.meta))
        )

    def follows(self, record: TaskRecord, position: Position) -> bool:
        """Return whether a task comes after a position, in this list's order."""
        here = position_of(record)
        return here > position if self.oldest_first else here < position

    def sort(self, records: list[TaskRecord]) -> None:
        """Sort records in this list's order."""
        records.sort(key=position_of, reverse=not self.oldest_first)

    def cursor_after(self, record: TaskRecord) -> str:
        """Return the cursor of the page that begins after a record."""
        place = [_CURSOR_VERSION, self.oldest_first, *position_of(record)]
        return base64.urlsafe_b64encode(orjson.dumps(place)).decode().rstrip("=")

    def position(self, cursor: str | None) -> Position | None:
        """Return the position after which a page begins, or None for the first page.

        Args:
            cursor: the cursor of the page before.

        Raises:
            ConfigurationError: it is not a cursor, or belongs to a list in the other order.
        """
        if cursor is None:
            return None
        try:
            padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
            version, oldest_first, created_at, task_id = orjson.loads(
                base64.b64decode(padded, b"-_", validate=True)
            )
        except (binascii.Error, UnicodeError, TypeError, ValueError):
            raise _invalid_cursor(cursor) from None
        kinds = (bool, float, str)
        values = (oldest_first, created_at, task_id)
        if version != _CURSOR_VERSION or tuple(map(type, values)) != kinds:
            raise _invalid_cursor(cursor)
        if oldest_first is not self.oldest_first:
            raise ConfigurationError(
                "this cursor belongs to a list in the other order.\n"
                "  Ask for the next page with the order and the filters of the first one."
            )
        return Position(created_at, task_id)


ALL = TaskQuery()
"""Every task, the newest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskPage:
    """A page of a list of tasks.

    Args:
        records: the tasks, in the list's order.
        cursor: the cursor of the next page; None on the last page.
    """

    records: tuple[TaskRecord, ...]
    cursor: str | None = None

    def __iter__(self) -> Iterator[TaskRecord]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    @classmethod
    def of(cls, query: TaskQuery, found: Sequence[TaskRecord], limit: int) -> TaskPage:
        """Make a page.

        Args:
            query: the query.
            found: the records found; one more than `limit` means that another page follows.
            limit: records of the page.
        """
        more = len(found) > limit
        records = tuple(found[:limit])
        return cls(records=records, cursor=query.cursor_after(records[-1]) if more else None)


Scan: TypeAlias = Callable[[Position | None, int], Awaitable[Sequence[TaskRecord | Unread]]]
"""Returns a number of records after a position, in the list's order; fewer only at the end."""


async def select_page(
    query: TaskQuery, scan: Scan, after: Position | None, limit: int
) -> list[TaskRecord]:
    """Find records in a store that cannot evaluate every condition of a query.

    Args:
        query: the query.
        scan: reads the store; it may return records that do not match.
        after: the position after which to begin.
        limit: records to find, at most.
    """
    found: list[TaskRecord] = []
    while True:
        some = await scan(after, limit)
        found += [one for one in some if not isinstance(one, Unread) and query.matches(one)]
        if len(found) >= limit or len(some) < limit:
            return found[:limit]
        last = Position(some[-1].created_at, some[-1].task_id)
        if last == after:
            # stored values that cannot be compared: no position follows them
            return found
        after = last


def position_of(record: TaskRecord) -> Position:
    """Return the position of a task in lists."""
    return Position(record.created_at, record.task_id)


def is_glob(name: str) -> bool:
    """Return whether a name in a query or a command is a glob."""
    return any(sign in name for sign in "*?[")


def parts_of_glob(glob: str) -> list[str]:
    """Return the parts of a glob: ``*``, ``?``, ``[…]`` as a whole, and single characters."""
    return _GLOB_PARTS.findall(glob)


def check_limit(limit: int) -> None:
    """Check the number of records of a page.

    Raises:
        ConfigurationError: it is out of range.
    """
    if type(limit) is not int or not 1 <= limit <= PAGE_LIMIT:
        raise ConfigurationError(
            f"a page has 1 to {PAGE_LIMIT} tasks, not {limit!r}.\n"
            "  For more, ask for the next page with the cursor of this one."
        )


def has_meta(meta: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Return whether metadata has each of the wanted keys with the same JSON value."""
    return all(
        key in meta and canonical(meta[key], repr) == canonical(wanted[key]) for key in wanted
    )


def canonical(value: Any, default: Callable[[Any], Any] | None = None) -> bytes:
    """Encode a JSON value so that equal values give equal bytes.

    Args:
        value: the value.
        default: encodes what JSON cannot represent.

    Raises:
        TypeError: JSON cannot represent it.
    """
    option = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, default, option)


def _within(at: float, after: float | None, before: float | None) -> bool:
    return (after is None or at >= after) and (before is None or at < before)


def _invalid_cursor(cursor: str) -> ConfigurationError:
    return ConfigurationError(
        f"{cursor[:80]!r} is not a cursor of a list of tasks.\n"
        "  Pass the cursor of the page before unchanged, or none for the first page."
    )
