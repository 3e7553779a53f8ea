"""Test compositions from end to end: chains, groups, callbacks, handles, on both brokers."""

import asyncio
import contextlib
import time
from collections import Counter

import pytest
from composing import retried
from support import PATIENCE, eventually

from stem_amqp import (
    ConfigurationError,
    FailedMember,
    FailedTask,
    GroupResults,
    ResultTimeoutError,
    TaskContext,
    TaskFailedError,
    chain,
    chord,
    group,
)


class Shop:
    """The tasks of these tests, and what they have done."""

    def __init__(self, stem):
        self.runs = Counter()
        self.failures = []
        self.out_of_stock = True
        self.define_numbers(stem)
        self.define_others(stem)

    def define_numbers(self, stem):

        @stem.task("add")
        async def add(first: int, second: int) -> int:
            self.runs["add"] += 1
            return first + second

        @stem.task("double")
        def double(number: int) -> int:
            return 2 * number

        @stem.task("name")
        async def name(number: int) -> str:
            return f"n{number}"

        @stem.task("total")
        async def total(numbers: list[int]) -> int:
            self.runs["total"] += 1
            return sum(numbers)

        @stem.task("total.read")
        async def total_read(numbers: GroupResults[int]) -> int:
            return sum([number async for number in numbers])

        self.add, self.double, self.name, self.total = add, double, name, total
        self.total_read = total_read

    def define_others(self, stem):
        @stem.task("judge")
        async def judge(results: list[int | FailedMember]) -> list[str]:
            return ["bad" if isinstance(one, dict) else "good" for one in results]

        @stem.task("fail", max_retries=0)
        async def fail(number: int) -> int:
            if self.out_of_stock:
                raise ValueError("out of stock")
            return number

        @stem.task("report")
        async def report(failed: FailedTask) -> None:
            self.failures.append(failed)

        @stem.task("lineage")
        async def lineage(ctx: TaskContext, before: list[str | None]) -> list[str | None]:
            return [ctx.root, ctx.parent, *ctx.meta.values()]

        @stem.task("outer")
        async def outer(ctx: TaskContext, number: int) -> str:
            handle = await (lineage.s([]) | lineage.s()).enqueue(id=f"inner-{number}")
            return handle.id

        self.judge, self.fail, self.report = judge, fail, report
        self.lineage, self.outer = lineage, outer


@contextlib.asynccontextmanager
async def working(stem):
    """Run a worker with the tasks of these tests."""
    shop = Shop(stem)
    async with stem, stem.worker(concurrency=20).running():
        yield shop


async def result(part):
    """Enqueue a composition, and return its result."""
    handle = await part.enqueue()
    return await handle.result(timeout=PATIENCE)


async def failure(part):
    """Enqueue a composition that fails, and return the error."""
    handle = await part.enqueue()
    with pytest.raises(TaskFailedError) as caught:
        await handle.result(timeout=PATIENCE)
    return caught.value


async def test_chains_and_groups_return_the_last_result(stem):
    """Nested in any way."""
    async with working(stem) as shop:
        add, double, total = shop.add, shop.double, shop.total
        adds = group(add.s(number, 1) for number in range(5))
        assert await result(add.s(1, 2)) == 3
        assert await result(add.s(1, 2) | add.s(3) | double.s() | shop.name.s()) == "n12"
        assert await result(chain(add.s(1, 2), double.s())) == 6
        assert await result(add.s(1, 2) | double.si(7)) == 14
        assert await result(adds) == [1, 2, 3, 4, 5]
        assert await result(adds | total.s() | shop.name.s()) == "n15"
        assert await result(chord(adds, shop.total_read.s(), results="stream")) == 15
        assert await result(add.s(1, 2) | group(add.s(1), double.s()) | total.s()) == 10
        assert await result(adds | group(total.s(), total.s())) == [15, 15]
        inner = group(add.s(1, 2), add.s(3, 4)) | total.s() | double.s()
        assert await result(group(inner, add.s(1, 1) | double.s()) | total.s()) == 24
        assert await result(group(group(add.s(1, 2), add.s(3, 4)), group(double.s(1)))) == [
            [3, 7],
            [2],
        ]
        assert await result(double.map(range(3)) | total.s()) == 6
        assert await result(add.starmap([(1, 2), (3, 4)])) == [3, 7]
        assert await result(total.chunks(range(5), 2)) == [1, 5, 4]


async def test_an_empty_group_ends_at_once(stem):
    """Its continuation runs with an empty list."""
    async with working(stem) as shop:
        for part, expected in [
            (group([]), []),
            (group([]) | shop.total.s(), 0),
            (chord(group(), shop.total_read.s(), results="stream"), 0),
        ]:
            handle = await stem.enqueue_composition(part)
            assert await handle.result(timeout=PATIENCE) == expected
        assert await result(shop.add.s(1, 2) | group([]) | shop.total.s()) == 0
        with pytest.raises(ConfigurationError, match=r"stem\.enqueue_composition"):
            await group([]).enqueue()


