"""Test compositions with results in PostgreSQL, on both brokers."""

import asyncio
import contextlib

import pytest
from composing import retried
from support import PATIENCE

from stem_amqp import FailedMember, GroupResults, TaskFailedError, chain, chord, group


class Numbers:
    """The tasks of these tests."""

    def __init__(self, stem):
        self.in_stock = False
        self.totals = 0

        @stem.task("add", result_ttl=600)
        async def add(first: int, second: int) -> int:
            return first + second

        @stem.task("total", result_ttl=600)
        async def total(numbers: list[int]) -> int:
            self.totals += 1
            return sum(numbers)

        @stem.task("total.read", result_ttl=600)
        async def read(numbers: GroupResults[int]) -> int:
            return sum([number async for number in numbers])

        @stem.task("judge", result_ttl=600)
        async def judge(results: list[int | FailedMember]) -> list[str]:
            return ["bad" if isinstance(one, dict) else "good" for one in results]

        @stem.task("fail", max_retries=0, result_ttl=600)
        async def fail(number: int) -> int:
            if not self.in_stock:
                raise ValueError("out of stock")
            return number

        self.add, self.total, self.read, self.judge, self.fail = add, total, read, judge, fail


@pytest.fixture
def stem(make_stem, stem_postgres_url):
    """Return an application on each kind of broker, with results in PostgreSQL."""
    return make_stem(backend_url=stem_postgres_url)


@pytest.fixture
async def numbers(stem):
    """Yield the tasks, which a worker runs."""
    tasks = Numbers(stem)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(stem)
        await stack.enter_async_context(stem.worker(concurrency=20).running())
        yield tasks


async def result(part):
    """Enqueue a composition, and return its result."""
    return await (await part.enqueue()).result(timeout=PATIENCE)


async def test_chains_groups_and_chords_have_their_results(numbers):
    """Also nested, and with more members than a worker runs at a time."""
    add, total = numbers.add, numbers.total
    assert await result(chain(add.s(1, 2), add.s(3), add.s(4))) == 10
    assert await result(group(add.s(1, 2), add.s(3, 4))) == [3, 7]
    assert await result(chord(group(add.s(number, 1) for number in range(50)), total.s())) == 1275
    assert await result(group(add.s(number, 1) for number in range(50)) | numbers.read.s()) == 1275
    inner = group(add.s(1, 2), add.s(3, 4)) | total.s()
    assert await result(group(inner, add.s(5, 6)) | total.s() | add.s(1)) == 22
    assert numbers.totals == 3


async def test_each_member_has_a_state_once_its_group_has_ended(numbers, stem):
    """The states that are stored with the reports are those that a task without a group has."""
    members = group(numbers.add.s(number, 1) for number in range(30))
    handle = await (members | numbers.total.s()).enqueue()
    assert await handle.result(timeout=PATIENCE) == 465
    backend = stem.connected.backend
    ids = [f"{handle.id}.0.{number}" for number in range(30)]
    records = await asyncio.gather(*(backend.wait(task_id, PATIENCE) for task_id in ids))
    assert [record.result for record in records] == [b"%d" % number for number in range(1, 31)]


@pytest.mark.parametrize(
    ("policy", "callback", "expected"),
    [("collect", "judge", ["good", "bad", "good"]), ("ignore", "total", 10)],
)
async def test_a_failed_member_leaves_the_callback_to_the_policy(
    numbers, policy, callback, expected
):
    """The callback gets an entry of the failed member, or the results of the others."""
    members = group(numbers.add.s(1, 2), numbers.fail.s(3), numbers.add.s(3, 4), policy=policy)
    assert await result(members | getattr(numbers, callback).s()) == expected


async def test_a_group_goes_on_after_its_failed_member_is_replayed(numbers, stem):
    """The callback of a group that needs all results runs once all have succeeded."""
    handle = await (group(numbers.add.s(1, 2), numbers.fail.s(3)) | numbers.total.s()).enqueue()
    with pytest.raises(TaskFailedError, match="link-failed"):
        await handle.result(timeout=PATIENCE)
    numbers.in_stock = True

    await retried(stem, handle, b"6")
    assert numbers.totals == 1
