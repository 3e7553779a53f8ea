"""A blocked event loop is noticed in another thread, with the task that blocks it and the place."""

import asyncio
import logging
import threading
import time
import uuid

import pytest
from support import eventually

from stem_amqp import Stem
from stem_amqp.observability import loop_lag
from stem_amqp.observability.loop_lag import LoopLag
from stem_amqp.observability.registry import watchdog as module
from stem_amqp.observability.registry.watchdog import Watchdog


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(loop_lag, "INTERVAL", 0.01)
    monkeypatch.setattr(module, "LIMIT", 0.05)
    monkeypatch.setattr(module, "CHECK", 0.01)


def block(seconds):
    time.sleep(seconds)


async def test_a_task_that_blocks_the_loop_is_named(caplog):
    place = f"memory://{uuid.uuid4().hex}"
    stem = Stem(broker_url=place, backend_url=place)

    @stem.task("orders.sync")
    async def sync():
        block(0.4)

    async with stem:
        handle = await sync.enqueue()
        async with stem.worker(name="w").running():
            await eventually(lambda: "is blocked" in caplog.text)
    (line,) = [r for r in caplog.records if "is blocked" in r.getMessage()]
    assert line.levelno == logging.WARNING
    assert f"by task orders.sync {handle.id} at {__file__}" in line.getMessage()
    assert "in block" in line.getMessage()
    assert "asyncio.to_thread" in line.getMessage(), "the remedy"


async def test_it_reports_until_the_loop_turns():
    lag = LoopLag.here()
    lag.start()
    found, over = [], threading.Event()

    async def report(blocked):
        while (one := blocked()) is not None:
            found.append(one)
            await asyncio.sleep(0.01)
        over.set()

    dog = Watchdog(lag, lambda _: ("orders.sync", "t1"), report)
    dog.start()
    try:
        await asyncio.sleep(0.05)
        assert dog.blocked() is None
        block(0.4)
        await eventually(over.is_set)
        assert dog.blocked() is None
    finally:
        dog.stop()
        lag.stop()
    assert (found[0].task, found[0].id) == ("orders.sync", "t1")
    assert found[0].seconds >= 0.05
    assert found[-1].seconds > found[0].seconds
    assert found[0].place.endswith("in block")
    assert "time.sleep(seconds)" in found[0].stack
    assert "site-packages" not in found[0].stack.splitlines()[0], "it begins in the application"


async def test_a_callback_has_no_task():
    lag = LoopLag.here()
    lag.start()
    found, over = [], threading.Event()

    async def report(blocked):
        found.append(blocked())
        over.set()

    dog = Watchdog(lag, lambda _: None, report)
    dog.start()
    await asyncio.sleep(0.02)
    asyncio.get_running_loop().call_soon(block, 0.3)
    await eventually(over.is_set)
    dog.stop()
    lag.stop()
    assert found[0].task is None
    assert found[0].place.endswith("in block")


async def test_a_report_that_fails_does_not_end_the_watchdog(caplog):
    lag = LoopLag.here()
    lag.start()
    calls = []

    async def report(blocked):
        calls.append(blocked())
        raise ValueError("no")

    dog = Watchdog(lag, lambda _: None, report)
    dog.start()
    for number in (1, 2):
        await asyncio.sleep(0.05)
        block(0.3)
        await eventually(lambda number=number: len(calls) >= number)
    dog.stop()
    lag.stop()
    assert "the watchdog of the event loop failed" in caplog.text
