"""Test what follows the tasks of compositions: chains, groups and their continuations, on both brokers."""

import asyncio
import contextlib
from collections import Counter

import pytest
from composing import (
    QUEUE,
    compose,
    end_of,
    failure_of,
    group,
    link,
    replay_all,
    result_of,
    settled,
)
from support import eventually

from stem_amqp import Snooze, TaskState
from stem_amqp.dead_letter import DeadLetters
from stem_amqp.producer.linking.results import GroupResults

FAST = {"base": "10ms", "factor": 1, "jitter": 0}


class Broken:
    """Whether tasks fail, and how often each ran."""

    def __init__(self):
        self.on = True
        self.runs = Counter()


def with_tasks(stem):
    """Add the tasks of these tests, and return what they share."""
    shared = Broken()

    @stem.task("add", queue=QUEUE)
    async def add(a: int, b: int = 1) -> int:
        shared.runs["add", a] += 1
        return a + b

    @stem.task("total", queue=QUEUE)
    async def total(values: list[int]) -> int:
        shared.runs["total"] += 1
        return sum(values)

    @stem.task("keep", queue=QUEUE)
    async def keep(values: object) -> object:
        shared.runs["keep"] += 1
        return values

    @stem.task("stream", queue=QUEUE)
    async def stream(values: GroupResults[int]) -> int:
        return sum([value async for value in values])

    @stem.task("stream.sync", queue=QUEUE)
    def stream_sync(values: GroupResults[int]) -> list[int]:
        first, second = list(values), list(values)
        assert first == second
        return first

    with_failing_tasks(stem, shared)
    return shared


def with_failing_tasks(stem, shared):
    """Add the tasks that fail or snooze."""

    @stem.task("break", queue=QUEUE, max_retries=0)
    async def broken(a: int = 0) -> int:
        shared.runs["break", a] += 1
        if shared.on:
            raise ValueError("it is broken")
        return a

    @stem.task("again", queue=QUEUE, max_retries=2, retry=FAST)
    async def again(a: int) -> int:
        shared.runs["again", a] += 1
        if shared.runs["again", a] < 3:
            raise ValueError("not yet")
        return a

    @stem.task("snooze", queue=QUEUE)
    async def snooze(a: int) -> int:
        shared.runs["snooze", a] += 1
        if shared.runs["snooze", a] < 3:
            raise Snooze("10ms")
        return a


@contextlib.asynccontextmanager
async def working(stem):
    """Run a worker with the tasks of these tests during the block, and yield what the tasks share."""
    shared = with_tasks(stem)
    async with stem, stem.worker(concurrency=10).running():
        yield shared


ADDS = tuple(link("add", args={"a": number}) for number in range(5))


async def test_a_chain_passes_each_result_to_the_next_link(stem):
    async with working(stem):
        await compose(
            stem, link("add", args={"a": 1}), link("add", "a"), link("add", "b", {"a": 40})
        )

        assert await result_of(stem, "c.2") == b"43"
        record = await end_of(stem, "c.1")
        assert (record.state, record.replay, record.attempt) == (TaskState.SUCCEEDED, 0, 0)


async def test_links_on_success_and_on_failure_run_after_the_end_of_their_task(stem):
    async with working(stem) as shared:
        done = link("keep", "values")
        await compose(
            stem, link("add", args={"a": 1}, on_success=(done,), on_failure=(done,)), id="a"
        )
        await compose(
            stem, link("break", on_success=(done,), on_failure=(done, link("add", args={"a": 9})))
        )

        assert await result_of(stem, "a.0.ok0") == b"2"
        assert await result_of(stem, "c.0.err0") == (
            b'{"id":"c.0","task":"break","state":"failed","reason":"retries-exhausted",'
            b'"error":"ValueError: it is broken"}'
        )
        assert await result_of(stem, "c.0.err1") == b"10"
        await settled(stem)
        assert shared.runs["keep"] == 2


async def test_links_after_a_failed_one_are_failed_and_go_on_after_its_replay(stem):
    async with working(stem) as shared:
        await compose(
            stem, link("break"), link("add", "a"), group(link("add", "a")), link("total", "values")
        )

        last = await failure_of(stem, "c.3")
        assert last.reason == "link-failed"
        assert "break c.0 failed: ValueError: it is broken" in last.error
        assert [(await failure_of(stem, f"c.{place}")).reason for place in (1, 2)] == [
            "link-failed"
        ] * 2
        shared.on = False
        await replay_all(stem)

        async def mended():
            record = await stem.connected.backend.get("c.3")
            return record.state is TaskState.SUCCEEDED and record

        assert (await eventually(mended, "the end of the chain")).result == b"2"


