"""Test how a broker is found, and how a private one is started and leaves nothing behind."""

import gc
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import aio_pika
import pytest
from support import until

from stem_amqp.errors import BrokerError, BrokerUnavailableError
from stem_amqp.servers import finder, keeper
from stem_amqp.servers.answer import run_blocking
from stem_amqp.servers.finder import Server, find_server
from stem_amqp.servers.rabbitmq import private as private_rabbitmq
from stem_amqp.servers.rabbitmq.handshake import broker_version
from stem_amqp.servers.rabbitmq.kind import RABBITMQ, NoBrokerError
from stem_amqp.servers.rabbitmq.private import Programs
from stem_amqp.testing.cleanup import delete_namespace


def processes():
    """Return the parent of each running process, without zombies."""
    listing = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,stat="], check=True, capture_output=True, text=True
    ).stdout
    rows = [line.split() for line in listing.splitlines()]
    return {int(pid): int(parent) for pid, parent, state in rows if not state.startswith("Z")}


def family(pid):
    """Return a process and all its descendants."""
    members, parents = {pid}, processes()
    while grown := {child for child, parent in parents.items() if parent in members} - members:
        members |= grown
    return members


@contextmanager
def ends_at_once(_wish):
    """Simulate a way to a broker that always fails."""
    raise BrokerUnavailableError("the cable is out")
    yield


@contextmanager
def works(_wish):
    """Simulate a way to a broker that always works."""
    yield Server(url="amqp://somewhere/", origin="a test", version="4.3.0")


@contextmanager
def must_not_be_tried(_wish):
    """Fail the test: an earlier way works."""
    raise AssertionError("an earlier broker worked, or an explicit one failed")
    yield


@pytest.fixture
def ways(monkeypatch):
    """Return a function that replaces the ways to a broker."""
    monkeypatch.delenv("STEM_TEST_BROKER_URL", raising=False)
    return lambda **finders: monkeypatch.setattr(RABBITMQ, "ways", lambda: finders)


@pytest.mark.timeout(450)
def test_a_private_broker_starts_answers_and_leaves_nothing():
    """After the block there is no process, no folder and no listener."""
    try:
        private_rabbitmq.find_programs()
    except BrokerUnavailableError as error:
        pytest.skip(str(error))
    with private_rabbitmq.private_rabbitmq() as node:
        assert broker_version(node.url) == node.version
        assert node.folder.is_dir()
        pids = family(node.keeper_pid)
        assert len(pids) >= 3, "the keeper, epmd and the broker"
    assert not node.folder.exists()
    until(lambda: not pids & processes().keys(), "the end of every process")
    with pytest.raises(BrokerUnavailableError, match="nothing listens"):
        broker_version(node.url)


@pytest.fixture
def programs(tmp_path):
    """Return a function that makes shell scripts in place of epmd and RabbitMQ."""

    def make(server="exec sleep 600"):
        paths = {}
        for name, script in {"epmd": "exec sleep 600", "server": server}.items():
            paths[name] = tmp_path / name
            paths[name].write_text(f"#!/bin/sh\n{script}\n")
            paths[name].chmod(0o755)
        return Programs(**paths)

    return make


def test_a_folder_names_another_release(monkeypatch, tmp_path):
    """Only the programs in the folder are used, and the error names a missing one."""
    monkeypatch.setenv("STEM_TEST_RABBITMQ_SERVER", str(tmp_path))
    for name in ("rabbitmq-server", "rabbitmqctl"):
        missing = f"STEM_TEST_RABBITMQ_SERVER is {tmp_path}, and there is no program .*/{name}$"
        with pytest.raises(BrokerUnavailableError, match=missing):
            private_rabbitmq.find_programs()
        (tmp_path / name).touch(0o755)
    (tmp_path / "epmd").touch(0o755)
    found = private_rabbitmq.find_programs()
    assert found == Programs(server=tmp_path / "rabbitmq-server", epmd=tmp_path / "epmd")


