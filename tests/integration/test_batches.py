"""Batches with workers and a broker: members from several processes and from inside members."""

import asyncio
from collections import Counter

from support import eventually

from stem_amqp import BatchSummary


async def test_members_from_everywhere_are_counted_and_the_callback_runs_once(stem):
    """Two producers and the members themselves add to one batch, while two workers run it."""
    runs, ended = Counter(), []

    @stem.task("row", queue="rows")
    async def row(number: int) -> int:
        runs[number] += 1
        return number

    @stem.task("file", queue="rows")
    async def file(batch: str, first: int) -> None:
        opened = stem.batch(id=batch)
        await opened.add_many(row.s(first + offset) for offset in range(20))

    @stem.task("done", queue="ends")
    async def done(summary: BatchSummary) -> None:
        ended.append(summary)

    async with stem, stem.worker(concurrency=5).running(), stem.worker(concurrency=5).running():
        async with stem.batch(on_complete=done.s()) as batch:
            other = stem.batch(id=batch.id)
            await asyncio.gather(
                *(one.add(file.s(batch.id, 1000 * n)) for n, one in enumerate([batch, other] * 3))
            )

            async def all_added():
                return (await batch.progress()).size == 126

            await eventually(all_added, "the rows of six files")
        assert await eventually(lambda: ended, "the callback")
        assert str(await batch.progress()) == "126 of 126"
        assert sum([one is not None async for one in batch.results()]) == 120
    assert ended == [{"batch": batch.id, "size": 126, "failed": 0}]
    assert set(runs.values()) == {1}
    assert len(runs) == 120
