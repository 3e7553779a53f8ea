"""Test a worker's keys on the command line: they are reloaded on SIGHUP, and never shown."""

import base64
import os
import re
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cli_support import worker
from support import until

from stem_amqp import Stem

SHOP = """
    from stem_amqp import Stem
    stem = Stem()

    @stem.task("orders.sync", queue="orders", max_retries=0)
    async def sync(order_id: str) -> str:
        return order_id
"""
POOL = """
    import asyncio
    from pathlib import Path

    @stem.task("orders.forward", queue="orders", max_retries=0, executor="process")
    async def forward() -> str:
        await stem.enqueue("orders.sync", {"order_id": "1"})
        return "sent"

    @stem.task("orders.wait", queue="orders", max_retries=0, executor="process")
    async def wait() -> str:
        Path("begun").touch()
        while not Path("go").exists():
            await asyncio.sleep(0.05)
        handle = await stem.enqueue("orders.sync", {"order_id": "2"})
        await handle.result(timeout=60)
        Path("done").touch()
        return "sent"
"""
FORWARD = ("enqueue", "orders.forward", "--queue", "orders")
WAIT = ("enqueue", "orders.wait", "--queue", "orders")
# Without the application, each command reads the settings again
ENQUEUE = ("enqueue", "orders.sync", "--args", '{"order_id": "42"}', "--queue", "orders")


def new_secret():
    """Return a secret as the text of a key file."""
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
def cli(cli_on_rabbitmq):
    """Return a command line in a directory with an application."""
    cli_on_rabbitmq.write("shop.py", SHOP)
    return cli_on_rabbitmq


def ended(process):
    """Stop a process with SIGTERM, and return its exit code."""
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=60)


@pytest.mark.parametrize("processes", [1, 2])
def test_sighup_reads_the_keys_again(cli, monkeypatch, processes):
    """A removed key is accepted until SIGHUP and not afterwards, without a restart."""
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
        until(
            lambda: "signature-invalid: the key 'k1' is unknown to this process" in cli.log(),
            "a refusal",
        )
        key_file(cli.folder / "web.yaml", new)
        assert cli(*ENQUEUE, "--timeout", "20s").code == 0
        assert ended(process) == 0
    assert cli.log().count("is ready") == processes


def test_sighup_reaches_the_processes_of_the_pool(cli, monkeypatch):
    """A task in a child process, even a running one, signs what it enqueues with the new key."""
    cli.write("shop.py", SHOP + POOL)
    old, new = ("k1", new_secret()), ("k2", new_secret())
    path = key_file(cli.folder / "keys.yaml", old)
    monkeypatch.setenv("STEM_KEYS_FILE", str(path))
    with worker(cli) as process:
        assert cli(*FORWARD, "--timeout", "30s").code == 0
        begun = cli.folder / "begun"
        monkeypatch.setenv("STEM_KEYS_FILE", str(key_file(cli.folder / "web.yaml", old)))
        assert cli(*WAIT).code == 0
        until(begun.exists, "the run in the pool")
        key_file(path, new)
        process.send_signal(signal.SIGHUP)
        told = "SIGHUP: keys: added k2; removed k1; signing with k2"
        until(lambda: cli.log().count(told) >= 2, "the reload in both processes")
        (cli.folder / "go").touch()
        until((cli.folder / "done").exists, "the end of the run")
        assert "signature-invalid" not in cli.log()
        assert ended(process) == 0


def test_a_rejected_message_is_seen_and_replayed_by_the_commands(cli, monkeypatch):
    """The commands need no application, only the keys."""
    cli.write(
        "shop.py", SHOP.replace("return order_id", "open('ran', 'w').close(); return order_id")
    )
    right, wrong = ("k1", new_secret()), ("k2", new_secret())
    path = key_file(cli.folder / "keys.yaml", right)
    monkeypatch.setenv("STEM_KEYS_FILE", str(path))
    with worker(cli) as process:
        monkeypatch.setenv("STEM_KEYS_FILE", str(key_file(cli.folder / "web.yaml", wrong)))
        assert cli(*ENQUEUE).code == 0
        until(lambda: "dead-lettered to dead.rejected" in cli.log(), "a refusal")
        key_file(path, right, wrong)
        process.send_signal(signal.SIGHUP)
        until(lambda: "added k2" in cli.log(), "the reload")
        monkeypatch.setenv("STEM_KEYS_FILE", str(path))
        listed = until(
            lambda: (one := cli("dlq", "list", "dead.rejected")).code == 0 and one, "a list"
        )
        assert "signature-invalid" in listed.out
        replayed = cli("dlq", "replay", "dead.rejected", "--yes")
        assert replayed.code == 0, replayed.err
        until((cli.folder / "ran").exists, "the run")
        assert ended(process) == 0
    assert cli.log().count("dead-lettered to dead.rejected") == 1


def test_sighup_with_a_broken_file_keeps_the_old_keys(cli, monkeypatch):
    """A mistake in the key file stops no worker."""
    secret = new_secret()
    path = key_file(cli.folder / "keys.yaml", ("k1", secret))
    monkeypatch.setenv("STEM_KEYS_FILE", str(path))
    with worker(cli) as process:
        text = path.read_text()
        path.write_text(text.replace("hmac-sha256", "hmac"))
        process.send_signal(signal.SIGHUP)
        until(lambda: "the old keys stay" in cli.log(), "the complaint")
        path.write_text(text)
        assert cli(*ENQUEUE, "--timeout", "20s").code == 0
        assert ended(process) == 0
    assert secret not in cli.log()


def test_secrets_show_in_no_log_and_no_process_list(cli, monkeypatch, stem_broker_url):
    """This holds at log level DEBUG, with refused messages, and for all processes."""
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
    """Nothing that a traceback or a debugger prints contains a secret."""
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
