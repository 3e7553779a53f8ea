"""The token: the state of a group as a message in its queue."""

from __future__ import annotations

import base64
import itertools
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.results.groups.counts import Change, distinct
from stem_amqp.results.groups.model import GroupRecord, MemberReport
from stem_amqp.results.records import writable

GROUP: Final = "stem.group"
"""AMQP ``type`` of a token."""
VERSION = 2
REPLACED_LIMIT = 64
"""Numbers of earlier tokens in a token: as many others may hold it between two turns of one holder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupState:
    """A group. Its members are bits, so that two states of one group can be united.

    Args:
        group_id: the group.
        size: number of its members.
        ttl: seconds for which it is kept.
        expires_at: seconds since the epoch until which it is kept.
        sealed: whether no more members can be added.
        plan: what follows the group.
        succeeded: bit n is set if member n has succeeded.
        failures: bit n is set if a failure of member n was reported.
        first_failed: the index of the member whose failure was reported first.
        first_error: its error.
        expansions: the first index and the number of the members of each addition, by its name.
        claimed_by: the claimant; only the winner of the claim writes it.
    """

    group_id: str
    size: int
    ttl: float
    expires_at: float
    sealed: bool = True
    plan: bytes = b""
    succeeded: int = 0
    failures: int = 0
    first_failed: int | None = None
    first_error: str | None = None
    expansions: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    claimed_by: str | None = None

    @property
    def ended(self) -> int:
        """Bit n is set if member n has ended."""
        return self.succeeded | self.failures

    @property
    def record(self) -> GroupRecord:
        """The group's record."""
        return GroupRecord(
            group_id=self.group_id,
            size=self.size,
            sealed=self.sealed,
            done=self.ended.bit_count(),
            failed=(self.failures & ~self.succeeded).bit_count(),
            plan=self.plan,
            claimed_by=self.claimed_by,
            first_failed=self.first_failed,
            first_error=self.first_error,
            expires_at=self.expires_at,
        )

    def changes(self, reports: Sequence[MemberReport]) -> dict[int, Change]:
        """Return what reports change in this state, by their position."""
        changes = {}
        for position in distinct(reports):
            report = reports[position]
            bit = 1 << max(report.index, 0)
            if (
                self.has(report.index)
                and not (self.ended if report.failed else self.succeeded) & bit
            ):
                changes[position] = Change.MENDED if self.ended & bit else Change.ADDED
        return changes

    def has(self, index: int) -> bool:
        """Return whether the group has a member with this index."""
        return 0 <= index < self.size

    def united(self, other: GroupState) -> GroupState:
        """Return this state with what only the other one has."""
        first = self if self.first_failed is not None else other
        grown = replace(
            self,
            sealed=self.sealed or other.sealed,
            succeeded=self.succeeded | other.succeeded,
            failures=self.failures | other.failures,
            first_failed=first.first_failed,
            first_error=first.first_error,
            claimed_by=self.claimed_by or other.claimed_by,
        )
        for addition, (start, count) in sorted(other.expansions.items(), key=lambda item: item[1]):
            # An addition at a place that is taken was never confirmed to its caller, who repeats it.
            if addition not in grown.expansions and start == grown.size:
                grown = grown.expanded(addition, count)
        return grown

    def expanded(self, addition: str, count: int) -> GroupState:
        """Return this state with more members; an addition that it has already changes nothing."""
        if addition in self.expansions:
            return self
        expansions = {**self.expansions, addition: (self.size, count)}
        return replace(self, size=self.size + count, expansions=expansions)

    def with_reports(self, reports: Iterable[MemberReport]) -> GroupState:
        """Return this state with more members that have ended."""
        succeeded, failures = self.succeeded, self.failures
        first_failed, first_error = self.first_failed, self.first_error
        for report in reports:
            if not self.has(report.index):
                continue
            bit = 1 << report.index
            if succeeded & bit:
                continue
            if not report.failed:
                succeeded |= bit
                continue
            failures |= bit
            if first_failed is None:
                first_failed, first_error = report.index, writable(report.error)
        return replace(
            self,
            succeeded=succeeded,
            failures=failures,
            first_failed=first_failed,
            first_error=first_error,
        )

    def encode(self, number: str, replaced: Iterable[str] = ()) -> bytes:
        """Encode the state as a message body.

        Args:
            number: the unique number of this token.
            replaced: the numbers of the tokens that it replaces, the latest first.
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
                "sealed": self.sealed,
                "plan": base64.b64encode(self.plan).decode(),
                "succeeded": f"{self.succeeded:x}",
                "failures": f"{self.failures:x}",
                "first_failed": self.first_failed,
                "first_error": self.first_error,
                "expansions": self.expansions,
                "claimed_by": self.claimed_by,
            }
        )


def new_number() -> str:
    """Return a new number for a token."""
    return secrets.token_hex(6)


def decode(body: bytes) -> tuple[str, list[str], GroupState]:
    """Decode a token.

    Returns:
        Its number, the numbers of the tokens that it replaces, and the state.

    Raises:
        BackendUnavailableError: it is not a token, or has another version.
    """
    try:
        fields = orjson.loads(body)
        if fields["v"] != VERSION:
            raise ValueError(f"version {fields['v']!r}, not {VERSION}")
        return fields["token"], fields["replaced"], _state(fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BackendUnavailableError(
            f"a message in a group's queue is not a group state: {error!r}.\n"
            "  Another program published it: only stem-amqp may publish to *.group.* queues."
        ) from error


def _state(fields: Mapping[str, Any]) -> GroupState:
    return GroupState(
        group_id=fields["group"],
        size=fields["size"],
        ttl=fields["ttl"],
        expires_at=fields["expires_at"],
        sealed=fields["sealed"],
        plan=base64.b64decode(fields["plan"]),
        succeeded=int(fields["succeeded"], 16),
        failures=int(fields["failures"], 16),
        first_failed=fields["first_failed"],
        first_error=fields["first_error"],
        expansions={
            addition: (start, count) for addition, (start, count) in fields["expansions"].items()
        },
        claimed_by=fields["claimed_by"],
    )
