"""What editors and type checkers see. Checked by mypy and pyright, never run."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, assert_type

from stem_amqp import (
    BlockingHandle,
    BlockingProducer,
    Call,
    Depends,
    Shared,
    Stem,
    TaskContext,
    TaskHandle,
    Unique,
)
from stem_amqp.integrations.django import DjangoStem, enqueue_on_commit
from stem_amqp.results.listing import TaskPage
from stem_amqp.results.model import TaskRecord
from stem_amqp.states import TaskState

stem = Stem()


@stem.task("orders.sync", queue="orders", max_retries=3, idempotent=True)
async def sync_order(order_id: str, *, express: bool = False) -> int:
    """An async task without a context."""
    return len(order_id) + express


@stem.task("orders.count", rate_limit="10/s")
def count(first: int, second: int = 0) -> list[int]:
    """A sync task."""
    return [first, second]


@stem.task("orders.ship")
async def ship(ctx: TaskContext, order_id: str) -> str:
    """A task whose context comes first: it is taken off the signature."""
    return f"{ctx.id} {order_id}"


@stem.task("orders.print")
def print_label(ctx: TaskContext, order_id: str) -> None:
    """The same for a sync task."""


async def typed() -> None:
    """Check the types of results, handles and calls."""
    assert_type(await sync_order.enqueue("42"), TaskHandle[int])
    assert_type(await sync_order.options(delay="30s").enqueue(order_id="42"), TaskHandle[int])
    assert_type(await (await count.enqueue(1, second=2)).result(timeout="10s"), list[int])
    assert_type(await ship.enqueue("42"), TaskHandle[str])
    assert_type(await print_label.enqueue(order_id="42"), TaskHandle[None])
    assert_type(sync_order.prepare("42", express=True), Call)
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
    """The same without an event loop."""
    assert_type(sync_order.enqueue_blocking("42", express=True), BlockingHandle[int])
    assert_type(ship.options(delay="30s").enqueue_blocking("42"), BlockingHandle[str])
    assert_type(count.enqueue_blocking(1, second=2).result(timeout="10s"), list[int])
    with stem.blocking(timeout="5s") as producer:
        assert_type(producer, BlockingProducer)
        assert_type(producer.enqueue(sync_order, "42", express=True), BlockingHandle[int])
        assert_type(producer.enqueue(count.options(priority=3), 1), BlockingHandle[list[int]])
        assert_type(producer.enqueue("orders.sync", args={"a": 1}, delay=3), BlockingHandle[Any])
        assert_type(producer.enqueue_many([count.prepare(1)]), list[BlockingHandle[Any]])


@stem.task("orders.pay", unique=Unique(by=("order_id",), window="1h"))
async def pay(ctx: TaskContext, order_id: str) -> int:
    """A unique task with a guarded block."""

    async def charge() -> int:
        return len(order_id)

    async with ctx.once("mail") as first:
        assert_type(first, bool)
    assert_type(ctx.once("count").call(lambda: order_id), str)
    assert_type(await ctx.once("charge", lease="1m").run(charge), int)
    return 0


class Session:
    """What a task needs."""


async def open_session() -> AsyncIterator[Session]:
    """An async generator."""
    yield Session()


@contextlib.contextmanager
def open_file() -> Iterator[bytes]:
    """A context manager."""
    yield b""


async def read_rate() -> float:
    """A coroutine."""
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
    """A task with dependencies: a default makes them optional for its callers."""
    assert_type(session, Session)
    return f"{ctx.id} {order_id} {rate} {file!r} {made}"


@stem.task("orders.demand")
async def demand(order_id: str, session: Annotated[Session, Depends(open_session)]) -> None:
    """One that is only annotated: a ParamSpec asks every caller for it."""


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
    """Enqueue in a transaction of Django's."""
    assert_type(enqueue_on_commit(sync_order, "42", express=True), str)
    assert_type(enqueue_on_commit(sync_order.options(delay="30s"), order_id="42"), str)
    assert_type(DjangoStem(namespace="shop").blocking_producer, BlockingProducer)


async def refused() -> None:
    """Calls that a type checker must not let through."""
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
    stem.task("x", retries=3)  # type: ignore[call-arg]