async def test_a_continuation_gets_the_results_in_the_order_of_the_members(stem):
    async with working(stem) as shared:
        slow = (link("again", args={"a": 100}), link("add", "a"))
        await compose(stem, group(slow, *ADDS), link("keep", "values"), link("total", "values"))

        assert await result_of(stem, "c.1") == b"[101,1,2,3,4,5]"
        assert await result_of(stem, "c.2") == b"116"
        assert shared.runs["keep"] == 1


@pytest.mark.parametrize(("task", "expected"), [("stream", b"15"), ("stream.sync", b"[1,2,3,4,5]")])
async def test_a_continuation_reads_a_stream_of_results(stem, monkeypatch, task, expected):
    monkeypatch.setattr("stem_amqp.producer.linking.results.PAGE", 2)
    async with working(stem):
        await compose(stem, group(*ADDS, results="stream"), link(task, "values"))

        assert await result_of(stem, "c.1") == expected


async def test_a_continuation_without_results_runs_after_the_group(stem):
    async with working(stem) as shared:
        await compose(stem, group(*ADDS, results="none"), link("add", args={"a": 50}))

        assert await result_of(stem, "c.1") == b"51"
        assert sum(shared.runs["add", number] for number in range(5)) == 5


async def test_a_continuation_does_not_run_after_a_failed_member_until_that_is_replayed(stem):
    async with working(stem) as shared:
        callback = link("total", "values", on_failure=(link("keep", "values"),))
        await compose(stem, group(link("break", args={"a": 7}), *ADDS), callback, link("add", "a"))

        assert (await failure_of(stem, "c.2")).reason == "link-failed"
        assert (await failure_of(stem, "c.1")).error.endswith(
            "break c.0.0 failed: ValueError: it is broken"
        )
        assert b'"id":"c.1","task":"total","state":"failed"' in await result_of(stem, "c.1.err0")
        await asyncio.gather(*(result_of(stem, f"c.0.{number}") for number in range(1, 6)))
        await settled(stem)
        assert shared.runs["total"] == 0
        shared.on = False
        await replay_all(stem)

        async def mended():
            record = await stem.connected.backend.get("c.2")
            return record.state is TaskState.SUCCEEDED and record

        assert (await eventually(mended, "the end of the chain")).result == b"23"
        assert shared.runs["total"] == 1
        assert shared.runs["keep"] == 1


async def test_a_continuation_collects_failures_or_ignores_them(stem):
    async with working(stem):
        for policy in ("collect", "ignore"):
            members = (link("add", args={"a": 1}), link("break"), link("add", args={"a": 2}))
            await compose(stem, group(*members, policy=policy), link("keep", "values"), id=policy)

        assert await result_of(stem, "ignore.1") == b"[2,3]"
        assert await result_of(stem, "collect.1") == (
            b'[2,{"id":"collect.0.1","index":1,"state":"failed",'
            b'"error":"break collect.0.1 failed: ValueError: it is broken"},3]'
        )


async def test_groups_in_groups_chains_in_groups_and_groups_in_chains(stem):
    async with working(stem):
        inner = (group(*ADDS[:2]), link("total", "values"), link("add", "a"))
        outer = group(inner, group(*ADDS[2:4]), (link("add", args={"a": 5}), link("add", "a")))
        await compose(
            stem, link("add", args={"a": 0}), outer, link("keep", "values"), link("keep", "values")
        )

        assert await result_of(stem, "c.3") == b"[4,[3,4],7]"


async def test_a_failure_in_an_inner_group_fails_the_outer_one_until_it_is_mended(stem):
    async with working(stem) as shared:
        inner = group(link("break", args={"a": 3}), ADDS[0])
        await compose(
            stem, group((inner, link("total", "values")), ADDS[1]), link("keep", "values")
        )

        assert (await failure_of(stem, "c.1")).reason == "link-failed"
        shared.on = False
        await replay_all(stem)

        async def mended():
            record = await stem.connected.backend.get("c.1")
            return record.state is TaskState.SUCCEEDED and record

        assert (await eventually(mended, "the continuation")).result == b"[4,2]"
        assert shared.runs["keep"] == 1


