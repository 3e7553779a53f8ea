"""Types that editors and type checkers see. Checked by mypy and pyright, never run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, assert_type

from stem_amqp import (
    Batch,
    BatchContext,
    BatchFailed,
    BlockingHandle,
    BlockingProducer,
    Call,
    Debounce,
    Depends,
    Group,
    Link,
    Shared,
    Stem,
    TaskContext,
    TaskHandle,
    Throttle,
    Unique,
)
from stem_amqp.integrations.django import DjangoStem, enqueue_on_commit
from stem_amqp.results.listing import TaskPage
from stem_amqp.results.model import TaskRecord
from stem_amqp.states import TaskState

stem = Stem()


@stem.task("orders.sync", queue="orders", max_retries=3, idempotent=True)
async def sync_order(order_id: str, *, express: bool = False) -> int:
    """Declare an async task without a context."""
    return len(order_id) + express


@stem.task("orders.index", debounce=Debounce("5s", max_wait="1m", by=("order_id",)))
async def index_order(order_id: str) -> None:
    """Declare a debounced task; its calls can have another rule."""
    await index_order.options(debounce=False, throttle=Throttle("1/m")).enqueue(order_id)
    await index_order.options(debounce="2s", debounce_key="all").enqueue(order_id)


@stem.task("orders.count", rate_limit="10/s")
def count(first: int, second: int = 0) -> list[int]:
    """Declare a sync task."""
    return [first, second]


@stem.task("orders.ship")
async def ship(ctx: TaskContext, order_id: str) -> str:
    """Declare a task whose context comes first, which is removed from the signature."""
    return f"{ctx.id} {order_id}"


@stem.task("orders.print")
def print_label(ctx: TaskContext, order_id: str) -> None:
    """Declare a sync task whose context comes first."""


@stem.task("rows.store", batch=Batch(size=100, within="2s"), queue="rows")
async def store(rows: list[int]) -> list[str]:
    """Declare an async batch task."""
    raise BatchFailed({0: ValueError()}, [str(row) for row in rows])


@stem.task("rows.drop", batch=Batch(size=2))
def drop(ctx: BatchContext, rows: list[str]) -> None:
    """Declare a sync batch task with the context of the batch."""
    assert_type(ctx[0].id, str)


async def batches() -> None:
    """Check that producers see one item, and direct calls a list."""
    assert_type(await store.enqueue(1), TaskHandle[str])
    assert_type(store.options(delay="1s").prepare(2), Call[str])
    assert_type(drop.enqueue_blocking("a"), BlockingHandle[None])
    assert_type(store.s(1), Link[str])
    assert_type(store.map([1, 2]), Group[str])
    assert_type(await store([1, 2]), list[str])
    await store.enqueue([1])  # type: ignore[arg-type]
    await drop.enqueue(3)  # type: ignore[arg-type]


async def typed() -> None:
    """Check the types of results, handles and calls."""
    assert_type(await sync_order.enqueue("42"), TaskHandle[int])
    assert_type(await sync_order.options(delay="30s").enqueue(order_id="42"), TaskHandle[int])
    assert_type(await (await count.enqueue(1, second=2)).result(timeout="10s"), list[int])
    assert_type(await ship.enqueue("42"), TaskHandle[str])
    assert_type(await print_label.enqueue(order_id="42"), TaskHandle[None])
    assert_type(sync_order.prepare("42", express=True), Call[int])
    assert_type(await stem.enqueue_many([count.prepare(1)]), list[TaskHandle[list[int]]])
    calls = (sync_order.options(delay="30s").prepare(order_id) for order_id in ["1", "2"])
    assert_type(await stem.enqueue_many(calls), list[TaskHandle[int]])
    assert_type(stem.prepare("orders.sync"), Call[Any])
    assert_type(await stem.enqueue_call(ship.prepare("42")), TaskHandle[str])
    assert_type(await sync_order("42"), int)
    assert_type(count(1), list[int])
    assert_type(await ship("42"), str)


def blocking_results() -> None:
    """Check the types of lists and counts."""
    with stem.blocking() as producer:
        assert_type(producer.results.list(state="failed", limit=3), TaskPage)
        assert_type(producer.results.count(task=["a", "b"]), dict[TaskState, int])
        for record in producer.results.every(meta={"tenant": "acme"}):
            assert_type(record, TaskRecord)
        producer.results.list(status="failed")  # type: ignore[call-arg]


def blocking() -> None:
    """Check the types of results, handles and calls without an event loop."""
    assert_type(sync_order.enqueue_blocking("42", express=True), BlockingHandle[int])
    assert_type(ship.options(delay="30s").enqueue_blocking("42"), BlockingHandle[str])
    assert_type(count.enqueue_blocking(1, second=2).result(timeout="10s"), list[int])
    with stem.blocking(timeout="5s") as producer:
        assert_type(producer, BlockingProducer)
        assert_type(producer.enqueue(sync_order, "42", express=True), BlockingHandle[int])
        assert_type(producer.enqueue(count.options(priority=3), 1), BlockingHandle[list[int]])
        assert_type(producer.enqueue("orders.sync", args={"a": 1}, delay=3), BlockingHandle[Any])
        assert_type(producer.enqueue_many([count.prepare(1)]), list[BlockingHandle[list[int]]])


@stem.task("orders.pay", unique=Unique(by=("order_id",), window="1h"))
async def pay(ctx: TaskContext, order_id: str) -> int:
    """Declare a unique task with a guarded block."""

    async def charge() -> int:
        return len(order_id)

    async with ctx.once("mail") as first:
        assert_type(first, bool)
    assert_type(ctx.once("count").call(lambda: order_id), str)
    assert_type(await ctx.once("charge", lease="1m").run(charge), int)
    return 0


class Session:
    """The type of a dependency."""


async def open_session() -> AsyncIterator[Session]:
    """Yield a dependency from an async generator."""
    yield Session()


@contextlib.contextmanager
def open_file() -> Iterator[bytes]:
    """Yield a dependency from a context manager."""
    yield b""


async def read_rate() -> float:
    """Return a dependency from a coroutine."""
    return 1.0


@stem.task("orders.bill")
async def bill(
    ctx: TaskContext,
    order_id: str,
    *,
    session: Session = Depends(open_session),
    file: bytes = Depends(open_file),
    rate: float = Shared(read_rate),
    made: Session = Depends(Session),
) -> str:
    """Declare a task with dependencies: a default makes them optional for its callers."""
    assert_type(session, Session)
    return f"{ctx.id} {order_id} {rate} {file!r} {made}"


@stem.task("orders.demand")
async def demand(order_id: str, session: Annotated[Session, Depends(open_session)]) -> None:
    """Declare a task whose dependency has no default: a ParamSpec requires it of every caller."""


async def depending() -> None:
    """Call tasks with dependencies."""
    assert_type(await bill.enqueue("42"), TaskHandle[str])
    assert_type(await bill("42", session=Session()), str)
    assert_type(Depends(read_rate), float)
    assert_type(Shared(open_session), Session)
    with stem.override(open_session, Session):
        await bill("42")
    await demand.enqueue("42")  # type: ignore[call-arg]


def on_commit() -> None:
    """Enqueue in a transaction of Django."""
    assert_type(enqueue_on_commit(sync_order, "42", express=True), str)
    assert_type(enqueue_on_commit(sync_order.options(delay="30s"), order_id="42"), str)
    assert_type(DjangoStem(namespace="shop").blocking_producer, BlockingProducer)


async def refused() -> None:
    """Make calls that a type checker must refuse."""
    enqueue_on_commit(sync_order, 42)  # type: ignore[arg-type]
    enqueue_on_commit(sync_order, "42", delay="30s")  # type: ignore[call-arg]
    DjangoStem(name_space="shop")  # type: ignore[call-arg]
    await sync_order.enqueue(42)  # type: ignore[arg-type]
    await sync_order.enqueue()  # type: ignore[call-arg]
    await sync_order.enqueue("42", delay="30s")  # type: ignore[call-arg]
    await sync_order.options(countdown=3).enqueue("42")  # type: ignore[call-arg]
    await ship.enqueue()  # type: ignore[call-arg]
    sync_order.enqueue_blocking(42)  # type: ignore[arg-type]
    sync_order.enqueue_blocking("42", delay="30s")  # type: ignore[call-arg]
    stem.blocking_producer.enqueue(sync_order, 42)  # type: ignore[call-overload]
    stem.task("x", retries=3)  # type: ignore[call-overload]


@stem.every("5m")
@stem.cron("0 9 * * mon-fri", tz="Europe/Berlin", args={"order_id": "o-1"}, misfire="skip")
@stem.task("orders.scheduled")
async def scheduled(order_id: str) -> int:
    """Declare a task with two schedules: it keeps its type."""
    return len(order_id)


async def enqueue_scheduled() -> int:
    """Enqueue it, and define a third schedule."""
    stem.schedule("third", scheduled.prepare("o-1"), every="1h")
    handle = await scheduled.enqueue("o-1")
    await scheduled.enqueue(5)  # type: ignore[arg-type] # not a str
    stem.schedule("fourth", scheduled, evry="1h")  # type: ignore[call-arg] # misspelt
    return await handle.result()
