"""Misuse of the testing kit fails the test, and values that cannot be sent are found."""

import functools
import gc
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel

from stem_amqp import ArgumentsError, Depends, Settings, Stem, TaskContext
from stem_amqp.errors import BrokerUnavailableError, ResultError, StemError
from stem_amqp.testing import in_memory


class Order(BaseModel):
    number: int


class Express(Order):
    fee: int = 1


def make(**settings):
    """Return an application with a task."""
    stem = Stem(settings=Settings.load(broker_url="amqp://nowhere.invalid/", **settings))

    @stem.task("note")
    async def note(number: int = 1) -> int:
        return number

    return stem, note


async def test_an_outage_begins_with_the_call():
    """A plain call begins the outage too; it ends with `end` or with its block."""
    stem, note = make(connect_timeout=0.1)
    with in_memory(stem) as memory:
        outage = memory.broker.outage()
        with pytest.raises(BrokerUnavailableError):
            await stem.connected.transport.connect()
        outage.end()
        outage.end()
        await stem.connected.transport.connect()
        await note.enqueue()
        with memory.broker.outage(), pytest.raises(BrokerUnavailableError):
            await stem.connected.transport.connect()
        await stem.connected.transport.connect()


async def test_an_override_counts_from_the_call_on_and_not_beyond_the_test():
    """It ends with its block, explicitly, or when the application leaves memory."""
    stem, _ = make()

    def real():
        raise AssertionError

    @stem.task("ask")
    async def ask(answer: int = Depends(real)) -> int:
        return answer

    with in_memory(stem):
        stem.override(real, lambda: 3)
        assert await ask() == 3
        with stem.override(real, lambda: 4):
            assert await ask() == 4
        assert await ask() == 3
    assert stem.blueprint.overrides == {}


@pytest.mark.parametrize(
    ("misuse", "remedy"),
    [
        (lambda memory: memory.run_due(), r"await stem_memory\.run_due"),
        (lambda memory: memory.advance("1h"), r"stem_memory\.advance_blocking"),
        (lambda memory: memory.advance("1h", working=False), r"await stem_memory\.advance"),
        (lambda memory: memory.worker(), r"async with stem_memory\.worker"),
    ],
)
async def test_what_is_neither_awaited_nor_entered_fails_the_test(misuse, remedy):
    """It fails at its end, and the error says what to write."""
    stem, _ = make()
    with pytest.raises(StemError, match=remedy), in_memory(stem) as memory:
        misuse(memory)
    assert stem.stand_in is None


async def test_waiting_for_a_run_that_is_not_awaited_fails_the_test():
    """A worker's own coroutines count too."""
    stem, _ = make()
    with pytest.raises(StemError, match="until_running"), in_memory(stem) as memory:
        async with memory.worker() as worker:
            worker.until_running()


def test_an_application_that_is_not_put_in_memory_is_warned_of():
    """The warning is like Python's warning of a coroutine that was never awaited."""
    stem, _ = make()
    block = in_memory(stem)
    with pytest.warns(RuntimeWarning, match=r"never entered.*`with in_memory"):
        del block
    gc.collect()


async def test_a_plain_call_in_memory_finds_values_that_json_cannot_carry():
    """Arguments, results and conversions are those of a call over a broker."""
    stem, _ = make()
    got = []

    @stem.task("ship")
    async def ship(
        ctx: TaskContext, order: Order, day: date | None = None, *, by: Any = None
    ) -> Order:
        got.append((type(order), day, by))
        return Express(number=order.number) if by else order

    @stem.task("count")
    def count(*, numbers: set[int], **more: int) -> int:
        return sum(numbers) + sum(more.values())

    with in_memory(stem):
        order = Order(number=1)
        assert (await ship(order, "2026-01-01")) == order
        assert got == [(Order, date(2026, 1, 1), None)]
        assert count(numbers=[1, 1, 2], more="4") == 7
        with pytest.raises(ArgumentsError, match="order: a Express would arrive as a Order"):
            ship(Express(number=1))
        with pytest.raises(ArgumentsError, match="by: a date would arrive"):
            ship(order, by=date(2026, 1, 1))
        with pytest.raises(ResultError, match="a Express would arrive as a Order"):
            await ship(order, by=True)
        with pytest.raises(TypeError, match="missing 1 required"):
            await ship()
    assert (await ship(Express(number=1), by=date(2026, 1, 1))) == Express(number=1)


async def test_a_call_within_a_run_is_just_a_call():
    """A task may pass values to another task that are never sent."""
    stem, _ = make()

    @stem.task("inner")
    def inner(order: Order) -> Order:
        return order

    @stem.task("outer")
    async def outer() -> str:
        return type(inner(Express(number=1))).__name__

    with in_memory(stem) as memory:
        await outer.enqueue()
        (outcome,) = await memory.run_due(raise_errors=True)
    assert outcome.result == "Express"


async def test_the_exception_of_an_async_function_under_a_plain_decorator_is_noted():
    """A frozen worker holds it like any other exception."""
    stem, _ = make()

    def plainly(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    @stem.task("fail", max_retries=0)
    @plainly
    async def fail() -> None:
        raise KeyError("x")

    with in_memory(stem) as memory:
        await fail.enqueue()
        with pytest.raises(KeyError, match="x"):
            await memory.run_due(raise_errors=True)
