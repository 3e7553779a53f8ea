"""``stem-amqp top`` on RabbitMQ: one frame as text, and the live display in a pseudo-terminal."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from cli_support import ROOT, worker
from support import until

SHOP = """
    import asyncio
    from stem_amqp import Stem
    stem = Stem(backend_url="memory://")

    @stem.task("orders.sync", queue="orders", max_retries=0)
    async def sync(wait: bool) -> None:
        if not wait:
            raise ValueError("no such order")
        await asyncio.sleep(60)
"""


@pytest.fixture
def cli(cli_on_rabbitmq, monkeypatch):
    """Return a command line in a directory with an application."""
    monkeypatch.setenv("STEM_MANAGEMENT_URL", "http://127.0.0.1:1")
    cli_on_rabbitmq.write("shop.py", SHOP)
    return cli_on_rabbitmq


class Terminal:
    """A program in a pseudo-terminal of 80 columns and 24 lines."""

    def __init__(self, folder, *words):
        self.keyboard, self.device = pty.openpty()
        fcntl.ioctl(self.device, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.device)
        self.output = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stem_amqp", *words],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "NO_COLOR": "1"},
            stdin=self.device,
            stdout=self.device,
            stderr=self.device,
            start_new_session=True,
        )

    def read(self):
        """Return all output so far."""
        while select.select([self.keyboard], [], [], 0.02)[0]:
            self.output += os.read(self.keyboard, 65536)
        return self.output

    def press(self, keys):
        """Type keys, and forget the output so far."""
        self.read()
        self.output = b""
        os.write(self.keyboard, keys)

    def ended(self):
        """Return the exit code, or None; read the output, so that the program can write it."""
        code = self.process.poll()
        self.read()  # after an exit this is all that the program has written
        return code

    def close(self):
        """Kill the program, and close the terminal."""
        self.process.kill()
        self.process.wait(timeout=60)
        os.close(self.keyboard)
        os.close(self.device)


@pytest.fixture
def terminal(cli):
    """Yield the live display after its first frame."""
    terminal = Terminal(cli.folder, "top", "shop:stem")
    until(lambda: b"0 ready" in terminal.read(), "the first frame")
    yield terminal
    terminal.close()


def assert_restored(terminal):
    """The terminal has its mode, its first screen and its cursor again."""
    assert termios.tcgetattr(terminal.device) == terminal.before
    assert terminal.output.rindex(b"\x1b[?1049l") > terminal.output.rfind(b"\x1b[?1049h")
    assert terminal.output.rindex(b"\x1b[?25h") > terminal.output.rfind(b"\x1b[?25l")


def test_the_live_display(terminal):
    """Keys change the view at once, without an echo; q ends with exit code 0."""
    assert b"\x1b[?1049h" in terminal.read()
    assert not termios.tcgetattr(terminal.device)[3] & termios.ECHO
    for key, expected in ((b"2", b"There is no worker"), (b"?", b"Columns"), (b"x4", b"DELAY")):
        terminal.press(key)
        words = (expected, b"No message is delayed") if key == b"x4" else (expected,)
        until(lambda words=words: any(word in terminal.read() for word in words), expected)
    fcntl.ioctl(terminal.device, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 40, 0, 0))
    terminal.press(b"/xyzzy")
    until(lambda: b"/xyzzy" in terminal.read(), "the filter")
    terminal.press(b"\x1b")
    terminal.press(b"q")
    assert until(lambda: terminal.ended() is not None, "the end")
    assert terminal.process.returncode == 0
    assert_restored(terminal)
    assert b"\x1b[3" not in terminal.output, "no colours with NO_COLOR"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_too(terminal, number):
    """The terminal is restored."""
    terminal.press(b"")
    terminal.process.send_signal(number)
    assert until(lambda: terminal.ended() is not None, "the end")
    assert terminal.process.returncode == 0
    assert_restored(terminal)


def test_one_frame_as_text(cli, monkeypatch):
    """It has queues, workers, runs and failures, and says what is not available."""
    monkeypatch.setenv("COLUMNS", "150")
    with worker(cli, "--name", "front"):
        cli("enqueue", "--app", "shop:stem", "orders.sync", "--args", '{"wait": true}')
        failed = cli("enqueue", "--app", "shop:stem", "orders.sync", "--args", '{"wait": false}')

        def shown():
            ran = cli("top", "shop:stem", "--once")
            return ran.out if "no such order" in ran.out and "RUNNING" in ran.out else None

        text = until(shown, "the run and the failure")
        monkeypatch.setenv("COLUMNS", "80")
        narrow = cli("top", "shop:stem", "--once", "--filter", "sync")
    assert "1 running, " in text
    assert "front" in text
    assert "ValueError: no such order" in text
    assert failed.out.split()[0] in text
    assert "not available without the management API" in text
    assert max(map(len, text.splitlines())) <= 150
    assert max(map(len, narrow.out.splitlines())) <= 80
    assert "orders.sync" in narrow.out
    assert "management" not in narrow.err, "the frame says it"


def test_without_a_terminal(cli):
    """The error names what to use instead."""
    ran = cli("top", "shop:stem")
    assert ran.code == 2
    assert "--once" in ran.err
    assert "stem-amqp queues --json" in ran.err


def test_without_a_broker(cli, monkeypatch):
    """An unreachable broker at the start is an error, as for other commands."""
    monkeypatch.setenv("STEM_BROKER_URL", "amqp://guest:guest@127.0.0.1:1/")
    started = time.monotonic()
    assert cli("top", "shop:stem", "--once").code == 3
    assert time.monotonic() - started < 30
