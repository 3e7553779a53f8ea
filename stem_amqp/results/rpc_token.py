"""The state of a group as it lies in its queue."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.results.base import GroupRecord
from stem_amqp.states import TaskState

GROUP: Final = "stem.group"
"""AMQP ``type`` of a token."""
VERSION = 1
REPLACED_LIMIT = 64
"""Numbers that a token remembers: so many others may come between two turns of one holder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupState:
    """A group.

    Args:
        group_id: the group.
        size: number of its members.
        ttl: seconds that it is kept.
        expires_at: seconds since the epoch until which it is kept.
        members: task id to the final state it was reported with.
        claimed_by: who claimed it; written by nobody but the winner of the claim.
    """

    group_id: str
    size: int
    ttl: float
    expires_at: float
    members: Mapping[str, TaskState] = field(default_factory=dict)
    claimed_by: str | None = None

    @property
    def record(self) -> GroupRecord:
        """The group as the backend shows it."""
        return GroupRecord(
            group_id=self.group_id,
            size=self.size,
            members=self.members,
            claimed_by=self.claimed_by,
        )

    def united(self, other: GroupState) -> GroupState:
        """Return this state with what only the other one knows."""
        return replace(
            self,
            members={**other.members, **self.members},
            claimed_by=self.claimed_by or other.claimed_by,
        )

    def with_members(self, ended: Mapping[str, TaskState]) -> GroupState:
        """Return this state with more members; one that is there already stays as it is."""
        return replace(self, members={**ended, **self.members})

    def encode(self, number: str, replaced: Iterable[str] = ()) -> bytes:
        """Write it as a message body.

        Args:
            number: tells this token from every other.
            replaced: the numbers of tokens that it stands for too, the latest first.
        """
        return orjson.dumps(
            {
                "v": VERSION,
                "token": number,
                "replaced": list(itertools.islice(replaced, REPLACED_LIMIT)),
                "group": self.group_id,
                "size": self.size,
                "ttl": self.ttl,
                "expires_at": self.expires_at,
                "members": self.members,
                "claimed_by": self.claimed_by,
            }
        )


def new_number() -> str:
    """Return a number for a token."""
    return secrets.token_hex(6)


def decode(body: bytes) -> tuple[str, list[str], GroupState]:
    """Read a token.

    Returns:
        Its number, the numbers of tokens that it stands for too, and the state.

    Raises:
        BackendUnavailableError: it is no token, or of another version.
    """
    try:
        fields = orjson.loads(body)
        if fields["v"] != VERSION:
            raise ValueError(f"version {fields['v']!r}, not {VERSION}")
        members = {task_id: TaskState(state) for task_id, state in fields["members"].items()}
        return (
            fields["token"],
            fields["replaced"],
            GroupState(
                group_id=fields["group"],
                size=fields["size"],
                ttl=fields["ttl"],
                expires_at=fields["expires_at"],
                members=members,
                claimed_by=fields["claimed_by"],
            ),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BackendUnavailableError(
            f"a message in a group's queue is no group state: {error!r}.\n"
            "  Something else published it: only stem-amqp may publish to *.group.* queues."
        ) from error
