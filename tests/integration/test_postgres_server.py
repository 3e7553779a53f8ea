"""Test how a PostgreSQL is found, and how a private one is started and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import pytest
from support import until

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.servers import finder, keeper
from stem_amqp.servers.finder import Server, find_server
from stem_amqp.servers.postgres import private as private_postgres
from stem_amqp.servers.postgres.kind import POSTGRES, NoPostgresError, temporary_database
from stem_amqp.servers.postgres.login import execute, postgres_version


def is_alive(pid):
    """Return whether a process runs; a zombie does not."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True
    ).stdout
    return bool(state.strip()) and not state.startswith("Z")


@contextmanager
def never(_wish):
    """Simulate a way to a server that always fails."""
    raise BackendUnavailableError("the cable is out")
    yield


@contextmanager
def works(_wish):
    """Simulate a way to a server that always works."""
    yield Server(url="postgresql://somewhere/db", origin="a test", version="15.4")


@pytest.fixture
def ways(monkeypatch):
    """Return a function that replaces the ways to a server."""
    monkeypatch.delenv("STEM_TEST_POSTGRES_URL", raising=False)
    return lambda **finders: monkeypatch.setattr(POSTGRES, "ways", lambda: finders)


def test_the_first_that_works_is_taken(ways):
    """The ways are tried in order; the report names the server that was found."""
    told = []
    ways(first=never, second=works, third=never)
    with find_server(POSTGRES, report=told.append) as server:
        assert server.origin == "a test"
    assert told == ["PostgreSQL 15.4: a test"]


def test_where_nothing_works_every_reason_is_reported(ways):
    """The error lists every way with its reason, and tests without a server are skipped."""
    ways(first=never, second=never)
    with pytest.raises(NoPostgresError, match=r"(?s)first: the cable.*second: the cable") as caught:
        find_server(POSTGRES).__enter__()
    assert not caught.value.named


def test_the_url_of_the_environment_wins_and_its_silence_is_an_error(monkeypatch, own_postgres):
    """The tests do not silently use another server than the named one."""
    monkeypatch.setenv("STEM_TEST_POSTGRES_URL", own_postgres.url)
    with find_server(POSTGRES) as server:
        assert server.url == own_postgres.url
        assert "postgres:***@" in server.origin
    wrong = "postgresql://postgres:secret@127.0.0.1:1/postgres"
    monkeypatch.setenv("STEM_TEST_POSTGRES_URL", wrong)
    with pytest.raises(NoPostgresError, match="nothing listens there") as caught:
        find_server(POSTGRES).__enter__()
    assert caught.value.named
    assert "secret" not in str(caught.value)


def test_packages_are_installed_only_where_that_is_allowed(ways, monkeypatch):
    """A test run of a user of stem-amqp never changes the machine."""
    asked = []
    monkeypatch.setattr(finder, "install_package", lambda *given: asked.append(given))
    monkeypatch.setattr(POSTGRES, "private", works)
    ways(apt=POSTGRES.ways()["apt-get"])
    monkeypatch.setenv("STEM_TEST_INSTALL", "0")
    with pytest.raises(NoPostgresError, match="set STEM_TEST_INSTALL=1 to allow it"):
        find_server(POSTGRES).__enter__()
    assert not asked
    monkeypatch.setenv("STEM_TEST_INSTALL", "1")
    with find_server(POSTGRES):
        assert asked[0][0] == "postgresql"


def test_a_temporary_database_is_dropped_afterwards(own_postgres):
    """It is dropped even while a client is connected."""
    server = Server(url=own_postgres.url, origin="a test", version=own_postgres.version)
    with temporary_database(server) as url:
        execute(url, "CREATE TABLE t (id integer)")
    with pytest.raises(BackendUnavailableError, match="does not exist"):
        postgres_version(url)


def test_a_private_server_starts_restarts_and_leaves_nothing(own_postgres):
    """Committed data survives a restart; after the block there is no process and no folder."""
    with private_postgres.private_postgres() as server:
        assert server.port != own_postgres.port
        execute(server.url, "CREATE TABLE t (id integer)")
        first = server.pid
        server.stop()
        with pytest.raises(BackendUnavailableError, match="nothing listens there"):
            postgres_version(server.url)
        server.start()
        execute(server.url, "SELECT * FROM t")
        second = server.pid
    assert not server.folder.exists()
    assert not is_alive(first)
    assert not is_alive(second)


def test_a_server_that_does_not_start_shows_its_log(own_postgres, monkeypatch):
    """The error quotes PostgreSQL's own log, which has the reason."""
    monkeypatch.setitem(private_postgres.SETTINGS, "shared_buffers", "much")
    with (
        pytest.raises(BackendUnavailableError, match=r"(?s)ended while starting.*shared_buffers"),
        private_postgres.private_postgres(),
    ):
        pytest.fail("there is no server")


def test_without_an_installed_server_there_is_a_reason(monkeypatch):
    """The error gives the reason, and no folder is left."""
    monkeypatch.setattr(private_postgres, "FOLDERS", ())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BackendUnavailableError, match="no PostgreSQL server is installed"):
        private_postgres.private_postgres().__enter__()


def test_a_server_ends_when_its_owner_is_killed(tmp_path):
    """The keeper ends the server when SIGKILL leaves its owner no time to clean up."""
    folder = tmp_path / "node"
    folder.mkdir()
    owner = textwrap.dedent(f"""
        import os, subprocess, sys, time
        keeper = subprocess.Popen(
            [sys.executable, {keeper.__file__!r}, str(os.getpid()), {str(folder)!r},
             "SIGQUIT", "/bin/sh", "-c", "echo $$ > pid; exec sleep 600"], start_new_session=True)
        time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", owner]) as process:
        pid = folder / "pid"
        until(lambda: pid.exists() and pid.read_text().strip(), "the server's start")
        server = int(pid.read_text())
        process.send_signal(signal.SIGKILL)
    until(lambda: not is_alive(server), "the end of the server")
    until(lambda: not folder.exists(), "the end of the folder")
    assert os.getpid() != server