async def test_empty_groups_end_at_once(stem):
    async with working(stem):
        await compose(stem, group(), link("keep", "values"), id="a")
        await compose(stem, group(group(), group(group())), link("keep", "values"), id="b")
        await compose(stem, link("add", args={"a": 1}), group(), link("keep", "values"), id="c")
        await compose(stem, group(), id="d")

        assert await result_of(stem, "a.1") == b"[]"
        assert await result_of(stem, "b.1") == b"[[],[[]]]"
        assert await result_of(stem, "c.2") == b"[]"


async def test_members_that_retry_or_snooze_end_once(stem):
    async with working(stem) as shared:
        members = (link("again", args={"a": 1}), link("snooze", args={"a": 2}), ADDS[0])
        await compose(stem, group(*members), link("keep", "values"))

        assert await result_of(stem, "c.1") == b"[1,2,1]"
        assert (shared.runs["again", 1], shared.runs["snooze", 2]) == (3, 3)
        assert (await stem.connected.backend.get_group("c.0")).done == 3


async def test_a_member_that_runs_twice_counts_once(stem):
    """As with two copies of its message: the group waits for the other member."""
    async with working(stem) as shared:
        waiting = link("break", args={"a": 2})
        for _ in range(2):  # the same ids, as by a producer that is killed and begins again
            await compose(stem, group(ADDS[0], waiting, policy="collect"), link("keep", "values"))

        assert b'[1,{"id"' in await result_of(stem, "c.1")
        await eventually(lambda: shared.runs["break", 2] == 2, "both copies")
        await settled(stem)
        record = await stem.connected.backend.get_group("c.0")
        assert (record.done, record.failed) == (2, 1)
        assert shared.runs["keep"] == 1


async def test_a_continuation_has_the_results_although_those_of_the_members_have_expired(stem):
    async with working(stem):
        short = {"result_ttl": 0.001}
        members = [link("add", args={"a": number}, options=short) for number in range(3)]
        await compose(stem, group(*members, link("again", args={"a": 9})), link("keep", "values"))

        assert await result_of(stem, "c.1") == b"[1,2,3,9]"
        assert await stem.connected.backend.get("c.0.0") is None


async def test_a_continuation_that_fails_goes_on_after_its_replay(stem):
    async with working(stem) as shared:
        await compose(stem, group(*ADDS), link("break"), link("add", "a"))

        assert (await failure_of(stem, "c.2")).reason == "link-failed"
        shared.on = False
        await replay_all(stem)

        async def mended():
            record = await stem.connected.backend.get("c.2")
            return record.state is TaskState.SUCCEEDED

        await eventually(mended, "the end of the chain")
        assert shared.runs["break", 0] == 2


async def test_of_two_copies_of_a_continuation_one_runs(stem):
    """Two workers see that the group is complete, and both publish the continuation."""
    async with working(stem) as shared:
        publish, copies = stem.connected.producer.enqueue, []

        async def twice(call, *rest):
            if call.task == "keep":
                copies.append(await publish(call, *rest))
            return await publish(call, *rest)

        stem.connected.producer.enqueue = twice
        for number in range(10):
            await compose(stem, group(*ADDS), link("keep", "values"), id=f"c{number}")
        for number in range(10):
            assert await result_of(stem, f"c{number}.1") == b"[1,2,3,4,5]"
        await settled(stem)
        assert len(copies) == 10
        assert shared.runs["keep"] == 10


async def test_revoked_and_expired_members_have_ended(stem):
    with_tasks(stem)
    async with stem:
        members = (
            link("add", args={"a": 1}),
            link("add", args={"a": 2}, options={"expires": 0.001}),
        )
        callback = link("keep", "values")
        await compose(stem, group(*members, ADDS[0], policy="collect"), callback)
        worker = stem.worker()
        worker.revoke("c.0.0", "no longer needed")
        async with worker.running():
            result = await result_of(stem, "c.1")

    assert b'"index":0,"state":"revoked"' in result
    assert b'"index":1,"state":"expired"' in result
    assert result.endswith(b",1]")


async def test_an_unknown_queue_of_the_next_link_makes_a_dead_letter_of_the_task(stem, monkeypatch):
    monkeypatch.setattr("stem_amqp.worker.continuing.continuing.UNROUTABLE_FOR", 0.1)
    async with working(stem):
        lost = link("add", "a")
        await compose(
            stem, link("add", args={"a": 1}), type(lost)(task="add", queue="nowhere", piped="a")
        )

        record = await failure_of(stem, "c.0")
        assert record.reason == "rejected"
        assert "its composition cannot go on" in record.error
        assert (await failure_of(stem, "c.1")).reason == "link-failed"
        assert await DeadLetters(stem, QUEUE).count() == 1