async def test_policies_say_what_a_failed_member_means(stem):
    """The error of the last link names the link that failed."""
    async with working(stem) as shop:
        members = [shop.add.s(1, 2), shop.fail.s(3)]
        error = await failure(group(members) | shop.total.s())
        assert error.reason == "link-failed"
        assert "ValueError: out of stock" in (error.error or "")
        assert "out of stock" in str(await failure(group(members)))
        assert await result(group(members, policy="collect") | shop.judge.s()) == ["good", "bad"]
        first, second = await result(group(members, policy="collect"))
        assert first == 3
        assert (second["index"], second["state"]) == (1, "failed")
        assert "out of stock" in second["error"]
        assert await result(group(members, policy="ignore") | shop.total.s()) == 3
        assert await result(group(members, policy="ignore")) == [3]
        assert shop.runs["total"] == 1


async def test_links_on_success_and_on_failure(stem):
    """Those of a chain are enqueued by the link that fails, once."""
    async with working(stem) as shop:
        part = (shop.add.s(1, 2) | shop.fail.s() | shop.double.s()).on_failure(shop.report.s())
        error = await failure(part)
        assert error.reason == "link-failed"
        await eventually(lambda: shop.failures, "the report")
        (failed,) = shop.failures
        assert (failed["task"], failed["error"]) == ("fail", "ValueError: out of stock")

        before = shop.runs["add"]
        handle = await shop.add.s(1, 2).on_success(shop.add.s(10), shop.name.si(1)).enqueue()
        assert await stem.handle(f"{handle.id}.0.ok0").result(timeout=PATIENCE) == 13
        assert await stem.handle(f"{handle.id}.0.ok1").result(timeout=PATIENCE) == "n1"
        assert shop.runs["add"] == before + 2
        assert len(shop.failures) == 1


async def test_a_failure_in_a_group_that_a_group_follows_enqueues_links(stem):
    """There is no link after the group whose failure it could be; each failed member enqueues them."""
    async with working(stem) as shop:
        first = group(shop.fail.s(1), shop.add.s(1, 2))
        part = (first | group(shop.total.s(), shop.total.s())).on_failure(shop.report.s())
        assert (await failure(part)).reason == "link-failed"
        await eventually(lambda: shop.failures, "the report")
        nested = group(group(shop.fail.s(1)) | shop.total.s(), shop.add.s(1, 2))
        assert "out of stock" in str(await failure(nested.on_failure(shop.report.s())))
        await eventually(lambda: len(shop.failures) == 2, "the report of the member")
        assert [one["task"] for one in shop.failures] == ["fail", "total"]
        assert shop.runs["total"] == 0


async def test_a_composition_in_a_task_inherits_its_lineage(stem):
    """Each link has the root of the task that enqueues, and its meta."""
    async with working(stem) as shop:
        handle = await shop.outer.options(meta={"tenant": "acme"}).enqueue(1)
        composition = await handle.result(timeout=PATIENCE)
        last = stem.handle(f"{composition}.1")
        root, parent, tenant = await last.result(timeout=PATIENCE)
        assert (root, parent, tenant) == (handle.id, f"{composition}.0", "acme")


async def test_the_handle_of_a_group_reads_in_pages_and_counts(stem):
    """Results that there are can be read before the group has ended."""
    async with working(stem) as shop:
        members = [shop.add.s(number, 1) for number in range(30)]
        waits = shop.double.s(1).options(delay="1h")
        handle = await group(*members, waits).enqueue()

        async def all_but_one():
            return (await handle.progress()).done == 30

        await eventually(all_but_one, "30 of 31 members")
        assert await handle.progress() == (30, 0, 31)
        found = [one async for one in handle.results(wait=False)]
        assert found == list(range(1, 31))
        assert await handle.members[3].result(timeout=PATIENCE) == 4
        with pytest.raises(ResultTimeoutError, match="30 of 31 members have"):
            await handle.result(timeout=0.01)

        done = await (group(members) | shop.total.s()).enqueue()
        assert await done.result(timeout=PATIENCE) == 465
        assert await done.progress() == (2, 0, 2)
        assert [link.task for link in done.links] == ["total"]


async def test_the_same_id_again_runs_nothing_again(stem):
    """The ids of the tasks are those of the first time."""
    async with working(stem) as shop:
        part = group(shop.add.s(1, 2), shop.add.s(3, 4)) | shop.total.s()
        first = await part.enqueue(id="import-1")
        assert await first.result(timeout=PATIENCE) == 10
        assert first.task_id == "import-1.1"
        second = await part.enqueue(id="import-1")
        assert await second.result(timeout=PATIENCE) == 10
        assert shop.runs["total"] == 1


@contextlib.asynccontextmanager
async def held(stem):
    """Hold all tasks in their queues until the worker has received what is commanded in the block."""
    assert (await stem.control.pause(queue="*", timeout="60s")).complete
    yield
    # commands arrive in their order
    assert (await stem.control.ping(timeout="60s")).complete
    assert (await stem.control.resume(queue="*", timeout="60s")).complete