def test_a_broker_ends_when_its_owner_is_killed(programs, tmp_path):
    """The keeper ends the broker when SIGKILL leaves its owner no time to clean up."""
    folder = tmp_path / "node"
    folder.mkdir()
    made = programs("sleep 600 & exec sleep 600")
    owner = textwrap.dedent(f"""
        import os, subprocess, sys, time
        keeper = subprocess.Popen(
            [sys.executable, {keeper.__file__!r}, str(os.getpid()), {str(folder)!r},
             "SIGKILL", {str(made.epmd)!r}, "--", {str(made.server)!r}],
            start_new_session=True)
        print(keeper.pid, flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True
    ) as process:
        kept = int(process.stdout.readline())
        until(lambda: len(family(kept)) == 4, "keeper, epmd, the broker and its child")
        pids = family(kept)
        process.send_signal(signal.SIGKILL)
    until(lambda: not pids & processes().keys(), "the end of every process")
    until(lambda: not folder.exists(), "the end of the folder")


def test_a_broker_that_ends_while_starting_shows_its_log(programs, monkeypatch):
    """The error quotes RabbitMQ's own log, which has the reason."""
    made = programs("echo 'BOOT FAILED: no space left on device'; exit 1")
    monkeypatch.setattr(private_rabbitmq, "find_programs", lambda: made)
    with (
        pytest.raises(BrokerUnavailableError, match=r"(?s)it ended while starting.*no space left"),
        private_rabbitmq.private_rabbitmq(),
    ):
        pytest.fail("there is no broker")


def test_the_url_of_the_environment_wins(stem_broker_url, monkeypatch):
    """A broker named by the environment is used, and nothing else is tried."""
    ways = dict.fromkeys(RABBITMQ.ways(), must_not_be_tried)
    monkeypatch.setenv("STEM_TEST_BROKER_URL", stem_broker_url)
    ways["STEM_TEST_BROKER_URL"] = RABBITMQ.ways()["STEM_TEST_BROKER_URL"]
    monkeypatch.setattr(RABBITMQ, "ways", lambda: ways)
    with find_server(RABBITMQ) as broker:
        assert broker.url == stem_broker_url
        assert "guest:guest" not in broker.origin


def test_a_named_broker_that_does_not_answer_is_an_error(monkeypatch, unused_port):
    """The tests do not silently use another broker than the named one."""
    url = f"amqp://me:secret@127.0.0.1:{unused_port}/"
    monkeypatch.setenv("STEM_TEST_BROKER_URL", url)
    with pytest.raises(NoBrokerError) as caught, find_server(RABBITMQ):
        pytest.fail("there is no broker")
    assert list(caught.value.reasons) == ["STEM_TEST_BROKER_URL"]
    assert "nothing listens there" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_open_port_is_no_broker():
    """Only an AMQP handshake counts: a silent listener is rejected in bounded time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(BrokerUnavailableError, match="no AMQP handshake within"):
            broker_version(f"amqp://guest:guest@127.0.0.1:{port}/", timeout=0.2)
    gc.collect()  # an open socket of the attempt would emit a warning here


def test_wrong_credentials_are_distinguished_from_silence(stem_broker_url):
    """A refused login is another error than a missing broker."""
    host = stem_broker_url.rpartition("@")[2]
    with pytest.raises(BrokerUnavailableError, match=r"(?i)auth|login") as caught:
        broker_version(f"amqp://nobody:wrong-word@{host}")
    assert "wrong-word" not in str(caught.value)


def test_no_broker_says_what_was_tried_and_why_it_failed(ways):
    """The error names every way with its reason, in order, and the remedy."""
    ways(**{"a broker on Mars": ends_at_once, "one on Venus": ends_at_once})
    with pytest.raises(NoBrokerError) as caught, find_server(RABBITMQ):
        pytest.fail("there is no broker")
    text = str(caught.value)
    assert text.index("a broker on Mars: the cable is out") < text.index("one on Venus")
    assert "docker compose up -d rabbitmq" in text
    assert "STEM_TEST_BROKER_URL=amqp://" in text


def test_the_first_way_that_works_is_taken(ways):
    """No broker is started if one is found."""
    told = []
    ways(broken=ends_at_once, good=works, late=must_not_be_tried)
    with find_server(RABBITMQ, report=told.append) as broker:
        assert broker.url == "amqp://somewhere/"
    assert told == ["RabbitMQ 4.3.0: a test"]


def test_an_error_of_the_block_is_not_a_broken_broker(ways):
    """The caller gets the original exception."""
    ways(good=works, late=must_not_be_tried)
    with pytest.raises(BrokerUnavailableError, match="later"), find_server(RABBITMQ):
        raise BrokerUnavailableError("later")


@pytest.fixture
def installations(ways, monkeypatch):
    """Return a list that records the requested installations; nothing is installed."""
    asked = []
    monkeypatch.delenv("STEM_TEST_INSTALL", raising=False)
    monkeypatch.setattr(finder, "install_package", lambda *given: asked.append(given[0]))
    monkeypatch.setattr(RABBITMQ, "private", works)
    ways(**{"apt-get": RABBITMQ.ways()["apt-get"]})
    return asked


@pytest.mark.parametrize("variable", [None, "0"])
def test_packages_are_not_installed_unasked(installations, monkeypatch, variable):
    """A test run of a user of stem-amqp never changes the machine."""
    if variable is not None:
        monkeypatch.setenv("STEM_TEST_INSTALL", variable)
    with (
        pytest.raises(NoBrokerError, match="set STEM_TEST_INSTALL=1 to allow it"),
        find_server(RABBITMQ),
    ):
        pytest.fail("there is no broker")
    assert not installations


def test_packages_are_installed_where_that_is_allowed(installations, monkeypatch):
    """With the permission, the package is installed, and then a private broker started."""
    monkeypatch.setenv("STEM_TEST_INSTALL", "1")
    with find_server(RABBITMQ) as broker:
        assert broker.origin == "a test"
    assert installations == ["rabbitmq-server"]


def test_blocking_work_runs_beside_a_running_event_loop():
    """Code with a running event loop can use the fixtures, and exceptions reach it."""

    async def inner():
        raise LookupError("from inside")

    async def outer():
        with pytest.raises(LookupError, match="from inside"):
            run_blocking(inner())

    run_blocking(outer())


def test_pytest_loads_the_plugin_without_its_tools():
    """Every pytest run loads the plugin; its tools are imported only when a broker is requested."""
    code = (
        "import sys, stem_amqp.testing.plugin\n"
        "heavy = {'testcontainers', 'docker', 'stem_amqp.servers.finder'} & set(sys.modules)\n"
        "print(*heavy)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(keeper.__file__).parents[2],
    )
    assert done.stdout.split() == []


async def test_cleaning_up_deletes_existing_entities(stem_broker_url, stem_namespace):
    """Queues are deleted with their messages; undeclared ones count as deleted."""
    exchange, queue = f"{stem_namespace.name}.tasks", f"{stem_namespace.name}.work"
    stem_namespace.delete_later(exchanges=[exchange], queues=[queue])
    async with await aio_pika.connect(stem_broker_url) as connection:
        channel = await connection.channel()
        declared = await channel.declare_exchange(exchange, durable=True)
        work = await channel.declare_queue(queue, durable=True)
        await work.bind(declared, "key")
        await declared.publish(aio_pika.Message(b"left over"), "key")
        await delete_namespace(stem_broker_url, [exchange, "t-never.tasks"], [queue, "t-never"])
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await channel.declare_queue(queue, passive=True)
        fresh = await connection.channel()
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await fresh.declare_exchange(exchange, passive=True)


async def test_cleaning_up_names_what_the_broker_keeps(stem_broker_url, stem_namespace):
    """A queue in exclusive use cannot be deleted; the other queues are."""
    held, free = f"{stem_namespace.name}.a-held", f"{stem_namespace.name}.b-free"
    stem_namespace.delete_later(queues=[held, free])
    async with await aio_pika.connect(stem_broker_url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(held, exclusive=True)
        await channel.declare_queue(free, durable=True)
        with pytest.raises(BrokerError, match=r"a-held"):
            await delete_namespace(stem_broker_url, [], [held, free])
        with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
            await channel.declare_queue(free, passive=True)


@pytest.fixture
def unused_port():
    """Yield a port of 127.0.0.1 on which nothing listens, and that no other process can take meanwhile."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield one.getsockname()[1]


def test_a_killed_owner_is_noticed_by_its_process_id(programs, tmp_path):
    """A keeper ends at once if its parent is not the owner that it was given."""
    made = programs()
    done = subprocess.run(
        [sys.executable, keeper.__file__, "1", str(tmp_path), "SIGKILL", str(made.server)],
        check=False,
        timeout=90,
    )
    assert done.returncode == 0
    assert not tmp_path.exists()
