"""Types of composed tasks. Checked by mypy and pyright, never run.

Each ignored error is a mismatch that both must find: an ignore that one of them does not need is an error.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=error, reportUnusedExpression=none

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_type

from stem_amqp import (
    Chain,
    ChainHandle,
    FailedMember,
    FailedTask,
    Group,
    GroupHandle,
    GroupResults,
    Link,
    Stem,
    TaskContext,
    chain,
    chord,
    graph,
    group,
)
from stem_amqp.composition.blocking import BlockingChainHandle, BlockingGroupHandle
from stem_amqp.composition.model import Partial, PartialGroup, PartialLink

stem = Stem()


@stem.task("count")
async def count(order_id: str) -> int:
    """Declare an async task."""
    return len(order_id)


@stem.task("add")
def add(first: int, second: int) -> int:
    """Declare a sync task."""
    return first + second


@stem.task("name")
async def name(ctx: TaskContext, number: int, *, prefix: str = "o") -> str:
    """Declare a task with a context and an optional argument."""
    return f"{prefix}-{number} {ctx.id}"


@stem.task("total")
async def total(numbers: Sequence[int]) -> int:
    """Declare a callback."""
    return sum(numbers)


@stem.task("total.read")
async def total_read(numbers: GroupResults[int]) -> int:
    """Declare a callback that reads its results in pages."""
    return sum([number async for number in numbers])


@stem.task("judge")
async def judge(results: list[int | FailedMember]) -> str:
    """Declare a callback that gets failures too."""
    return f"{len(results)}"


@stem.task("report")
async def report(failed: FailedTask) -> None:
    """Declare a link for failures."""


@stem.task("index")
def index(order_ids: list[str], shard: int) -> int:
    """Declare a task that takes a list."""
    return len(order_ids) + shard


def links() -> None:
    """Check the types of links."""
    assert_type(add.s(1, 2), Link[int])
    assert_type(add.s(2), PartialLink[int, int])
    assert_type(add.s(second=2), PartialLink[int, int])
    assert_type(add.si(1, 2), Link[int])
    assert_type(name.s(prefix="p"), PartialLink[int, str])
    assert_type(name.s(1).options(queue="slow", delay="5s"), Link[str])
    assert_type(count.s("1").on_success(add.s(1)).on_failure(report.s()), Link[int])
    add.s("1")  # type: ignore[call-overload]
    add.s(1, 2, 3)  # type: ignore[call-overload]
    add.si(1)  # type: ignore[call-arg]
    name.s(prefix=3)  # type: ignore[call-overload]
    count.s("1").options(countdown=3)  # type: ignore[call-arg]
    count.s("1").on_success(count.s())  # type: ignore[arg-type]


def chains() -> None:
    """Check the types of chains, and that a result that does not fit is an error."""
    assert_type(count.s("1") | add.s(2), Chain[int])
    assert_type(count.s("1") | add.s(2) | name.s(prefix="p") | count.s(), Chain[int])
    assert_type(count.s("1") | name.si(1), Chain[str])
    assert_type(add.s(2) | name.s(prefix="p"), Partial[int, str])
    assert_type(count.s("1") | (add.s(2) | name.s(prefix="p")), Chain[str])
    assert_type(chain(count.s("1"), add.s(2)), Chain[int])
    assert_type(chain(count.s("1"), add.s(2), add.s(3), name.s(prefix="p")), Chain[str])
    count.s("1") | count.s()  # type: ignore[operator]
    count.s("1") | total.s()  # type: ignore[operator]
    add.s(2) | count.s()  # type: ignore[operator]
    chain(count.s("1"), count.s())  # type: ignore[misc]
    chain(count.s("1"), add.s(2), count.s())  # type: ignore[misc]


def groups() -> None:
    """Check the types of groups and their callbacks."""
    assert_type(group(count.s("1"), add.s(1, 2)), Group[int])
    assert_type(group(count.s(one) for one in "abc"), Group[int])
    assert_type(group(count.s("1") | name.s(), name.s(1)), Group[str])
    assert_type(group(add.s(1), add.s(2)), PartialGroup[int, int])
    assert_type(group([count.s("1")]) | total.s(), Chain[int])
    assert_type(count.s("1") | group(add.s(1), add.s(2)) | total.s(), Chain[int])
    assert_type(chord(group(count.s("1")), total.s()), Chain[int])
    assert_type(chord(group(count.s("1")), total_read.s(), results="stream"), Chain[int])
    assert_type(chord(group(count.s("1")), name.si(1), results="none"), Chain[str])
    assert_type(group(count.s("1"), policy="collect"), Group[int | FailedMember])
    assert_type(group(count.s("1"), policy="collect") | judge.s(), Chain[str])
    assert_type(add.map([1, 2], 3), Group[int])
    assert_type(count.map(["a", "b"]) | total.s(), Chain[int])
    assert_type(add.starmap([(1, 2), (3, 4)]), Group[int])
    assert_type(index.chunks(["a", "b"], 2, 7), Group[int])
    waiting = graph({"a": count.s("1"), "b": total.s()}, depends_on={"b": ["a"]})
    assert_type(waiting, Group[Any])
    assert_type(count.s("1").allow_dependents(), Link[int])
    graph({"a": 1}, depends_on={})  # type: ignore[dict-item]
    group(name.s(1)) | total.s()  # type: ignore[operator]
    count.s("1") | group(count.s())  # type: ignore[arg-type]
    chord(group(name.s(1)), total.s())  # type: ignore[misc]
    add.map(["1"], 2)  # type: ignore[list-item]
    index.chunks([1], 2, 7)  # type: ignore[list-item]


async def handles() -> None:
    """Check the types of handles and results."""
    assert_type(await count.s("1").enqueue(), ChainHandle[int])
    assert_type(await (count.s("1") | add.s(2)).enqueue(id="one"), ChainHandle[int])
    assert_type(await group(count.s("1")).enqueue(), GroupHandle[int])
    assert_type(await stem.enqueue_composition(group(count.s("1"))), GroupHandle[int])
    assert_type(await (await group(count.s("1")).enqueue()).result(timeout="5s"), list[int])
    async for number in (await group(count.s("1")).enqueue()).results():
        assert_type(number, int)


def blocking() -> None:
    """Check the types of handles and results without an event loop."""
    assert_type((count.s("1") | add.s(2)).enqueue_blocking(), BlockingChainHandle[int])
    assert_type(group(count.s("1")).enqueue_blocking(), BlockingGroupHandle[int])
    assert_type(group(count.s("1")).enqueue_blocking().result("5s"), list[int])
    with stem.blocking() as producer:
        assert_type(producer.enqueue_composition(count.map(["a", "b"])), BlockingGroupHandle[int])
