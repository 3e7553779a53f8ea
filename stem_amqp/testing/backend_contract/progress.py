"""Contract of every result backend: progress."""

from __future__ import annotations

from typing import Any

import pytest

from stem_amqp.messages.message import new_id
from stem_amqp.results.base import Progress, TaskRecord
from stem_amqp.states import FINAL, TaskState
from stem_amqp.testing.backend_contract.sides import Sides

QUEUED, RUNNING, RETRYING = TaskState.QUEUED, TaskState.RUNNING, TaskState.RETRYING
SUCCEEDED = TaskState.SUCCEEDED


def fraction(record: TaskRecord) -> float | None:
    """Return the progress of a task, which must exist."""
    assert record.progress is not None
    return record.progress.fraction


class ProgressContract:
    """Progress is for tasks that run."""

    async def test_progress_is_seen_on_the_other_side(self, sides: Sides) -> None:
        """The producer can read a task's progress, which survives a retry."""
        task_id = await sides.queued()
        await sides.worker.transition([sides.change(task_id, RUNNING)])
        await sides.worker.report_progress([sides.progress(task_id, 0.2)])
        update = sides.progress(task_id, 0.5, message="halb übers Wasser", data={"rows": [1, 2]})
        await sides.worker.report_progress([update])
        assert (await sides.seen(task_id)).progress == update.progress
        await sides.worker.transition([sides.change(task_id, SUCCEEDED)])
        record = await sides.seen(task_id)
        assert (record.state, record.progress) == (SUCCEEDED, update.progress)

    @pytest.mark.parametrize("state", sorted(FINAL))
    async def test_progress_after_the_end_is_ignored(self, sides: Sides, state: TaskState) -> None:
        """A late update does not change a task that has ended, and creates no record."""
        task_id, unknown = await sides.queued(), new_id()
        await sides.worker.transition([sides.change(task_id, state)])
        await sides.worker.report_progress(
            [sides.progress(task_id, 0.9), sides.progress(unknown, 0.9)]
        )
        record = await sides.seen(task_id)
        assert (record.state, record.progress) == (state, None)
        assert await sides.producer.get(unknown) is None

    async def test_a_new_run_begins_without_the_progress_of_the_last_one(
        self, sides: Sides
    ) -> None:
        """The progress of the first run does not apply to the second."""
        task_id = await sides.queued()
        await sides.worker.report_progress([sides.progress(task_id, 0.5)])
        await sides.worker.transition([sides.change(task_id, RETRYING)])
        assert fraction(await sides.seen(task_id)) == 0.5
        await sides.worker.transition([sides.change(task_id, RUNNING, attempt=1)])
        assert (await sides.seen(task_id)).progress is None

    async def test_progress_data_that_is_no_json_does_not_stop_the_others(
        self, sides: Sides
    ) -> None:
        """Data that JSON cannot represent is approximated; the rest of the batch is not lost."""
        odd, other, hopeless = await sides.queued(), await sides.queued(), await sides.queued()
        loop: list[Any] = []
        loop.append(loop)
        await sides.worker.report_progress(
            [
                sides.progress(odd, 0.1, data={1: object}, message="a lone \udce9"),
                sides.progress(hopeless, 0.3, data=loop),
                sides.progress(other, 0.2),
            ]
        )
        assert (await sides.seen(other)).progress == Progress(fraction=0.2, at=sides.clock.time())
        assert fraction(await sides.record(odd)) == 0.1
        assert fraction(await sides.record(hopeless)) == 0.3
