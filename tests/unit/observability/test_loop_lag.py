"""The lag of the event loop is measured once for all users."""

import asyncio
import threading
import time

from support import eventually

from stem_amqp.observability import loop_lag
from stem_amqp.observability.loop_lag import LoopLag


async def test_a_blocked_loop_has_a_lag(monkeypatch):
    monkeypatch.setattr(loop_lag, "INTERVAL", 0.01)
    lag = LoopLag.here()
    lag.start()
    try:
        time.sleep(0.2)  # noqa: ASYNC251 - blocks the loop
        assert lag.overdue > 0.1, "before the loop turns again"
        await eventually(lambda: lag.peak >= 0.15)
        await eventually(lambda: lag.seconds < 0.1)
        assert lag.peak >= 0.15, "the peak is kept"
    finally:
        lag.stop()


async def test_another_thread_sees_that_the_loop_is_blocked(monkeypatch):
    monkeypatch.setattr(loop_lag, "INTERVAL", 0.01)
    lag = LoopLag.here()
    lag.start()
    seen = []
    watcher = threading.Timer(0.1, lambda: seen.append(lag.overdue))
    watcher.start()
    time.sleep(0.2)  # noqa: ASYNC251 - blocks the loop
    watcher.join()
    lag.stop()
    assert seen[0] > 0.05


async def test_users_share_one_measurement():
    lag = LoopLag.here()
    assert LoopLag.here() is lag
    lag.start()
    lag.start()
    lag.stop()
    assert lag._timer is not None, "there is one more user"
    lag.stop()
    assert lag._timer is None
    assert (lag.seconds, lag.peak, lag.overdue) == (0.0, 0.0, 0.0)


async def test_the_peak_is_forgotten(monkeypatch):
    monkeypatch.setattr(loop_lag, "INTERVAL", 0.01)
    monkeypatch.setattr(loop_lag, "PERIOD", 0.05)
    lag = LoopLag.here()
    lag.start()
    time.sleep(0.2)  # noqa: ASYNC251 - blocks the loop
    await asyncio.sleep(0.02)
    assert lag.peak > 0.1
    await eventually(lambda: lag.peak < 0.1)
    lag.stop()
