"""Contract of every result backend: waiting for tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from stem_amqp.errors import ResultTimeoutError
from stem_amqp.messages.message import new_id
from stem_amqp.results.base import TaskRecord
from stem_amqp.states import FINAL, TaskState
from stem_amqp.testing.backend_contract.sides import Sides

PROMPT = 15.0
"""Seconds in which a waiter wakes even on a busy machine; the look-up that replaces lost news is later."""
RUNNING, SUCCEEDED = TaskState.RUNNING, TaskState.SUCCEEDED


async def started(*coroutines: Coroutine[Any, Any, TaskRecord]) -> list[asyncio.Task[TaskRecord]]:
    """Start waiting, and return the asyncio tasks once they wait."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in tasks)
    return tasks


class WaitingContract:
    """The end of a task wakes its waiters, whichever process stores it."""

    @pytest.mark.parametrize("state", sorted(FINAL))
    async def test_a_waiter_in_another_instance_wakes_up_at_every_end(
        self, sides: Sides, state: TaskState
    ) -> None:
        """A waiter gets the record as soon as a worker in another process has stored it."""
        task_id = await sides.queued()
        (waiting,) = await started(sides.producer.wait(task_id, 20))
        await sides.worker.transition([sides.change(task_id, RUNNING)])
        stored = time.monotonic()
        await sides.worker.transition([sides.change(task_id, state)])
        record = await waiting
        assert (record.task_id, record.state) == (task_id, state)
        assert time.monotonic() - stored < PROMPT

    async def test_waiting_after_the_end_returns_at_once(self, sides: Sides) -> None:
        """The wait for a result that already exists returns at once."""
        task_id = await sides.queued()
        await sides.worker.transition([sides.change(task_id, SUCCEEDED, result=b"5")])
        await sides.arrived()
        assert (await sides.producer.wait(task_id)).result == b"5"
        assert (await sides.producer.wait(task_id, 0)).result == b"5"

    async def test_one_can_wait_for_a_task_that_is_not_known_yet(self, sides: Sides) -> None:
        """A waiter that starts before the first change is woken too."""
        task_id = new_id()
        (waiting,) = await started(sides.producer.wait(task_id, 20))
        await sides.worker.transition([sides.change(task_id, SUCCEEDED)])
        assert (await waiting).state is SUCCEEDED

    async def test_a_waiter_in_the_same_instance_wakes_up(self, sides: Sides) -> None:
        """A producer that is a worker too wakes its own waiters."""
        task_id = await sides.queued()
        (waiting,) = await started(sides.producer.wait(task_id, 20))
        await sides.producer.transition([sides.change(task_id, SUCCEEDED, result=b"3")])
        assert (await waiting).result == b"3"

    async def test_waiting_ends_at_its_timeout_and_names_the_last_state(self, sides: Sides) -> None:
        """A timeout raises a subclass of TimeoutError with the last known state."""
        task_id = await sides.queued()
        began = time.monotonic()
        with pytest.raises(ResultTimeoutError, match=rf"{task_id}.*queued"):
            await sides.producer.wait(task_id, 0.1)
        assert 0.09 <= time.monotonic() - began < PROMPT
        with pytest.raises(TimeoutError, match="nothing is known"):
            await sides.producer.wait(new_id(), 0)

    async def test_a_timeout_does_not_disturb_those_who_wait_longer(self, sides: Sides) -> None:
        """Each waiter has a separate timeout."""
        task_id = await sides.queued()
        (patient,) = await started(sides.producer.wait(task_id, 20))
        with pytest.raises(ResultTimeoutError):
            await sides.producer.wait(task_id, 0.05)
        cancelled = asyncio.create_task(sides.producer.wait(task_id))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        await sides.worker.transition([sides.change(task_id, SUCCEEDED)])
        assert (await patient).state is SUCCEEDED
        assert cancelled.cancelled()

    async def test_many_waiters_on_one_task_all_wake_up(self, sides: Sides) -> None:
        """A result wakes all of its waiters."""
        task_id = await sides.queued()
        waiting = await started(*(sides.producer.wait(task_id, 20) for _ in range(50)))
        await sides.worker.transition([sides.change(task_id, SUCCEEDED, result=b"[1]")])
        assert [record.result for record in await asyncio.gather(*waiting)] == [b"[1]"] * 50

    async def test_each_waiter_gets_the_result_of_its_own_task(self, sides: Sides) -> None:
        """Hundreds of tasks that end at once wake the right waiters."""
        tasks = [await sides.queued() for _ in range(200)]
        waiting = await started(*(sides.producer.wait(task_id, 20) for task_id in tasks))
        changes = [
            sides.change(task_id, SUCCEEDED, result=str(number).encode())
            for number, task_id in enumerate(tasks)
        ]
        await sides.worker.transition(changes[:100])
        for change in changes[100:]:
            await sides.worker.transition([change])
        records = await asyncio.gather(*waiting)
        assert [record.result for record in records] == [str(n).encode() for n in range(200)]

    @pytest.mark.parametrize("side", ["worker", "producer"])
    async def test_a_waiter_misses_no_end_however_the_two_race(
        self, sides: Sides, side: str
    ) -> None:
        """An end at any time around the start of the wait is seen, wherever it is stored."""
        for turns in (0, 0, *range(30)):
            task_id = new_id()
            change = sides.change(task_id, SUCCEEDED)
            storing = asyncio.create_task(getattr(sides, side).transition([change]))
            for _ in range(turns):
                await asyncio.sleep(0)
            assert (await sides.producer.wait(task_id, 20)).state is SUCCEEDED
            await storing

    async def test_a_change_that_is_no_end_wakes_nobody(self, sides: Sides) -> None:
        """Running and retrying do not wake a waiter."""
        task_id = await sides.queued()
        (waiting,) = await started(sides.producer.wait(task_id, 20))
        await sides.worker.transition([sides.change(task_id, RUNNING)])
        await sides.worker.transition([sides.change(task_id, TaskState.RETRYING)])
        assert (await sides.seen(task_id)).state is TaskState.RETRYING
        assert not waiting.done()
        await sides.worker.transition([sides.change(task_id, SUCCEEDED, attempt=1)])
        assert (await waiting).attempt == 1

    async def test_closing_cancels_the_waiters_of_that_instance_only(self, sides: Sides) -> None:
        """Closing a backend cancels its waiters; those of other instances keep waiting."""
        task_id = await sides.queued()
        other = await sides.another()
        here, there = await started(other.wait(task_id), sides.producer.wait(task_id, 20))
        await other.close()
        with pytest.raises(asyncio.CancelledError):
            await here
        await sides.worker.transition([sides.change(task_id, SUCCEEDED)])
        assert (await there).state is SUCCEEDED

    async def test_closing_cancels_a_waiter_however_the_two_race(self, sides: Sides) -> None:
        """A waiter that still looks its task up when the backend closes is cancelled too."""
        task_id = await sides.queued()
        for turns in (1, 2, 4, 8, 16, 32):
            other = await sides.another()
            waiting = asyncio.create_task(other.wait(task_id))
            for _ in range(turns):
                await asyncio.sleep(0)
            await other.close()
            with pytest.raises(asyncio.CancelledError):
                await waiting
