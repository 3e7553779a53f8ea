"""Reads the results of a group's members, in the order of the members."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pydantic_core import from_json, to_json

from stem_amqp.messages.links import COLLECT
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.groups.model import GroupRecord, MemberRecord
from stem_amqp.states import TaskState

PAGE = 1000
"""Members that are read at once."""


async def members_of(
    backend: ResultBackend, group_id: str, policy: str
) -> AsyncIterator[MemberRecord]:
    """Yield the members whose entries a continuation gets: all with ``collect``, else those that succeeded.

    Args:
        backend: the result backend.
        group_id: the group.
        policy: its policy.

    Raises:
        ResultUnavailableError: there is no such group (any more).
        BackendUnavailableError: the store does not answer.
    """
    after, only_failed = -1, None if policy == COLLECT else False
    while True:
        page = await backend.group_members(group_id, after=after, limit=PAGE, failed=only_failed)
        for member in page:
            yield member
        if len(page) < PAGE:
            return
        after = page[-1].index


def failed(member: MemberRecord) -> bool:
    """Return whether a member ended otherwise than ``succeeded``."""
    return member.state is not TaskState.SUCCEEDED


def entry_of(member: MemberRecord) -> Any:
    """Return a member's result as a JSON value; of one that failed, an object that describes the failure."""
    if failed(member):
        return {
            "id": member.task_id,
            "index": member.index,
            "state": member.state.value,
            "error": member.error,
        }
    # Not orjson, which reads an integer beyond 64 bits as a float
    return None if member.value is None else from_json(member.value)


async def results_of(backend: ResultBackend, group: GroupRecord, policy: str) -> bytes:
    """Return the results of a group as one JSON text.

    Args:
        backend: the result backend.
        group: the group.
        policy: its policy.

    Raises:
        BackendError: as for `members_of`.
    """
    parts = [
        (member.value or b"null") if not failed(member) else to_json(entry_of(member))
        async for member in members_of(backend, group.group_id, policy)
    ]
    return b"[" + b",".join(parts) + b"]"