async def test_a_composition_that_is_cancelled_goes_on_nowhere(stem):
    """The tasks that wait are revoked, and so is what would follow them."""
    async with working(stem) as shop:
        waits = shop.add.s(1, 2)
        async with held(stem):
            handle = await (waits | shop.double.s() | shop.total.si([1])).enqueue()
            await handle.cancel(reason="not needed")
        with pytest.raises(TaskFailedError, match="link-failed"):
            await handle.result(timeout=PATIENCE)
        with pytest.raises(TaskFailedError, match=r"revoked.*not needed"):
            await handle.links[0].result(timeout=PATIENCE)
        assert shop.runs == {}

        def cancelled():
            one = waits.enqueue_blocking()
            one.cancel()
            return one

        async with held(stem):
            one = await asyncio.to_thread(cancelled)
        with pytest.raises(TaskFailedError, match="revoked"):
            await asyncio.to_thread(one.result, PATIENCE)


async def test_a_composition_goes_on_after_its_failed_members_are_retried(stem):
    """The callback runs once the members have succeeded."""
    async with working(stem) as shop:
        handle = await (group(shop.add.s(1, 2), shop.fail.s(3)) | shop.total.s()).enqueue()
        with pytest.raises(TaskFailedError, match="link-failed"):
            await handle.result(timeout=PATIENCE)
        shop.out_of_stock = False

        await retried(stem, handle, b"6")


async def test_blocking_code_enqueues_compositions(stem):
    """With a handle that does not need an event loop."""
    async with working(stem) as shop:

        def work():
            part = group(shop.add.s(1, 2), shop.add.s(3, 4)) | shop.total.s()
            handle = part.enqueue_blocking(id="one")
            grouped = shop.double.map([1, 2]).enqueue_blocking()
            answer = handle.result(PATIENCE), grouped.result(PATIENCE), grouped.progress()
            with stem.blocking() as producer:
                other = producer.enqueue_composition(shop.add.s(1, 1) | shop.double.s())
                return *answer, other.result(PATIENCE)

        assert await asyncio.to_thread(work) == (10, [2, 4], (2, 0, 2), 4)


async def test_blocking_handles_read_results_show_the_tree_and_retry(stem_with_keys):
    """As the handles for an event loop do, with the connections of the blocking producer."""
    stem = stem_with_keys
    async with working(stem) as shop:

        def read():
            handle = group([shop.add.s(1, 2), shop.fail.s(3)], policy="collect").enqueue_blocking()
            results = list(handle.results())
            shop.out_of_stock = False
            replayed = wait_for(handle.retry_failed)
            mended = wait_for(lambda: handle.progress().failed == 0)
            return results, replayed, mended, list(handle.results(wait=False)), handle.tree()

        results, replayed, mended, later, tree = await asyncio.to_thread(read)
        assert results[0] == 3
        assert results[1]["error"].endswith("ValueError: out of stock")
        assert (replayed, mended, later) == (1, True, [3, 3])
        (node,) = tree.nodes
        assert [child.task for child in node.children] == ["add", "fail"]

        def in_pages():
            handle = shop.double.map(range(1001)).enqueue_blocking()
            return list(handle.results())

        assert await asyncio.to_thread(in_pages) == [2 * number for number in range(1001)]


def wait_for(answer):
    """Ask in this thread until the answer is true, and return it."""
    end = time.monotonic() + PATIENCE
    while not (found := answer()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


async def test_a_link_by_name_needs_no_code_here(make_stem):
    """The worker of another application runs it."""
    stem = make_stem(backend_url="memory://by-name")
    front = make_stem(backend_url="memory://by-name")
    async with working(stem), front:
        part = front.link("add", {"first": 1, "second": 2}) | front.link("double", takes="number")
        assert await result(part) == 6


async def compose_all(shop):
    """Run each kind of composition, and return the results."""
    adds = group(shop.add.s(number, 1) for number in range(5))
    return [
        await result(shop.add.s(1, 2) | shop.double.s()),
        await result(adds),
        await result(adds | shop.total.s()),
        await result(chord(adds, shop.total_read.s(), results="stream")),
        await result(group(adds | shop.total.s(), shop.double.s(1)) | shop.total.s()),
    ]


ALL = [6, [1, 2, 3, 4, 5], 15, 15, 17]


async def test_compositions_with_each_store(stem_with_keys):
    """The stores count groups in their own ways."""
    async with working(stem_with_keys) as shop:
        assert await compose_all(shop) == ALL


async def test_compositions_with_replies(make_stem):
    """RabbitMQ counts groups too, of a bounded size."""
    async with working(make_stem(backend_url="rpc://")) as shop:
        assert await compose_all(shop) == ALL
        with pytest.raises(ConfigurationError, match=r"redis://, postgresql:// or sqlite"):
            await shop.double.map(range(1001)).enqueue()
