"""Schedulers that are killed at random while schedules tick each second: every tick runs once, and none is lost."""

import random
import sys
import time
from pathlib import Path

import pytest
from support import until

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from schedules_accuracy import Shop, account


@pytest.fixture
async def shop(stem_broker_url, tmp_path, monkeypatch):
    """Yield an application with three schedules, whose schedulers and worker are processes."""
    monkeypatch.setenv("STEM_BROKER_URL", stem_broker_url)
    shop = Shop(tmp_path, f"sqlite:///{tmp_path}/results.db", 3)
    processes = [shop.start("worker", "application:stem")]
    shop.started = processes
    yield shop
    for process in processes:
        process.kill()
        process.wait(60)
    await shop.clean_up(stem_broker_url)


def test_no_tick_is_lost_or_runs_twice_while_leaders_are_killed(shop):
    """Five kills in a row; ticks that are published ahead run in time meanwhile."""
    schedulers = [shop.scheduler(), shop.scheduler()]
    shop.started += schedulers
    until(shop.runs, "the first ticks", timeout=120)
    for _ in range(5):
        terms, victim = len(shop.terms()), random.randrange(2)
        schedulers[victim].kill()
        schedulers[victim].wait()
        schedulers[victim] = shop.scheduler()
        shop.started.append(schedulers[victim])
        runs, begun = len(shop.runs()), time.monotonic()
        until(
            lambda: len(shop.runs()) > runs + 6 and time.monotonic() > begun + 2,  # noqa: B023
            "more ticks",
            timeout=120,
        )
        assert len(shop.terms()) >= terms
    # A tick that runs after a later one counts as lost until then
    found = until(lambda: (now := account(shop))["lost"] == 0 and now, "every tick", timeout=120)
    assert found["runs"] >= 30
    assert found["twice"] == 0
