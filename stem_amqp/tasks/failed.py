"""What tasks of compositions get in place of a result that does not exist."""

from __future__ import annotations

from typing_extensions import TypedDict


class FailedMember(TypedDict):
    """A member of a group that has failed, in the results of a group with the policy ``collect``.

    id: the task's id.
    index: the member's place in the group, from 0.
    state: its final state: ``failed``, ``expired`` or ``revoked``.
    error: type and message of its exception, if there was one.
    """

    id: str
    index: int
    state: str
    error: str | None


class FailedTask(TypedDict):
    """The task that has failed, as a link of ``on_failure`` gets it.

    id: the task's id.
    task: its name.
    state: its final state: ``failed``, ``expired`` or ``revoked``.
    reason: why it ended, such as ``retries-exhausted``.
    error: type and message of its exception, if there was one.
    """

    id: str
    task: str
    state: str
    reason: str | None
    error: str | None
