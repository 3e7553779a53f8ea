"""Find a task by a prefix of its id, in a store that lists tasks."""

from __future__ import annotations

from stem_amqp.results.base import ResultBackend
from stem_amqp.results.listing import PAGE_LIMIT, TaskQuery, position_of
from stem_amqp.text import SHORTEST, resolve_id

WHOLE = 36
"""Length of a generated id, a UUID; an id of this length is not a prefix."""
_PAGES = 20
_TIME_DIGITS = 12
"""Hexadecimal digits of a UUIDv7 that contain its time, in milliseconds."""
_FEWEST_TIME_DIGITS = 5
_SLACK = 300.0
"""Maximum seconds by which the clocks of producer and store may differ."""


async def whole_id(backend: ResultBackend, given: str) -> str:
    """Return the id with a prefix; a prefix of no id is returned unchanged.

    Args:
        backend: the store, open.
        given: a whole id or a prefix of one.

    Raises:
        ConfigurationError: several ids have the prefix.
        BackendUnavailableError: the store does not answer.
    """
    if len(given) >= WHOLE or len(given) < SHORTEST or not backend.lists_tasks:
        return given
    if await backend.get(given) is not None:
        return given
    query = _query_for_prefix(given)
    found = await _ids(backend, query, given)
    if not found and query != TaskQuery():
        found = await _ids(backend, TaskQuery(), given)
    return resolve_id(given, found) or given


async def _ids(backend: ResultBackend, query: TaskQuery, given: str) -> list[str]:
    found: list[str] = []
    after = None
    for _ in range(_PAGES):
        records = await backend.find_tasks(query, after=after, limit=PAGE_LIMIT)
        found += [one.task_id for one in records if one.task_id.startswith(given)]
        if len(records) < PAGE_LIMIT:
            break
        after = position_of(records[-1])
    return found


def _query_for_prefix(given: str) -> TaskQuery:
    """Return a query for the time range of a UUIDv7 prefix; for all tasks if it cannot be one."""
    digits = given.replace("-", "")[:_TIME_DIGITS].lower()
    if len(digits) < _FEWEST_TIME_DIGITS or set(digits) - set("0123456789abcdef"):
        return TaskQuery()
    first, last = (int(digits.ljust(_TIME_DIGITS, fill), 16) / 1000 for fill in "0f")
    return TaskQuery(created_after=first - _SLACK, created_before=last + _SLACK)
