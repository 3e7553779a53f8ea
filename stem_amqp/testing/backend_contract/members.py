"""Contract of every result backend: the members of groups, and their results."""

from __future__ import annotations

import pytest

from stem_amqp.errors import ConfigurationError
from stem_amqp.results.base import MemberReport
from stem_amqp.states import TaskState
from stem_amqp.testing.backend_contract.groups import counts, failed, known, reported, succeeded
from stem_amqp.testing.backend_contract.sides import Sides

SUCCEEDED, FAILED, REVOKED = TaskState.SUCCEEDED, TaskState.FAILED, TaskState.REVOKED


class MembersContract:
    """Members keep how they ended, and are read in pages."""

    async def test_a_failure_can_be_mended_and_a_success_stays(self, sides: Sides) -> None:
        """A replayed member that succeeds replaces its failure, once; nothing replaces a success."""
        group_id = await sides.group(2)
        assert counts(await reported(sides.worker, failed(group_id, 1))) == [(1, 1, False)]
        assert counts(await reported(sides.worker, failed(group_id, 1, state=REVOKED))) == [
            (1, 1, False)
        ]
        assert counts(await reported(sides.worker, failed(group_id, 0))) == [(2, 2, True)]
        assert counts(await reported(sides.worker, succeeded(group_id, 1, 0))) == [
            (2, 1, True),
            (2, 0, True),
        ]
        later = [*succeeded(group_id, 1), *failed(group_id, 0)]
        assert counts(await reported(sides.producer, later)) == [(2, 0, True)] * 2
        members = await sides.worker.group_members(group_id)
        assert [(member.state, member.value, member.error) for member in members] == [
            (SUCCEEDED, b"0", None),
            (SUCCEEDED, b"1", None),
        ]
        assert await sides.worker.group_members(group_id, failed=True) == []

    async def test_a_failure_and_its_success_in_one_batch_count_as_a_success(
        self, sides: Sides
    ) -> None:
        """The batch has the same end as its reports one by one."""
        group_id = await sides.group(1)
        batch = [*failed(group_id, 0), *succeeded(group_id, 0)]
        last = (await reported(sides.worker, batch))[-1]
        assert counts([last, await known(sides.worker, group_id)]) == [(1, 0, True)] * 2
        (member,) = await sides.worker.group_members(group_id)
        assert (member.state, member.value) == (SUCCEEDED, b"0")

    async def test_the_first_failure_is_named(self, sides: Sides) -> None:
        """Every report after it has its index and error, so that exactly its reporter can act."""
        group_id = await sides.group(9)
        after = await reported(sides.worker, succeeded(group_id, 0))
        after += await reported(sides.worker, failed(group_id, 7, 5))
        after += await reported(sides.worker, [*failed(group_id, 1), *succeeded(group_id, 5)])
        assert [group.first_failed for group in after[-2:]] == [after[1].first_failed] * 2
        assert after[0].first_failed is None
        assert after[-1].first_failed in {5, 7}
        for group in (after[-1], await known(sides.producer, group_id)):
            assert (group.first_error or "").startswith(f"ValueError: {group.first_failed} ")
        assert after[-1].failed == 2

    async def test_members_come_in_pages_by_index(self, sides: Sides) -> None:
        """Pages are by index, whatever the order of the reports, and can be of one kind only."""
        group_id = await sides.group(25)
        worker = sides.worker
        await reported(worker, succeeded(group_id, *range(20, 0, -2)))
        await reported(worker, failed(group_id, 24, 1, 9))
        everything = [1, 2, 4, 6, 8, 9, 10, 12, 14, 16, 18, 20, 24]
        for limit in (1, 4, 13, 1000):
            found: list[int] = []
            while True:
                after = found[-1] if found else -1
                page = await sides.producer.group_members(group_id, after=after, limit=limit)
                found += [member.index for member in page]
                assert len(page) <= limit
                if len(page) < limit:
                    break
            assert found == everything
        broken = await worker.group_members(group_id, failed=True, limit=2)
        broken += await worker.group_members(group_id, failed=True, after=9, limit=2)
        assert [(member.index, member.task_id, member.state) for member in broken] == [
            (index, f"task-{index}", FAILED) for index in (1, 9, 24)
        ]
        assert all((member.error or "").startswith("ValueError: ") for member in broken)
        good = await worker.group_members(group_id, failed=False, after=2, limit=3)
        assert [member.index for member in good] == [4, 6, 8]
        for place, limit in ((-1, 0), (-1, 1_000_000), (-2, 1)):
            with pytest.raises(ConfigurationError):
                await worker.group_members(group_id, after=place, limit=limit)

    async def test_values_come_back_unchanged(self, sides: Sides) -> None:
        """Any bytes are a value, also none, empty and large ones; so is any text an error or an id."""
        values = [None, b"", b"null", b'"a\\nb"\n\n', bytes(range(256)), b"x" * 100_000]
        group_id = await sides.group(len(values))
        reports = [
            MemberReport(
                group_id=group_id, index=index, task_id=f"é-{index}", state=SUCCEEDED, value=value
            )
            for index, value in enumerate(values)
        ]
        await reported(sides.worker, reports)
        members = await sides.producer.group_members(group_id)
        assert [member.value for member in members] == values
        assert [member.task_id for member in members] == [report.task_id for report in reports]
