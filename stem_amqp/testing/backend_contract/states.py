"""Contract of every result backend: states of tasks."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from stem_amqp.messages.message import new_id
from stem_amqp.results.base import Transition
from stem_amqp.results.filters import query_of
from stem_amqp.states import TaskState, may_follow
from stem_amqp.testing.backend_contract.sides import Sides

QUEUED, RUNNING, RETRYING = TaskState.QUEUED, TaskState.RUNNING, TaskState.RETRYING
SUCCEEDED, FAILED = TaskState.SUCCEEDED, TaskState.FAILED

PLACES = list(itertools.product((0, 1, 2), TaskState, (0, 1, 2)))
"""Replays, state and attempt of a task: the arguments of `may_follow`."""


class StatesContract:
    """States only go forward, whatever arrives late, and every field of a change is stored."""

    async def test_every_pair_of_states_is_guarded_as_may_follow_says(self, sides: Sides) -> None:
        """A change is accepted exactly if `may_follow` allows it, for every pair of states."""
        pairs = list(itertools.product(PLACES, PLACES))
        tasks = [new_id() for _ in pairs]

        def changes(which: int) -> list[Transition]:
            return [
                sides.change(task_id, pair[which][1], replay=pair[which][0], attempt=pair[which][2])
                for task_id, pair in zip(tasks, pairs, strict=True)
            ]

        assert all(await sides.worker.transition(changes(0)))
        if sides.stores:
            allowed = [may_follow(current, new) for current, new in pairs]
            assert await sides.worker.transition(changes(1)) == allowed
            assert any(allowed)
            assert not all(allowed)
        else:  # where the producer guards
            await sides.worker.transition(changes(1))
        await sides.arrived()
        for task_id, (current, new) in zip(tasks, pairs, strict=True):
            record = await sides.record(task_id)
            expected = new if may_follow(current, new) else current
            assert (record.replay, record.state, record.attempt) == expected, (current, new)

    async def test_a_task_goes_from_queued_to_its_result(self, sides: Sides) -> None:
        """The record follows the task, and finally has its return value."""
        task_id = await sides.queued(meta={"tenant": "acme"})
        queued = await sides.record(task_id)
        assert (queued.state, queued.result, queued.progress) == (QUEUED, None, None)
        created = sides.clock.time()
        sides.clock.advance(5)
        common = {"meta": {"tenant": "acme"}, "worker": "w1"}
        await sides.worker.transition([sides.change(task_id, RUNNING, **common)])
        sides.clock.advance(5)
        await sides.worker.transition(
            [sides.change(task_id, SUCCEEDED, result=b'{"total": 3}', **common)]
        )
        record = await sides.seen(task_id)
        assert (record.task_id, record.task, record.queue) == (task_id, "shop.sync", "orders")
        assert (record.state, record.result) == (SUCCEEDED, b'{"total": 3}')
        assert (record.attempt, record.replay, record.worker) == (0, 0, "w1")
        assert record.meta == {"tenant": "acme"}
        assert (record.created_at, record.updated_at) == (created, created + 10)

    async def test_a_failure_is_kept_with_its_reason_error_and_traceback(
        self, sides: Sides
    ) -> None:
        """Every field of a failure is stored; fields that a later state omits are removed."""
        task_id = await sides.queued()
        at = sides.clock.time() + 30
        retrying = sides.change(task_id, RETRYING, error="ValueError: no", next_run=at)
        await sides.worker.transition([retrying])
        record = await sides.seen(task_id)
        assert (record.state, record.error, record.next_run) == (RETRYING, "ValueError: no", at)
        details = {
            "reason": "retries-exhausted",
            "error": "OSError: gone",
            "traceback": "line 1\nline 2",
        }
        await sides.worker.transition([sides.change(task_id, FAILED, attempt=1, **details)])
        record = await sides.seen(task_id)
        assert (record.reason, record.error, record.traceback) == tuple(details.values())
        assert (record.next_run, record.result, record.attempt) == (None, None, 1)

    async def test_a_late_queued_or_running_never_overwrites_a_result(self, sides: Sides) -> None:
        """Neither the producer's late ``queued`` nor a delayed change of the worker sets a fast task back."""
        task_id = new_id()
        await sides.worker.transition([sides.change(task_id, SUCCEEDED, result=b"7")])
        await sides.arrived()
        assert await sides.producer.transition([sides.change(task_id, QUEUED)]) == [False]
        late = await sides.worker.transition([sides.change(task_id, RUNNING)])
        assert late == ([False] if sides.stores else [True])
        record = await sides.seen(task_id)
        assert (record.state, record.result) == (SUCCEEDED, b"7")

    async def test_a_replay_opens_a_failed_task_again_and_late_news_of_before_do_not(
        self, sides: Sides
    ) -> None:
        """With a higher replay count a task runs again; changes with the earlier count are refused."""
        task_id = await sides.queued()
        await sides.worker.transition([sides.change(task_id, FAILED, attempt=3, error="E: 1")])
        await sides.worker.transition([sides.change(task_id, QUEUED, replay=1)])
        record = await sides.seen(task_id)
        assert (record.state, record.replay, record.attempt, record.error) == (QUEUED, 1, 0, None)
        await sides.worker.transition([sides.change(task_id, RUNNING, replay=0, attempt=4)])
        await sides.worker.transition([sides.change(task_id, FAILED, replay=0, attempt=4)])
        assert (await sides.seen(task_id)).state is QUEUED
        await sides.worker.transition([sides.change(task_id, SUCCEEDED, replay=1)])
        assert (await sides.seen(task_id)).state is SUCCEEDED

    async def test_a_batch_of_a_thousand_is_stored_whole(self, sides: Sides) -> None:
        """A large batch is one call, and every task of it is stored afterwards."""
        tasks = [new_id() for _ in range(1000)]
        changes = [
            sides.change(task_id, SUCCEEDED, result=str(number).encode())
            for number, task_id in enumerate(tasks)
        ]
        assert await sides.worker.transition(changes) == [True] * 1000
        await sides.arrived()
        results = [(await sides.record(task_id)).result for task_id in tasks]
        assert results == [str(number).encode() for number in range(1000)]

    async def test_several_changes_of_one_task_in_a_batch_keep_their_order(
        self, sides: Sides
    ) -> None:
        """Each change of a batch is checked after those before it were applied."""
        task_id = await sides.queued()
        states = [RUNNING, RETRYING, RUNNING, SUCCEEDED, RUNNING]
        attempts = [0, 0, 1, 1, 2]
        changes = [
            sides.change(task_id, state, attempt=attempt)
            for state, attempt in zip(states, attempts, strict=True)
        ]
        accepted = await sides.worker.transition(changes)
        assert accepted == [True, True, True, True, not sides.stores]
        record = await sides.seen(task_id)
        assert (record.state, record.attempt) == (SUCCEEDED, 1)

    async def test_an_empty_batch_is_no_error(self, sides: Sides) -> None:
        """An empty batch returns at once."""
        assert await sides.worker.transition([]) == []
        await sides.worker.report_progress([])

    async def test_large_and_non_ascii_values_arrive_unchanged(self, sides: Sides) -> None:
        """Result bytes are returned unchanged, whatever their size, alphabet and digits."""
        large = b'"' + b"x" * 1_000_000 + b'"'
        exact = '{"größe": 1180591620717411303424, "π":3.14000,  "雪":"☃"}'.encode()
        first, second, third = await sides.queued(), await sides.queued(), await sides.queued()
        meta = {"kunde": "Änne 🙂"}
        await sides.worker.transition(
            [
                sides.change(first, SUCCEEDED, result=large),
                sides.change(second, SUCCEEDED, result=exact, meta=meta),
                sides.change(
                    third, FAILED, error="OSError: 'caf\udce9.txt'", traceback="zeile «1»\0"
                ),
            ]
        )
        assert (await sides.seen(first)).result == large
        record = await sides.record(second)
        assert (record.result, record.meta) == (exact, meta)
        record = await sides.record(third)
        assert record.error in {"OSError: 'caf\\udce9.txt'", "OSError: 'caf\udce9.txt'"}
        assert record.traceback == "zeile «1»\0"

    async def test_every_process_sees_what_is_stored_and_a_reply_only_its_producer(
        self, sides: Sides
    ) -> None:
        """A store answers every process; a backend with replies delivers a result only to its producer."""
        task_id = await sides.queued()
        await sides.worker.transition([sides.change(task_id, SUCCEEDED)])
        assert (await sides.seen(task_id)).state is SUCCEEDED
        for stranger in (sides.worker, await sides.another()):
            record = await stranger.get(task_id)
            assert (record is not None and record.state is SUCCEEDED) is sides.stores

    async def test_what_nobody_wants_a_reply_to_is_accepted(self, sides: Sides) -> None:
        """Without a reply address a store keeps the change nevertheless; other backends drop it."""
        task_id = new_id()
        change = sides.change(task_id, SUCCEEDED, reply_to=None)
        assert await sides.worker.transition([change]) == [True]
        await sides.arrived()
        assert (await sides.producer.get(task_id) is not None) is sides.stores

    @pytest.mark.parametrize("text", ["a\0b", "\0", "a\nb", 'a"b\\c', "é€\U0001f40d"])
    async def test_whatever_characters_names_have_they_are_stored(
        self, sides: Sides, text: str
    ) -> None:
        """An id, a task's name or a queue may come from another program: its result is kept."""
        task_id = f"{new_id()}{text}"
        names = {"task": f"t{text}", "queue": f"q{text}", "worker": f"w{text}"}
        queued = sides.change(task_id, TaskState.QUEUED, **names)
        assert await sides.producer.transition([queued]) == [True]
        # The wait is longer than the test, so a backend that checks only at its end fails.
        waiting = asyncio.ensure_future(sides.producer.wait(task_id, 3600))
        await asyncio.sleep(0)
        change = sides.change(task_id, TaskState.SUCCEEDED, reason=text, error=text, **names)
        assert await sides.worker.transition([change]) == [True]
        async with asyncio.timeout(20):
            record = await waiting
        assert (record.task_id, record.result) == (task_id, b"1")
        assert (record.task, record.queue, record.worker) == tuple(names.values())
        if sides.producer.lists_tasks:
            query = query_of(queue=names["queue"])
            listed = await sides.producer.list_tasks(query)
            assert [one.task_id for one in listed] == [task_id]
