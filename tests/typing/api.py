"""What editors and type checkers see. Checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

from stem_amqp import BlockingHandle, BlockingProducer, Call, Stem, TaskContext, TaskHandle, Unique

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


async def refused() -> None:
    """Calls that a type checker must not let through."""
    await sync_order.enqueue(42)  # type: ignore[arg-type]
    await sync_order.enqueue()  # type: ignore[call-arg]
    await sync_order.enqueue("42", delay="30s")  # type: ignore[call-arg]
    await sync_order.options(countdown=3).enqueue("42")  # type: ignore[call-arg]
    await ship.enqueue()  # type: ignore[call-arg]
    sync_order.enqueue_blocking(42)  # type: ignore[arg-type]
    sync_order.enqueue_blocking("42", delay="30s")  # type: ignore[call-arg]
    stem.blocking_producer.enqueue(sync_order, 42)  # type: ignore[call-overload]
    stem.task("x", retries=3)  # type: ignore[call-arg]
