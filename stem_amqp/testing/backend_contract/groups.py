"""What every result backend does with groups of tasks."""

from __future__ import annotations

import asyncio

import pytest

from stem_amqp.errors import ConfigurationError, ResultUnavailableError
from stem_amqp.results.base import GroupRecord, ResultBackend
from stem_amqp.states import TaskState
from stem_amqp.testing.backend_contract.sides import Sides

SUCCEEDED, FAILED = TaskState.SUCCEEDED, TaskState.FAILED


async def known(backend: ResultBackend, group_id: str) -> GroupRecord:
    """Return a group, which must be there."""
    group = await backend.get_group(group_id)
    assert group is not None, f"group {group_id} is not known"
    return group


class GroupsContract:
    """A group counts each member once, and has exactly one claimant."""

    async def test_a_group_is_created_empty_and_seen_by_everybody(self, sides: Sides) -> None:
        """A new group has its size, no members and no claimant, for every instance."""
        group_id = await sides.group(3)
        for backend in (sides.producer, sides.worker):
            group = await known(backend, group_id)
            assert (group.group_id, group.size, dict(group.members)) == (group_id, 3, {})
            assert (group.complete, group.claimed_by) == (False, None)

    async def test_creating_a_group_again_keeps_it_and_another_size_is_an_error(
        self, sides: Sides
    ) -> None:
        """A repeated creation is harmless; a different group of the same id is refused by name."""
        group_id = await sides.group(2)
        await sides.worker.report_member(group_id, "a", SUCCEEDED)
        await sides.worker.create_group(group_id, 2, ttl=500)
        assert dict((await known(sides.worker, group_id)).members) == {"a": SUCCEEDED}
        with pytest.raises(ConfigurationError, match=f"{group_id}.*2.*5"):
            await sides.worker.create_group(group_id, 5, ttl=500)
        with pytest.raises(ConfigurationError, match="at least one"):
            await sides.worker.create_group(sides.group_id(), 0, ttl=500)

    async def test_a_group_is_complete_exactly_with_its_last_member(self, sides: Sides) -> None:
        """Every member counts once, in whatever state it ended, and the last one completes it."""
        group_id = await sides.group(3)
        reports = [
            ("a", SUCCEEDED),
            ("b", FAILED),
            ("a", FAILED),
            ("c", SUCCEEDED),
            ("c", SUCCEEDED),
        ]
        seen = []
        for number, (task_id, state) in enumerate(reports):
            backend = (sides.worker, sides.producer)[number % 2]
            group = await backend.report_member(group_id, task_id, state)
            seen.append((len(group.members), group.complete))
        assert seen == [(1, False), (2, False), (2, False), (3, True), (3, True)]
        members = (await known(sides.producer, group_id)).members
        assert dict(members) == {"a": SUCCEEDED, "b": FAILED, "c": SUCCEEDED}

    async def test_concurrent_reports_lose_no_member_and_somebody_sees_the_group_complete(
        self, sides: Sides
    ) -> None:
        """20 members that end at once in two processes are all counted, and the last is told so."""
        group_id = await sides.group(20)
        backends = [sides.worker, await sides.another()]
        groups = await asyncio.gather(
            *(backends[n % 2].report_member(group_id, f"task-{n}", SUCCEEDED) for n in range(20))
        )
        assert any(group.complete for group in groups)
        for number, group in enumerate(groups):
            assert f"task-{number}" in group.members
        assert set((await known(sides.producer, group_id)).members) == {
            f"task-{n}" for n in range(20)
        }

    async def test_exactly_one_of_many_claimants_wins_and_wins_again(self, sides: Sides) -> None:
        """20 claimants in three processes: one winner, the same for ever, and everybody sees who."""
        group_id = await sides.group(1)
        await sides.worker.report_member(group_id, "a", SUCCEEDED)
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
        """Nobody wins before the last member is there, and a refused claim leaves no trace."""
        group_id = await sides.group(2)
        await sides.worker.report_member(group_id, "a", SUCCEEDED)
        assert await sides.worker.claim_group(group_id, "early") is False
        await sides.worker.report_member(group_id, "b", SUCCEEDED)
        assert await sides.producer.claim_group(group_id, "late") is True
        assert await sides.worker.claim_group(group_id, "early") is False

    async def test_an_unknown_group_is_an_error_to_report_to_and_nothing_to_ask_for(
        self, sides: Sides
    ) -> None:
        """Reporting names the group that is missing; asking and claiming just say no."""
        group_id = sides.group_id()
        with pytest.raises(ResultUnavailableError, match=group_id):
            await sides.worker.report_member(group_id, "a", SUCCEEDED)
        assert await sides.worker.get_group(group_id) is None
        assert await sides.worker.claim_group(group_id, "a") is False

    async def test_a_group_ends_with_its_ttl_and_can_be_created_anew(self, sides: Sides) -> None:
        """After its TTL a group is unknown, whatever it was used for meanwhile; its id is free again."""
        group_id = await sides.group(2, ttl=100)
        sides.clock.advance(60)
        await sides.worker.report_member(group_id, "a", SUCCEEDED)
        sides.clock.advance(39)
        assert (await known(sides.worker, group_id)).size == 2
        sides.clock.advance(1)
        assert await sides.worker.get_group(group_id) is None
        assert await sides.worker.claim_group(group_id, "a") is False
        with pytest.raises(ResultUnavailableError):
            await sides.worker.report_member(group_id, "b", SUCCEEDED)
        await sides.producer.create_group(group_id, 3, ttl=100)
        group = await sides.worker.report_member(group_id, "c", SUCCEEDED)
        assert (group.size, dict(group.members)) == (3, {"c": SUCCEEDED})

    async def test_purging_removes_expired_groups(self, sides: Sides) -> None:
        """Groups past their TTL are removed with their members; where RabbitMQ does that, none are counted."""
        group_id = await sides.group(1, ttl=10)
        await sides.worker.report_member(group_id, "a", SUCCEEDED)
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
            *(backends[n % 3].report_member(group_id, f"{n}", SUCCEEDED) for n in range(4))
        )
        assert any(group.complete for group in groups)
