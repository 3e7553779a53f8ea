"""A worker's keys on the command line: read again on SIGHUP, and its secrets shown nowhere."""

import base64
import os
import re
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cli_support import command_line

from stem_amqp import Stem
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names

SHOP = """
    from stem_amqp import Stem
    stem = Stem()

    @stem.task("orders.sync", queue="orders", max_retries=0)
    async def sync(order_id: str) -> str:
        return order_id
"""
# Without the application, each command reads the settings anew
ENQUEUE = ("enqueue", "orders.sync", "--args", '{"order_id": "42"}', "--queue", "orders")


def new_secret():
    """Return a secret as a key file has it."""
    return base64.b64encode(os.urandom(32)).decode()


def key_file(path, *keys):
    """Write a key file of ids and secrets, of which the first is active."""
    entries = [
        f"- {{id: {key_id}, algorithm: hmac-sha256, secret: '{secret}', active: {key == 0}}}"
        for key, (key_id, secret) in enumerate(keys)
    ]
    path.touch(mode=0o600)
    path.write_text("keys:\n" + "\n".join(entries) + "\n")
    return path


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path, stem_broker_url, stem_namespace):
    """A command line in a directory with an application, on a broker that is cleaned afterwards."""
    entities = compile_topology(Topology.default(), Names(stem_namespace.name), ["orders"])
    stem_namespace.delete_later(
        exchanges=[exchange.name for exchange in entities.exchanges],
        queues=[queue.name for queue in entities.queues],
    )
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        monkeypatch.setenv("STEM_BROKER_URL", stem_broker_url)
        monkeypatch.setenv("STEM_NAMESPACE", stem_namespace.name)
        cli.write("shop.py", SHOP)
        yield cli


def until(holds, what, timeout=30.0):
    """Wait until a condition holds, and return its value."""
    deadline = time.monotonic() + timeout
    while not (value := holds()):
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout:g} s"
        time.sleep(0.02)
    return value


@contextmanager
def worker(cli, *words, ready=1):
    """Run a worker for a block that begins when it consumes."""
    before = cli.log().count("is ready")
    with cli.process("worker", "shop:stem", *words) as process:
        until(lambda: cli.log().count("is ready") >= before + ready, "the worker's start")
        yield process


def ended(process):
    """Stop a process in order, and return its exit code."""
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=30)


@pytest.mark.parametrize("processes", [1, 2])
def test_sighup_reads_the_keys_again(cli, monkeypatch, processes):
    """A removed key is accepted until then, and no more from then on; nothing is restarted."""
    old, new = ("k1", new_secret()), ("k2", new_secret())
    path = key_file(cli.folder / "worker.yaml", old)
    monkeypatch.setenv("STEM_KEYS_FILE", str(path))
    with worker(cli, "-p", processes, ready=processes) as process:
        monkeypatch.setenv("STEM_KEYS_FILE", str(key_file(cli.folder / "web.yaml", old)))
        assert cli(*ENQUEUE, "--timeout", "20s").code == 0
        key_file(path, new)
        process.send_signal(signal.SIGHUP)
        told = "SIGHUP: keys: added k2; removed k1; signing with k2"
        until(lambda: cli.log().count(told) == processes, "the reload")
        assert cli(*ENQUEUE).code == 0
        until(lambda: "signature-invalid: the key 'k1' is not known here" in cli.log(), "a refusal")
        key_file(cli.folder / "web.yaml", new)
        assert cli(*ENQUEUE, "--timeout", "20s").code == 0
        assert ended(process) == 0
    assert cli.log().count("is ready") == processes


def test_sighup_with_a_broken_file_keeps_the_old_keys(cli, monkeypatch):
    """A slip of the hand at three in the morning stops nothing."""
    secret = new_secret()
    path = key_file(cli.folder / "keys.yaml", ("k1", secret))
    monkeypatch.setenv("STEM_KEYS_FILE", str(path))
    with worker(cli) as process:
        text = path.read_text()
        path.write_text(text.replace("hmac-sha256", "hmac"))
        process.send_signal(signal.SIGHUP)
        until(lambda: "the old ones stay" in cli.log(), "the complaint")
        path.write_text(text)
        assert cli(*ENQUEUE, "--timeout", "20s").code == 0
        assert ended(process) == 0
    assert secret not in cli.log()


def test_secrets_show_in_no_log_and_no_process_list(cli, monkeypatch, stem_broker_url):
    """With the most talkative log, with refused messages, and in all processes."""
    signing, encryption = new_secret(), new_secret()
    monkeypatch.setenv("STEM_SIGNING_KEY", f"k1:{signing}")
    monkeypatch.setenv("STEM_ENCRYPTION_KEY", f"c1:{encryption}")
    monkeypatch.setenv("STEM_ENCRYPT", "true")
    password = urlsplit(stem_broker_url).password
    with worker(cli, "-p", "2", "--log-level", "DEBUG", ready=2) as process:
        children = re.findall(r"worker \d is process (\d+)", cli.log())
        lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in (process.pid, *children)]
        assert all("shop:stem" in line for line in lines)
        assert cli(*ENQUEUE, "--timeout", "20s").code == 0
        monkeypatch.setenv("STEM_SIGNING_KEY", f"k1:{new_secret()}")
        assert cli(*ENQUEUE).code == 0
        until(lambda: "signature-invalid" in cli.log(), "a refusal")
        assert ended(process) == 0
    shown = "\n".join([cli.log(), *lines])
    for secret in (signing, encryption, f":{password}@"):
        assert secret not in shown


def test_secrets_show_in_no_repr_and_no_error(monkeypatch):
    """Of nothing that a traceback or a debugger prints by itself."""
    signing = new_secret()
    monkeypatch.setenv("STEM_SIGNING_KEY", f"k1:{signing}")
    stem = Stem(broker_url="amqp://me:hidden@localhost/", backend_url="rpc://")
    shown = [repr(stem), repr(stem.settings), str(stem.settings), repr(stem.keys)]
    shown += [repr(stem.keys.current), repr(stem.keys.find("k1")), stem.settings.model_dump_json()]
    monkeypatch.setenv("STEM_SIGNING_KEY", f"{signing}")
    with pytest.raises(ValueError, match="STEM_SIGNING_KEY") as caught:
        stem.reload_keys()
    text = "\n".join([*shown, str(caught.value), repr(caught.value)])
    assert signing not in text
    assert "hidden" not in text
