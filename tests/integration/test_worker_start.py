"""Test the start and the end of a worker's process: a late broker, signals, the alive file."""

import signal
import socket
import subprocess
import time
import uuid

import pytest
from cli_support import command_line
from support import free_port, until

APP = """
    import time
    from stem_amqp import Stem
    stem = Stem()

    @stem.task("orders.pack", queue="orders")
    def pack() -> None:
        pass
"""
PATIENCE = 60


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        cli.write("shop.py", APP)
        yield cli


@pytest.fixture
def namespace(stem_broker_url):
    """Yield a namespace, and delete its entities afterwards."""
    import asyncio

    from stem_amqp import Stem

    name = f"t-{uuid.uuid4().hex[:8]}"
    yield name
    stem = Stem(broker_url=stem_broker_url, namespace=name, backend_url="memory://")
    stem.task("orders.pack", queue="orders")(lambda: None)

    async def remove():
        stem.reconfigure(provision="none")
        async with stem:
            await stem.connected.transport.delete(stem.blueprint.entities)

    asyncio.run(remove())


@pytest.mark.parametrize("words", [(), ("--processes", "2")])
def test_signals_that_come_late_do_not_change_the_exit_code(cli, stem_broker_url, namespace, words):
    """Repeated SIGTERM until the process has ended gives exit code 0."""
    with cli.process(
        "worker", "shop:stem", "--broker-url", stem_broker_url, "--namespace", namespace, *words
    ) as worker:
        until(lambda: "ready" in cli.log(), cli.log)
        while worker.poll() is None:
            worker.send_signal(signal.SIGTERM)
            time.sleep(0.001)
        assert worker.returncode == 0, cli.log()


@pytest.mark.parametrize("words", [(), ("--processes", "2")])
def test_a_worker_without_a_broker_ends_with_its_exit_code(cli, words):
    """This also holds for several processes, which are not restarted for ever."""
    url = f"amqp://127.0.0.1:{free_port()}/"
    with cli.process("worker", "shop:stem", "--broker-url", url, *words) as worker:
        assert worker.wait(PATIENCE) == 3
    assert "nothing listens there" in cli.log()
    if words:
        assert "use --wait-for-broker 5m to wait for the broker" in cli.log()


@pytest.mark.parametrize("words", [(), ("--processes", "2")])
def test_a_worker_waits_for_a_broker_that_comes_later(cli, stem_broker_url, namespace, words):
    """With --wait-for-broker the worker retries, and starts as soon as a broker answers."""
    broker = stem_broker_url.split("@")[1].strip("/").split(":")
    port = free_port()
    url = stem_broker_url.replace(":".join(broker), f"127.0.0.1:{port}")
    with cli.process(
        "worker", "shop:stem", "--broker-url", url, "--namespace", namespace,
        "--wait-for-broker", "1m", "--alive-file", "alive", *words,
    ) as worker:  # fmt: skip
        until(lambda: "not connected yet, attempt 1: no connection" in cli.log(), cli.log)
        check = ["sh", "-c", "find alive -mmin -1 | grep -q ."]  # as in the documentation
        until(
            lambda: subprocess.run(check, cwd=cli.folder, check=False).returncode == 0,
            "the alive file of the supervisor, which is not the process that tries",
        )
        with forwarded(port, (broker[0], int(broker[1]))):
            until(lambda: "ready" in cli.log(), cli.log)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(PATIENCE) == 0
    assert not (cli.folder / "alive").exists()


def test_waiting_ends_with_its_time_and_at_once_by_a_signal(cli):
    """The exit code is the same as without waiting."""
    url = f"amqp://127.0.0.1:{free_port()}/"
    words = ("worker", "shop:stem", "--broker-url", url, "--wait-for-broker")
    with cli.process(*words, "1s") as worker:
        assert worker.wait(PATIENCE) == 3
    before = cli.log().count("not connected yet, attempt 1:")  # none if one attempt took longer
    with cli.process(*words, "forever") as worker:
        until(lambda: cli.log().count("not connected yet, attempt 1:") > before, cli.log)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0


def test_what_a_broker_refuses_is_not_waited_for(cli, stem_broker_url):
    """A wrong password is not retried."""
    url = stem_broker_url.replace("guest:guest", "guest:wrong")
    with cli.process(
        "worker", "shop:stem", "--broker-url", url, "--wait-for-broker", "forever"
    ) as worker:
        assert worker.wait(PATIENCE) == 5


def test_other_commands_wait_too(cli, stem_broker_url):
    """`topology apply` and `enqueue` are the first steps of a deploy."""
    url = f"amqp://127.0.0.1:{free_port()}/"
    for words in (("topology", "apply"), ("enqueue", "orders.pack")):
        ran = cli(*words, "--broker-url", url, "--wait-for-broker", "600ms")
        assert ran.code == 3
        ran = cli(*words, "--broker-url", url, "--wait-for-broker", "soon")
        assert ran.code == 2


def test_an_alive_file_that_cannot_be_written_is_reported(cli, stem_broker_url):
    """It is detected at the start."""
    with cli.process(
        "worker", "shop:stem", "--broker-url", stem_broker_url, "--alive-file", "no/where"
    ) as worker:
        assert worker.wait(PATIENCE) == 2
    assert "--alive-file no/where cannot be written: No such file or directory" in cli.log()


def forwarded(port, target):
    """Forward a port to the broker during the block."""
    import contextlib
    import threading

    def pump(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    @contextlib.contextmanager
    def forward():
        listening = socket.create_server(("127.0.0.1", port))
        pairs = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    inner, _ = listening.accept()
                    outer = socket.create_connection(target)
                    pairs.append((inner, outer))
                    for ends in ((inner, outer), (outer, inner)):
                        threading.Thread(target=pump, args=ends, daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()
            thread.join(60)
            for one in [end for pair in pairs for end in pair]:
                one.close()

    return forward()
