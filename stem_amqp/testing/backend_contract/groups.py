"""Contract of every result backend: groups of tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from stem_amqp.errors import ConfigurationError, ResultUnavailableError
from stem_amqp.results.base import GroupRecord, MemberReport, ResultBackend
from stem_amqp.states import TaskState
from stem_amqp.testing.backend_contract.sides import Sides

SUCCEEDED, FAILED = TaskState.SUCCEEDED, TaskState.FAILED


def succeeded(group_id: str, *indexes: int) -> list[MemberReport]:
    """Return reports of members that succeeded; each returned its index."""
    return [
        MemberReport(
            group_id=group_id,
            index=index,
            task_id=f"task-{index}",
            state=SUCCEEDED,
            value=b"%d" % index,
        )
        for index in indexes
    ]


def failed(group_id: str, *indexes: int, state: TaskState = FAILED) -> list[MemberReport]:
    """Return reports of members that failed."""
    return [
        MemberReport(
            group_id=group_id,
            index=index,
            task_id=f"task-{index}",
            state=state,
            error=f"ValueError: {index} \udcff\0",
        )
        for index in indexes
    ]


async def known(backend: ResultBackend, group_id: str) -> GroupRecord:
    """Return a group, which must exist."""
    group = await backend.get_group(group_id)
    assert group is not None, f"group {group_id} is not known"
    return group


async def reported(backend: ResultBackend, reports: Sequence[MemberReport]) -> list[GroupRecord]:
    """Report members of groups, which must exist."""
    after = await backend.report_members(reports)
    assert len(after) == len(reports)
    assert None not in after
    return [group for group in after if group is not None]


def counts(groups: Sequence[GroupRecord]) -> list[tuple[int, int, bool]]:
    """Return of each group how many members have ended and failed, and whether it is complete."""
    return [(group.done, group.failed, group.complete) for group in groups]


class GroupsContract:
    """A group counts each member once, and has exactly one claimant."""

    async def test_a_group_is_created_empty_and_seen_by_everybody(self, sides: Sides) -> None:
        """A new group has its size, its plan, no members and no claimant, for every instance."""
        plan = bytes(range(256))
        group_id = await sides.group(3, ttl=500, plan=plan)
        for backend in (sides.producer, sides.worker):
            assert await known(backend, group_id) == GroupRecord(
                group_id=group_id, size=3, plan=plan, expires_at=sides.clock.time() + 500
            )
            assert await backend.group_members(group_id) == []

    async def test_creating_a_group_again_keeps_it_and_another_size_is_an_error(
        self, sides: Sides
    ) -> None:
        """A repeated creation is harmless; a different group of the same id is refused by name."""
        group_id = await sides.group(2, plan=b"first")
        await reported(sides.worker, succeeded(group_id, 0))
        await sides.worker.create_group(group_id, 2, ttl=500, plan=b"second")
        group = await known(sides.worker, group_id)
        assert (group.done, group.plan) == (1, b"first")
        with pytest.raises(ConfigurationError, match=f"{group_id}.*2.*5"):
            await sides.worker.create_group(group_id, 5, ttl=500)
        with pytest.raises(ConfigurationError, match="-1"):
            await sides.worker.create_group(sides.group_id(), -1, ttl=500)

    async def test_a_group_without_members_is_complete_at_once(self, sides: Sides) -> None:
        """Nothing is missing in a sealed group of size 0."""
        group_id = await sides.group(0)
        assert (await known(sides.worker, group_id)).complete
        assert await sides.worker.claim_group(group_id, "a")

    async def test_a_group_is_complete_exactly_with_its_last_member(self, sides: Sides) -> None:
        """Every member counts once, in whatever state it ended, and the last one completes it."""
        group_id = await sides.group(3)
        reports = [
            *succeeded(group_id, 0),
            *failed(group_id, 1),
            *failed(group_id, 0),
            *succeeded(group_id, 2),
            *succeeded(group_id, 2),
        ]
        seen = []
        for number, report in enumerate(reports):
            seen += await reported((sides.worker, sides.producer)[number % 2], [report])
        expected = [(1, 0, False), (2, 1, False), (2, 1, False), (3, 1, True), (3, 1, True)]
        assert counts(seen) == expected
        members = await sides.producer.group_members(group_id)
        assert [(member.index, member.state) for member in members] == [
            (0, SUCCEEDED),
            (1, FAILED),
            (2, SUCCEEDED),
        ]

    async def test_of_the_new_reports_of_a_batch_only_the_last_sees_the_group_complete(
        self, sides: Sides
    ) -> None:
        """Each report shows the group at its place in the batch, whatever else is in it."""
        one, other = await sides.group(3), await sides.group(1)
        reports = [
            *succeeded(one, 2),
            *failed(one, 0, 0),
            *succeeded(other, 0),
            *succeeded(one, 1),
            *succeeded(one, 2),
        ]
        after = await reported(sides.worker, reports)
        assert [group.group_id for group in after] == [report.group_id for report in reports]
        assert counts(after) == [
            (1, 0, False),
            (2, 1, False),
            (2, 1, False),
            (1, 0, True),
            (3, 1, True),
            (3, 1, True),
        ]
        assert [group.complete for group in await reported(sides.worker, reports[:3])] == [True] * 3
        assert await sides.worker.report_members([]) == []

    async def test_concurrent_reports_lose_no_member_and_somebody_sees_the_group_complete(
        self, sides: Sides
    ) -> None:
        """Members that end at once in two processes are all counted, and one report sees it complete."""
        group_id = await sides.group(40)
        backends = [sides.worker, await sides.another()]
        batches = [succeeded(group_id, 2 * n, 2 * n + 1) for n in range(20)]
        groups = await asyncio.gather(
            *(reported(backends[n % 2], batch) for n, batch in enumerate(batches))
        )
        complete = [group.complete for some in groups for group in some]
        assert complete.count(True) >= 1
        assert counts([await known(sides.producer, group_id)]) == [(40, 0, True)]
        members = await sides.producer.group_members(group_id)
        assert [(member.index, member.value) for member in members] == [
            (n, b"%d" % n) for n in range(40)
        ]

    async def test_concurrent_copies_of_a_report_count_once(self, sides: Sides) -> None:
        """A redelivery may report a member in one process while another one does."""
        group_id = await sides.group(3)
        backends = [sides.worker, await sides.another()]
        await asyncio.gather(
            *(reported(backends[n % 2], failed(group_id, 0, 1)) for n in range(4)),
            *(reported(backends[n % 2], succeeded(group_id, 1)) for n in range(4)),
        )
        assert counts([await known(sides.producer, group_id)]) == [(2, 1, False)]

    async def test_exactly_one_of_many_claimants_wins_and_wins_again(self, sides: Sides) -> None:
        """20 claimants in three processes: one winner, permanently, and every process sees which."""
        group_id = await sides.group(1)
        await reported(sides.worker, succeeded(group_id, 0))
        backends = [sides.worker, sides.producer, await sides.another()]

        async def claims() -> list[bool]:
            return await asyncio.gather(
                *(backends[n % 3].claim_group(group_id, f"claimant-{n}") for n in range(20))
            )

        won = await claims()
        assert won.count(True) == 1
        assert await claims() == won
        group = await known(sides.producer, group_id)
        assert group.claimed_by == f"claimant-{won.index(True)}"

    async def test_an_incomplete_group_cannot_be_claimed(self, sides: Sides) -> None:
        """No claim succeeds before the last member is reported, and a refused claim leaves no trace."""
        group_id = await sides.group(2)
        await reported(sides.worker, succeeded(group_id, 0))
        assert await sides.worker.claim_group(group_id, "early") is False
        await reported(sides.worker, succeeded(group_id, 1))
        assert await sides.producer.claim_group(group_id, "late") is True
        assert await sides.worker.claim_group(group_id, "early") is False

    async def test_an_unknown_group_is_an_error_to_read_and_nothing_to_ask_for(
        self, sides: Sides
    ) -> None:
        """A batch stores what is known, whatever else is in it; the rest is answered with None."""
        unknown, group_id = sides.group_id(), await sides.group(2)
        reports = [
            *succeeded(unknown, 0),
            *succeeded(group_id, 0, 2),
            *failed(group_id, -1),
            *succeeded(group_id, 1),
        ]
        after = await sides.worker.report_members(reports)
        assert [group and group.done for group in after] == [None, 1, None, None, 2]
        worker = sides.worker
        assert await worker.get_group(unknown) is None
        assert await worker.claim_group(unknown, "a") is False
        for call in (
            worker.group_members(unknown),
            worker.seal_group(unknown),
            worker.expand_group(unknown, 1, addition="t"),
        ):
            with pytest.raises(ResultUnavailableError, match=unknown):
                await call

    async def test_a_group_ends_with_its_ttl_and_can_be_created_anew(self, sides: Sides) -> None:
        """After its TTL a group is unknown, whatever happened to it; nothing of it is in the next one."""
        group_id = await sides.group(2, ttl=100, sealed=False)
        assert await sides.worker.expand_group(group_id, 1, addition="t") == 2
        sides.clock.advance(60)
        await reported(sides.worker, failed(group_id, 0))
        sides.clock.advance(39)
        assert (await known(sides.worker, group_id)).size == 3
        sides.clock.advance(1)
        assert await sides.worker.get_group(group_id) is None
        assert await sides.worker.claim_group(group_id, "a") is False
        assert await sides.worker.report_members(succeeded(group_id, 1)) == [None]
        await sides.producer.create_group(group_id, 3, ttl=100, sealed=False)
        (group,) = await reported(sides.worker, succeeded(group_id, 2))
        assert (group.size, group.done, group.failed, group.first_failed) == (3, 1, 0, None)
        assert [member.index for member in await sides.worker.group_members(group_id)] == [2]
        assert await sides.worker.expand_group(group_id, 1, addition="t") == 3

    async def test_purging_removes_expired_groups(self, sides: Sides) -> None:
        """Expired groups are removed with their members; if RabbitMQ removes them, none are counted."""
        group_id = await sides.group(1, ttl=10)
        await reported(sides.worker, succeeded(group_id, 0))
        kept = await sides.group(1, ttl=1000)
        sides.clock.advance(11)
        assert await sides.worker.purge_expired() == (1 if sides.stores else 0)
        assert await sides.worker.get_group(group_id) is None
        assert await sides.worker.get_group(kept) is not None

    async def test_concurrent_creators_make_one_group(self, sides: Sides) -> None:
        """Several processes may create the same group at once."""
        group_id = sides.group_id()
        backends = [sides.worker, sides.producer, await sides.another()]
        await asyncio.gather(*(backend.create_group(group_id, 4, ttl=500) for backend in backends))
        groups = await asyncio.gather(
            *(reported(backends[n % 3], succeeded(group_id, n)) for n in range(4))
        )
        assert any(group.complete for some in groups for group in some)

    async def test_a_group_beyond_the_limit_is_refused(self, sides: Sides) -> None:
        """A backend that can count only so many members says so before anything is enqueued."""
        limit = sides.producer.group_limit
        if limit is None:
            pytest.skip(f"{type(sides.producer).__name__} has no limit")
        with pytest.raises(ConfigurationError, match=rf"(?s){limit:,}.*redis://"):
            await sides.producer.create_group(sides.group_id(), limit + 1, ttl=500)
