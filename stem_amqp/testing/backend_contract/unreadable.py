"""Contract of result backends: unreadable records, which another program has written."""

from __future__ import annotations

import asyncio
import itertools

from stem_amqp.results.base import ResultBackend
from stem_amqp.results.filters import query_of
from stem_amqp.states import TaskState
from stem_amqp.testing.backend_contract.lists import pages
from stem_amqp.testing.backend_contract.sides import Sides, Spoil


class UnreadableContract:
    """A record that cannot be read is skipped, and hides no other."""

    async def test_reading_goes_on_past_an_unreadable_record(
        self, sides: Sides, spoils: dict[str, Spoil]
    ) -> None:
        """It is reported as unknown; all others are returned."""
        before, spoiled, after = await _three(sides)
        for name, spoil in spoils.items():
            await spoil(spoiled)
            for backend in (sides.producer, sides.worker):
                await backend.get(spoiled)
                assert await _known(backend, before, after), name

    async def test_lists_leave_out_an_unreadable_record(
        self, lists: Sides, spoils: dict[str, Spoil]
    ) -> None:
        """Also page by page, with filters, and in both orders; no page ends early."""
        before, spoiled, after = await _three(lists)
        queries = [
            query_of(oldest_first=oldest, meta={"tenant": "acme"}) for oldest in (True, False)
        ]
        queries += [query_of(oldest_first=oldest, task="shop.*") for oldest in (True, False)]
        for name, spoil in spoils.items():
            await spoil(spoiled)
            for query in queries:
                every = await pages(lists.producer, query, 1)
                found = [record.task_id for record in itertools.chain(*every)]
                assert {before, after} <= set(found), name
                assert len(found) == len(set(found)), name
            counts = await lists.producer.count_tasks()
            assert sum(counts.values()) >= 2, name

    async def test_writing_goes_on_past_an_unreadable_record(
        self, sides: Sides, spoils: dict[str, Spoil]
    ) -> None:
        """A batch that contains its task stores all others."""
        _, spoiled, _ = await _three(sides)
        for name, spoil in spoils.items():
            await spoil(spoiled)
            other = await sides.queued()
            states = (TaskState.RUNNING, TaskState.SUCCEEDED)
            for state in states:
                changes = [sides.change(one, state) for one in (spoiled, other)]
                assert (await sides.worker.transition(changes))[1], name
            await sides.worker.report_progress([sides.progress(spoiled, 0.5)])
            assert (await sides.record(other)).state is TaskState.SUCCEEDED, name
            await sides.worker.purge_expired()

    async def test_waiting_goes_on_past_an_unreadable_record(
        self, sides: Sides, spoils: dict[str, Spoil]
    ) -> None:
        """An unreadable record does not end the wait for another task."""
        for name, spoil in spoils.items():
            spoiled, other = await sides.queued(), await sides.queued()
            for_spoiled = asyncio.ensure_future(sides.producer.wait(spoiled, 60))
            for_other = asyncio.ensure_future(sides.producer.wait(other, 20))
            await asyncio.sleep(0)
            await sides.worker.transition([sides.change(spoiled, TaskState.SUCCEEDED)])
            await spoil(spoiled)
            await sides.worker.transition([sides.change(other, TaskState.SUCCEEDED)])
            assert (await for_other).task_id == other, name
            for_spoiled.cancel()
            await asyncio.gather(for_spoiled, return_exceptions=True)


async def _three(sides: Sides) -> list[str]:
    ids = []
    for _ in range(3):
        ids.append(await sides.queued(meta={"tenant": "acme"}))
        sides.clock.advance(1)
    return ids


async def _known(backend: ResultBackend, *task_ids: str) -> bool:
    return all([await backend.get(task_id) is not None for task_id in task_ids])
