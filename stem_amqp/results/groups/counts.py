"""What a batch of reports changes in groups: pure functions that backends share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum

from stem_amqp.results.groups.model import GroupRecord, MemberReport


class Change(IntEnum):
    """What a report changed."""

    NOTHING = 0
    """The member was reported before, or is unknown."""
    ADDED = 1
    """It was the member's first report."""
    MENDED = 2
    """The member had failed, and has now succeeded."""


def distinct(reports: Sequence[MemberReport]) -> list[int]:
    """Return the positions of the reports that count, if several of one member are in a batch.

    The first of a member counts, unless it failed and a later one succeeded.

    Args:
        reports: the batch.
    """
    chosen: dict[tuple[str, int], int] = {}
    for position, report in enumerate(reports):
        place = (report.group_id, report.index)
        earlier = chosen.get(place)
        if earlier is None or (reports[earlier].failed and not report.failed):
            chosen[place] = position
    return list(chosen.values())


def after_each(
    reports: Sequence[MemberReport],
    groups: Mapping[str, GroupRecord],
    changes: Mapping[int, Change],
) -> list[GroupRecord | None]:
    """Return the group after each report of a batch.

    Args:
        reports: the batch.
        groups: the groups after the whole batch, by id; without those that do not exist.
        changes: what the reports changed, by their position; those without an entry changed nothing.
    """
    current = dict(groups)
    after: list[GroupRecord | None] = [None] * len(reports)
    for position in range(len(reports) - 1, -1, -1):
        report = reports[position]
        group = current.get(report.group_id)
        if group is None or not 0 <= report.index < group.size:
            continue
        after[position] = group
        change = changes.get(position, Change.NOTHING)
        if change is Change.NOTHING:
            continue
        added = change is Change.ADDED
        failures = int(report.failed) if added else -1
        current[report.group_id] = group.at(group.done - added, group.failed - failures)
    return after


def portions(
    reports: Sequence[MemberReport], *, limit: int, size: int
) -> Iterable[Sequence[MemberReport]]:
    """Split a batch into parts, each for one round trip, in the given order.

    Args:
        reports: the batch.
        limit: reports in a part, at most.
        size: bytes of values in a part, at most, unless a single one has more.
    """
    start, total = 0, 0
    for position, report in enumerate(reports):
        own = len(report.value or b"") + len(report.error or "")
        if position - start == limit or (position > start and total + own > size):
            yield reports[start:position]
            start, total = position, 0
        total += own
    if start < len(reports):
        yield reports[start:]
