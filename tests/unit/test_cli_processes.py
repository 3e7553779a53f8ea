"""Several worker processes under one parent."""

import asyncio
import logging
import os
import signal
import sys

import pytest
from support import eventually

from stem_amqp.cli import hangup, orphan, processes
from stem_amqp.cli.processes import Supervisor

WAITS = "import signal, time; signal.signal(15, lambda *_: exit(0)); open({0!r}, 'w').close(); time.sleep(60)"
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); open({0!r}, 'w').close(); time.sleep(60)"


@pytest.fixture(autouse=True)
def quick(monkeypatch, caplog):
    """Make pauses short, and listen to the log."""
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(processes, "LONGEST_PAUSE", 0.04)
    caplog.set_level(logging.INFO, "stem_amqp.cli")


@pytest.fixture
def programs(tmp_path):
    """Give each process its program, and say which have started."""

    class Programs:
        started: list[int]

        def __init__(self):
            self.started = []
            self.sources = {}

        def __call__(self, number):
            self.started.append(number)
            source = self.sources.get(number, WAITS)
            return [sys.executable, "-c", source.format(str(tmp_path / f"up-{number}"))]

        def up(self, number):
            return (tmp_path / f"up-{number}").exists()

    return Programs()


async def stopped(running, number=signal.SIGTERM):
    """Send a signal to this process, and return what the supervisor returns."""
    os.kill(os.getpid(), number)
    async with asyncio.timeout(10):
        return await running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_are_passed_on_and_all_ends_are_waited_for(programs, number):
    """A stop of the parent is a stop of every process, and exit code 0."""
    programs.sources = {n: WAITS.replace("15", str(int(number))) for n in (1, 2)}
    running = asyncio.ensure_future(Supervisor(programs, count=2, patience=5).run())
    await eventually(lambda: programs.up(1) and programs.up(2))
    assert await stopped(running, number) == 0
    assert sorted(programs.started) == [1, 2]


async def test_a_process_that_dies_is_started_again(programs, caplog):
    """The log says which one it was and how it died."""
    programs.sources = {2: "import os; os.kill(os.getpid(), 9)"}
    running = asyncio.ensure_future(Supervisor(programs, count=2, patience=5).run())
    await eventually(lambda: programs.started.count(2) >= 3 and programs.up(1))
    await stopped(running)
    assert programs.started.count(1) == 1
    assert "worker 2 (process " in caplog.text
    assert "was killed by SIGKILL; starting it again in 0.01 s" in caplog.text
    assert "starting it again in 0.02 s" in caplog.text
    assert "in 0.08 s" not in caplog.text


async def test_a_configuration_error_of_all_ends_it(programs, caplog):
    """Nothing is gained by restarting for ever what cannot start."""
    programs.sources = dict.fromkeys((1, 2), "exit(2)")
    async with asyncio.timeout(20):
        assert await Supervisor(programs, count=2, patience=5).run() == 2
    assert "no worker can start" in caplog.text


async def test_a_configuration_error_of_one_leaves_the_others_alone(programs):
    """A bad deploy must not take down what still works."""
    programs.sources = {1: "exit(2)"}
    running = asyncio.ensure_future(Supervisor(programs, count=2, patience=5).run())
    await eventually(lambda: programs.started.count(1) >= 3 and programs.up(2))
    assert not running.done()
    assert programs.started.count(2) == 1
    await stopped(running)


async def test_a_process_that_does_not_stop_is_killed(programs, caplog):
    """A blocked worker cannot keep the parent from ending."""
    programs.sources = {1: DEAF}
    running = asyncio.ensure_future(Supervisor(programs, count=1, patience=0.1).run())
    await eventually(lambda: programs.up(1))
    assert await stopped(running) == 1
    assert "did not stop within 0.1 s: killing it" in caplog.text


async def test_a_lost_parent_is_noticed(monkeypatch):
    """Whose parent was killed has another one, and stops."""
    reasons = []
    parent = os.getppid()
    left = asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(os, "_exit", lambda code: loop.call_soon_threadsafe(left.set))
    watcher = orphan.stop_without_parent(parent, reasons.append, patience=0.05, interval=0.01)
    await asyncio.sleep(0.05)
    assert reasons == []
    monkeypatch.setattr(os, "getppid", lambda: 1)
    await eventually(lambda: reasons == ["the supervisor is gone"])
    await asyncio.wait_for(left.wait(), 5)
    watcher.join(5)
    assert not watcher.is_alive()


@pytest.mark.parametrize("gone", [False, True])
def test_sighup_reloads_unless_the_terminal_is_gone(monkeypatch, gone):
    """A window that is closed ends what was started in it; an operator's signal does not."""
    calls = []
    answers = iter([gone, False])
    monkeypatch.setattr(hangup, "has_terminal", lambda: next(answers))
    handler = hangup.HangUp(lambda: calls.append("reload"), calls.append)
    handler()
    assert calls == (["SIGHUP: the terminal is gone"] if gone else ["reload"])
