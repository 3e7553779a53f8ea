"""Filters for lists of tasks, as users write them, and their validation."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeAlias, TypedDict

from typing_extensions import Unpack

from stem_amqp.errors import ConfigurationError
from stem_amqp.results.listing import TaskQuery, canonical
from stem_amqp.states import TaskState

Moment: TypeAlias = float | datetime
"""Seconds since the epoch, or a `datetime` with its zone."""


LONGEST_NAME = 255
"""Characters of a name or glob."""
MOST_STARS = 16
"""Stars of a glob."""


class TaskFilters(TypedDict, total=False):
    """Filters for tasks; a task must match all that are given.

    Args:
        state: a state or several: ``"failed"``, ``TaskState.FAILED``, ``["failed", "expired"]``.
        task: a task's name or several; ``*``, ``?`` and ``[…]`` make a glob: ``"orders.*"``.
        queue: a logical queue or several.
        meta: keys of the caller's metadata and the JSON value that each must have.
        created_after: enqueued at this time or later.
        created_before: enqueued before this time.
        updated_after: last changed at this time or later.
        updated_before: last changed before this time.
        oldest_first: list the oldest first instead of the newest.
    """

    state: str | Iterable[str]
    task: str | Iterable[str]
    queue: str | Iterable[str]
    meta: Mapping[str, Any]
    created_after: Moment | None
    created_before: Moment | None
    updated_after: Moment | None
    updated_before: Moment | None
    oldest_first: bool


def query_of(**filters: Unpack[TaskFilters]) -> TaskQuery:
    """Make a query.

    Raises:
        ConfigurationError: a filter is unknown, or cannot be used.
    """
    unknown = sorted(filters.keys() - TaskFilters.__annotations__.keys())
    if unknown:
        raise ConfigurationError(
            f"there is no filter {unknown[0]!r}{_hint(unknown[0], TaskFilters.__annotations__)}\n"
            f"  The filters are {', '.join(TaskFilters.__annotations__)}."
        )
    created_after = _seconds("created_after", filters.get("created_after"))
    created_before = _seconds("created_before", filters.get("created_before"))
    updated_after = _seconds("updated_after", filters.get("updated_after"))
    updated_before = _seconds("updated_before", filters.get("updated_before"))
    _check_range("created", created_after, created_before)
    _check_range("updated", updated_after, updated_before)
    return TaskQuery(
        states=frozenset(map(_state, _several("state", filters.get("state")))),
        tasks=tuple(sorted(_names("task", filters.get("task")))),
        queues=frozenset(_names("queue", filters.get("queue"))),
        meta=_meta(filters.get("meta")),
        oldest_first=bool(filters.get("oldest_first", False)),
        created_after=created_after,
        created_before=created_before,
        updated_after=updated_after,
        updated_before=updated_before,
    )


def _several(name: str, given: str | Iterable[str] | None) -> set[str]:
    if given is None:
        return set()
    if isinstance(given, str) or not isinstance(given, Iterable):
        return {given}
    some = set(given)
    if not some:
        raise ConfigurationError(f"no {name} is given to list; leave {name} out to list all")
    return some


def _names(name: str, given: str | Iterable[str] | None) -> set[str]:
    some = _several(name, given)
    for one in some:
        if type(one) is not str or not one:
            raise ConfigurationError(f"a {name} is a name as text, not {one!r:.80}")
        # The time to match a glob grows with the square of its length, and faster in some stores
        if len(one) > LONGEST_NAME or one.count("*") > MOST_STARS:
            raise ConfigurationError(
                f"a {name} has at most {LONGEST_NAME} characters and {MOST_STARS} stars, unlike"
                f" {one!r:.80}"
            )
    return some


def _state(given: str) -> TaskState:
    try:
        return TaskState(given)
    except ValueError:
        states = [state.value for state in TaskState]
        raise ConfigurationError(
            f"{given!r:.80} is not a state of a task{_hint(str(given)[:80], states)}\n"
            f"  The states are {', '.join(states)}."
        ) from None


def _meta(given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise ConfigurationError(f"meta is a mapping of keys to values, not {given!r}")
    for key, value in (given or {}).items():
        if not isinstance(key, str):
            raise ConfigurationError(f"a key of meta is text, not {key!r}")
        try:
            canonical(value)
        except TypeError as error:
            raise ConfigurationError(
                f"meta[{key!r}] must be a JSON value to be compared with: {error}"
            ) from None
    return dict(given or {})


def _check_range(name: str, after: float | None, before: float | None) -> None:
    if after is not None and before is not None and not after < before:
        raise ConfigurationError(f"{name}_after must be earlier than {name}_before")


def _seconds(name: str, given: Moment | None) -> float | None:
    if given is None:
        return None
    if isinstance(given, datetime):
        if given.tzinfo is None:
            raise ConfigurationError(
                f"{name} has no time zone: write datetime.now(UTC), or .astimezone() for local time"
            )
        return given.timestamp()
    if type(given) not in {int, float} or not math.isfinite(given):
        raise ConfigurationError(f"{name} is a datetime or seconds since the epoch, not {given!r}")
    return float(given)


def _hint(given: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(given.lower(), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else "."
