"""Contract of every result backend: expiry and closing."""

from __future__ import annotations

import pytest

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.results.base import MemberReport
from stem_amqp.states import TaskState
from stem_amqp.testing.backend_contract.sides import Sides

QUEUED, RUNNING, RETRYING = TaskState.QUEUED, TaskState.RUNNING, TaskState.RETRYING
SUCCEEDED = TaskState.SUCCEEDED


class TimeContract:
    """Records expire with their TTL, and a closed backend raises errors."""

    async def test_a_record_is_forgotten_after_its_ttl(self, sides: Sides) -> None:
        """A TTL counts from the last change; after it a task is unknown, and can be stored again."""
        task_id = await sides.queued(ttl=100)
        sides.clock.advance(99)
        await sides.worker.transition([sides.change(task_id, SUCCEEDED, ttl=100)])
        await sides.arrived()
        sides.clock.advance(99)
        assert (await sides.record(task_id)).state is SUCCEEDED
        sides.clock.advance(1)
        assert await sides.producer.get(task_id) is None
        await sides.worker.report_progress([sides.progress(task_id, 0.5)])
        await sides.arrived()
        assert await sides.producer.get(task_id) is None
        await sides.worker.transition([sides.change(task_id, RUNNING, ttl=100)])
        record = await sides.seen(task_id)
        assert (record.state, record.created_at) == (RUNNING, sides.clock.time())

    async def test_a_change_after_the_ttl_begins_a_new_record(self, sides: Sides) -> None:
        """An expired record neither guards a task nor leaves values, even if it is still in the store."""
        succeeded, progressed = await sides.queued(ttl=10), await sides.queued(ttl=10)
        await sides.worker.transition([sides.change(succeeded, SUCCEEDED, ttl=10)])
        await sides.worker.report_progress([sides.progress(progressed, 0.5, ttl=10)])
        assert (await sides.seen(progressed)).progress is not None
        sides.clock.advance(11)
        await sides.worker.transition(
            [sides.change(succeeded, QUEUED), sides.change(progressed, RETRYING)]
        )
        record = await sides.seen(succeeded)
        assert (record.state, record.created_at) == (QUEUED, sides.clock.time())
        assert (await sides.record(progressed)).progress is None

    async def test_purge_removes_what_has_expired_and_nothing_else(self, sides: Sides) -> None:
        """Purging counts the removed records, and keeps those within their TTL."""
        short = [await sides.queued(ttl=10) for _ in range(3)]
        long = await sides.queued(ttl=1000)
        sides.clock.advance(11)
        assert await sides.producer.purge_expired() == 3
        assert await sides.producer.purge_expired() == 0
        assert [await sides.producer.get(task_id) for task_id in short] == [None] * 3
        assert (await sides.record(long)).state is QUEUED

    async def test_what_is_stored_is_there_after_every_instance_was_closed(
        self, sides: Sides
    ) -> None:
        """Results, groups and keys outlive the process that wrote them."""
        if not sides.stores:
            pytest.skip("a reply is kept by its producer alone")
        task_id, group_id = await sides.queued(), await sides.group(1)
        await sides.worker.transition([sides.change(task_id, SUCCEEDED, result=b"[5]")])
        member = MemberReport(
            group_id=group_id, index=0, task_id=task_id, state=SUCCEEDED, value=b"[5]"
        )
        await sides.worker.report_members([member])
        assert await sides.worker.claim_group(group_id, "a")
        if sides.worker.keeps_keys:
            await sides.worker.claim_key("k", "a", ttl=600)
        await sides.close()
        later = await sides.another()
        record, group = await later.get(task_id), await later.get_group(group_id)
        assert record is not None
        assert (record.state, record.result) == (SUCCEEDED, b"[5]")
        assert group is not None
        assert (group.done, group.complete, group.claimed_by) == (1, True, "a")
        members = await later.group_members(group_id)
        assert [(member.task_id, member.value) for member in members] == [(task_id, b"[5]")]
        if later.keeps_keys:
            assert (await later.claim_key("k", "b", ttl=600)).owner == "a"

    async def test_ping_answers_and_a_closed_backend_says_so(self, sides: Sides) -> None:
        """An open backend answers; a closed one raises an error that names it."""
        await sides.worker.ping()
        await sides.worker.close()
        await sides.worker.close()
        for call in (
            sides.worker.ping(),
            sides.worker.get("x"),
            sides.worker.wait("x", 5),
            sides.worker.transition([sides.change("x", QUEUED)]),
        ):
            with pytest.raises(BackendUnavailableError):
                await call
        assert await sides.queued()
