"""``stem-amqp dev``: restarts of the worker, and the errors about missing parts."""

import asyncio
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_support import command_line
from support import eventually

from stem_amqp.cli.supervision.reload import Reloader, changes_of
from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.servers.rabbitmq.kind import RABBITMQ

pytestmark = pytest.mark.usefixtures("restored_signals")
SOURCE = """
import pathlib, signal, sys, time
runs = pathlib.Path({0!r})
signal.signal(15, {1})
with runs.open("a") as file:
    file.write("run\\n")
{2}
"""


class Program:
    """A process that records its starts, and files that change meanwhile."""

    def __init__(self, folder):
        self.runs = folder / "runs"
        self.said = []
        self.queue = asyncio.Queue()
        self.watched = True

    def start(self, *, on_term="lambda *_: sys.exit(0)", then="time.sleep(60)", patience=5.0):
        source = SOURCE.format(str(self.runs), on_term, then)
        reloader = Reloader(
            [sys.executable, "-c", source],
            changes=self.changes() if self.watched else None,
            patience=patience,
            report=self.said.append,
        )
        return asyncio.ensure_future(reloader.run())

    async def changes(self):
        while True:
            yield [Path(await self.queue.get())]

    async def started(self, times):
        await eventually(
            lambda: self.runs.exists() and len(self.runs.read_text().splitlines()) == times,
            f"start {times}",
        )


@pytest.fixture
def program(tmp_path):
    return Program(tmp_path)


async def test_a_change_starts_the_process_again(program):
    """The restarts happen in order, and a signal ends the command with exit code 0."""
    running = program.start()
    await program.started(1)
    program.queue.put_nowait("/somewhere/tasks.py")
    await program.started(2)
    assert program.said == ["tasks.py changed: restarting the worker"]
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 60) == 0


async def test_a_process_that_ends_waits_for_a_change(program):
    """A syntax error does not end the command."""
    running = program.start(then="sys.exit(2)")
    await program.started(1)
    await eventually(lambda: program.said, "the remark")
    assert program.said == ["the worker exited with code 2; it restarts once a file changes"]
    program.queue.put_nowait("tasks.py")
    await program.started(2)
    await eventually(lambda: len(program.said) == 3, "the next remark")
    os.kill(os.getpid(), signal.SIGINT)
    assert await asyncio.wait_for(running, 60) == 0


async def test_a_process_that_does_not_stop_is_killed(program):
    """It is killed when the time to stop is over."""
    running = program.start(on_term="signal.SIG_IGN", patience=0.05)
    await program.started(1)
    program.queue.put_nowait("tasks.py")
    await program.started(2)
    assert program.said[1] == "the worker did not stop within 0.05 s: killing it"
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 60) == 0


async def test_without_reload_its_end_is_the_end(program):
    """The exit code is that of the process."""
    program.watched = False
    assert await asyncio.wait_for(program.start(then="sys.exit(5)"), 60) == 5
    assert program.said == []


async def test_source_and_topology_files_are_watched(tmp_path):
    """They are watched below the folder; tools' own folders and other files are ignored."""
    for folder in ("shop", ".venv"):
        (tmp_path / folder).mkdir()
    changes = changes_of([tmp_path])
    first = asyncio.ensure_future(anext(changes))

    async def write():
        while not first.done():  # wait until the watcher listens
            for name in (".venv/a.py", "shop/notes.txt", "shop/tasks.py", "shop/topology.yaml"):
                (tmp_path / name).write_text("x")
            await asyncio.sleep(0.05)

    await asyncio.wait_for(write(), 60)
    assert {file.name for file in await first} <= {"tasks.py", "topology.yaml"}
    await changes.aclose()


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    with command_line(capsys, monkeypatch, tmp_path) as line:
        yield line


def test_what_is_missing_is_named_with_its_remedy(cli, monkeypatch):
    """The first error names the missing watcher; the next one names every way to a broker."""

    @contextmanager
    def absent(_wish):
        raise BrokerUnavailableError("not here")
        yield

    monkeypatch.setattr(RABBITMQ, "private", absent)
    monkeypatch.setattr(RABBITMQ, "in_docker", absent)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "watchfiles", None)
        ran = cli("dev", "shop:stem")
        assert ran.code == 2
        assert "pip install 'stem-amqp[dev]'" in ran.err
        assert "--no-reload" in ran.err
        assert cli("dev", "shop:stem", "--no-reload").code == 3
    before = signal.getsignal(signal.SIGTERM)
    ran = cli("dev", "shop:stem")
    assert signal.getsignal(signal.SIGTERM) is before
    assert ran.code == 3
    for line in (
        "error: No RabbitMQ can be started. Tried:",
        "  - installed RabbitMQ: not here",
        "  - Docker: not here",
        "--broker amqp://user:password@host:5672/",
    ):
        assert line in ran.err


def test_a_broker_that_is_named_must_answer(cli):
    """No broker is started in its place, and its password is not shown."""
    ran = cli("dev", "shop:stem", "--broker", "amqp://me:secret@127.0.0.1:1/")
    assert ran.code == 3
    assert "no RabbitMQ at amqp://me:***@127.0.0.1:1/: nothing listens there" in ran.err
    assert "secret" not in ran.err
