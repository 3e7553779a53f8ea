"""Several worker processes under one parent."""

import asyncio
import logging
import os
import signal
import sys

import pytest
from support import eventually

from stem_amqp.cli.exit_codes import ExitCode
from stem_amqp.cli.supervision import hangup, orphan
from stem_amqp.cli.supervision import supervisor as processes
from stem_amqp.cli.supervision.supervisor import Supervisor

WAITS = "import signal, time; signal.signal(15, lambda *_: exit(0)); open({0!r}, 'w').close(); time.sleep(60)"
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); open({0!r}, 'w').close(); time.sleep(60)"


pytestmark = pytest.mark.usefixtures("restored_signals")


@pytest.fixture(autouse=True)
def quick(monkeypatch, caplog):
    """Shorten the pauses, and capture the log."""
    monkeypatch.setattr(processes, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(processes, "LONGEST_PAUSE", 0.04)
    caplog.set_level(logging.INFO, "stem_amqp.cli")


@pytest.fixture
def programs(tmp_path):
    """Assign a program to each process, and return those that have started."""

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
    """Send a signal to this process, and return the supervisor's return value."""
    os.kill(os.getpid(), number)
    async with asyncio.timeout(60):
        return await running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_are_passed_on_and_all_ends_are_waited_for(programs, number):
    """A stop of the parent stops every process, with exit code 0."""
    programs.sources = {n: WAITS.replace("15", str(int(number))) for n in (1, 2)}
    running = asyncio.ensure_future(Supervisor(programs, count=2, patience=5).run())
    await eventually(lambda: programs.up(1) and programs.up(2))
    assert await stopped(running, number) == 0
    assert sorted(programs.started) == [1, 2]


async def test_a_process_that_dies_is_started_again(programs, caplog):
    """The log says which process it was and how it ended."""
    programs.sources = {2: "import os; os.kill(os.getpid(), 9)"}
    running = asyncio.ensure_future(Supervisor(programs, count=2, patience=5).run())
    await eventually(lambda: programs.started.count(2) >= 3 and programs.up(1))
    await stopped(running)
    assert programs.started.count(1) == 1
    assert "worker 2 (process " in caplog.text
    assert "was killed by SIGKILL; restarting it in 0.01 s" in caplog.text
    assert "restarting it in 0.02 s" in caplog.text
    assert "in 0.08 s" not in caplog.text


async def test_a_configuration_error_of_all_ends_it(programs, caplog):
    """A restart does not help a process that cannot start."""
    programs.sources = dict.fromkeys((1, 2), "exit(2)")
    async with asyncio.timeout(60):
        assert await Supervisor(programs, count=2, patience=5).run() == 2
    assert "no worker can start" in caplog.text


async def test_a_configuration_error_of_one_leaves_the_others_alone(programs):
    """A wrong configuration of one process must not stop those that work."""
    programs.sources = {1: "exit(2)"}
    running = asyncio.ensure_future(Supervisor(programs, count=2, patience=5).run())
    await eventually(lambda: programs.started.count(1) >= 3 and programs.up(2))
    assert not running.done()
    assert programs.started.count(2) == 1
    await stopped(running)


async def test_a_process_that_a_command_has_stopped_is_none_of_them_any_more(programs):
    """Its state is not waited for; the others go on."""
    programs.sources = {2: f"exit({ExitCode.COMMANDED:d})"}
    supervisor = Supervisor(programs, count=2, patience=5)
    running = asyncio.ensure_future(supervisor.run())
    await eventually(lambda: programs.up(1) and supervisor.pids[1] is None)
    assert supervisor.pids[0]
    assert not running.done()
    assert await stopped(running) == 0
    assert sorted(programs.started) == [1, 2]


async def test_a_process_that_does_not_stop_is_killed(programs, caplog):
    """A blocked worker does not keep the parent from ending."""
    programs.sources = {1: DEAF}
    running = asyncio.ensure_future(Supervisor(programs, count=1, patience=0.1).run())
    await eventually(lambda: programs.up(1))
    assert await stopped(running) == 1
    assert "did not stop within 0.1 s: killing it" in caplog.text


async def test_a_lost_parent_is_noticed(monkeypatch):
    """A process whose parent was killed notices its new parent, and stops."""
    reasons = []
    parent = os.getppid()
    left = asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(os, "_exit", lambda code: loop.call_soon_threadsafe(left.set))
    watcher = orphan.stop_without_parent(parent, reasons.append, patience=0.05, interval=0.01)
    await asyncio.sleep(0.05)
    assert reasons == []
    monkeypatch.setattr(os, "getppid", lambda: 1)
    await eventually(lambda: reasons == ["the supervisor has exited"])
    await asyncio.wait_for(left.wait(), 60)
    watcher.join(60)
    assert not watcher.is_alive()


@pytest.mark.parametrize("gone", [False, True])
def test_sighup_reloads_unless_the_terminal_is_closed(monkeypatch, gone):
    """A closed terminal ends the processes that it started; an operator's SIGHUP does not."""
    calls = []
    answers = iter([gone, False])
    monkeypatch.setattr(hangup, "has_terminal", lambda: next(answers))
    handler = hangup.HangUp(lambda: calls.append("reload"), calls.append)
    handler()
    assert calls == (["SIGHUP: the terminal was closed"] if gone else ["reload"])
