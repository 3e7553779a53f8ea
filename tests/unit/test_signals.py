"""Signals: which listeners are called, and that a listener never affects the task."""

import asyncio
import logging

import pytest

from stem_amqp import signals as module
from stem_amqp.errors import ConfigurationError
from stem_amqp.signals import TABLE, Event, Signals


def event(signal="task-succeeded", **values):
    return Event(signal=signal, at=1.0, **values)


async def test_sync_and_async_listeners_hear_in_order():
    """Both kinds are called, one after the other."""
    signals, heard = Signals(), []

    @signals.task_succeeded.connect()
    def plain(event):
        heard.append(("plain", event.id))

    @signals.task_succeeded.connect()
    async def coroutine(event):
        await asyncio.sleep(0)
        heard.append(("async", event.id))

    await signals.task_succeeded.send(event(id="1"))
    assert heard == [("plain", "1"), ("async", "1")]


async def test_filters_choose_by_task_and_queue():
    """A listener gets only the events that its globs match."""
    signals, heard = Signals(), []
    signals.task_failed.connect(task="orders.*", queue="o*")(lambda e: heard.append(e.id))
    for number, (task, queue) in enumerate(
        [("orders.sync", "orders"), ("emails.send", "orders"), ("orders.sync", "emails")]
    ):
        await signals.task_failed.send(event("task-failed", id=number, task=task, queue=queue))
    assert heard == [0]


async def test_a_failing_listener_is_logged_and_goes_no_further(caplog):
    """The other listeners and the task are not affected."""
    signals, heard = Signals(), []

    @signals.task_started.connect()
    def broken(event):
        raise RuntimeError("listener")

    signals.task_started.connect()(heard.append)
    with caplog.at_level(logging.ERROR, "stem_amqp.signals"):
        await signals.task_started.send(event("task-started"))
    assert len(heard) == 1
    assert "task-started" in caplog.text


async def test_a_hanging_listener_is_given_up(monkeypatch, caplog):
    """A listener that never returns cannot hold the task."""
    monkeypatch.setattr(module, "LISTENER_TIMEOUT", 0.01)
    signals = Signals()

    @signals.task_started.connect()
    async def hanging(event):
        await asyncio.Event().wait()

    await signals.task_started.send(event("task-started"))
    assert "TimeoutError" in caplog.text


async def test_signals_are_switched_as_a_whole_and_one_by_one():
    """A signal that is off is not active, so no event is built for it."""
    signals = Signals()
    for signal in signals:
        signal.connect()(lambda e: None)
    signals.configure(enabled=True, enabled_signals={"worker-heartbeat": False})
    assert not signals.worker_heartbeat.active
    assert signals.worker_ready.active
    signals.configure(enabled=False)
    assert not any(signal.active for signal in signals)


def test_an_unknown_signal_is_refused_and_nothing_changes():
    """A typo in the configuration is an error that names the existing signals."""
    signals = Signals()
    with pytest.raises(ConfigurationError, match="worker-heartbeat"):
        signals.configure(enabled_signals={"worker-hartbeat": False})
    assert all(signal.enabled for signal in signals)


def test_every_signal_of_the_table_is_an_attribute():
    """Every signal of the documentation is an attribute."""
    signals = Signals()
    assert [getattr(signals, name.replace("-", "_")).name for name in TABLE] == list(TABLE)
