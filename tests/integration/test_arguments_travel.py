"""Test arguments and results over a broker: accepted ones arrive equal, others fail clearly."""

import asyncio
import functools
import math
from typing import Any

import pytest
from pydantic import BaseModel, Field

from stem_amqp import TaskFailedError


class Order(BaseModel):
    order_id: int = Field(alias="orderId")
    weight: float | None = None


class Express(Order):
    fee: int = 3


async def failure(handle):
    """Wait for a task that fails, and return its error."""
    with pytest.raises(TaskFailedError) as caught:
        await handle.result(timeout=60)
    return caught.value


async def test_models_with_aliases_and_numbers_that_json_lacks_round_trip(stem):
    """The task gets the values of the caller, and the producer those that the task returned."""
    got = []

    @stem.task("weigh", queue="q")
    async def weigh(order: Order, factor: float) -> Order:
        got.append((order, factor))
        return order

    order = Order(orderId=3, weight=math.nan)
    async with stem, stem.worker().running():
        result = await (await weigh.enqueue(order, math.inf)).result(timeout=60)
    assert (got[0][0].order_id, got[0][1]) == (3, math.inf)
    assert math.isnan(got[0][0].weight)
    assert result.order_id == 3
    assert math.isnan(result.weight)


@pytest.mark.parametrize(
    "value",
    ["many", Express(orderId=1), (one for one in "ab")],
    ids=["text", "subclass", "generator"],
)
async def test_a_result_that_cannot_be_read_is_a_failure_without_a_retry(stem, value):
    """The task fails and does not run again, and the caller does not get a `DecodeError`."""
    runs = []

    @stem.task("weigh", queue="q", max_retries=3, retry={"base": "100ms"})
    def weigh() -> Order:
        runs.append(1)
        return value

    async with stem, stem.worker().running():
        error = await failure(await weigh.enqueue())
    assert error.reason == "unserializable-result"
    assert "ResultError" in error.error
    assert len(runs) == 1


def plainly(function):
    """Decorate a function with a plain wrapper, as users do."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Doubling:
    """A callable object."""

    async def __call__(self, number: int) -> int:
        await asyncio.sleep(0)
        return number * 2


async def test_what_makes_a_coroutine_is_awaited_however_it_is_wrapped(stem):
    """It is awaited under a plain decorator, in a partial, in a lambda and in a callable object."""

    async def double(number: int, by: int = 2) -> int:
        await asyncio.sleep(0)
        return number * by

    tasks = [
        stem.task("wrapped", queue="q")(plainly(double)),
        stem.task("partial", queue="q")(functools.partial(double, by=2)),
        stem.task("lambda", queue="q")(lambda number: double(number, by=2)),
        stem.task("object", queue="q")(Doubling()),
        stem.task("static", queue="q")(staticmethod(double)),
        stem.task("bound", queue="q")(Doubling().__call__),
    ]
    async with stem, stem.worker().running():
        for task in tasks:
            assert await (await task.enqueue(number=4)).result(timeout=60) == 8
        assert await tasks[0](3) == 6


async def test_a_failure_under_a_plain_decorator_is_that_of_the_coroutine(stem):
    """It is retried and reported like any other failure, and time limits apply."""

    @stem.task("slow", queue="q", time_limit="200ms", max_retries=0)
    @plainly
    async def slow() -> None:
        await asyncio.sleep(30)

    async with stem, stem.worker().running():
        assert "TimeLimitError" in (await failure(await slow.enqueue())).error


async def test_a_default_that_a_run_changes_is_whole_for_the_next_one(stem):
    """Runs do not share a mutable default."""

    @stem.task("gather", queue="q")
    async def gather(name: str, names: list[str] = []) -> list[str]:  # noqa: B006 - tested here
        names.append(name)
        return names

    async with stem, stem.worker().running():
        assert await (await gather.enqueue("a")).result(timeout=60) == ["a"]
        assert await (await gather.enqueue("b")).result(timeout=60) == ["b"]
