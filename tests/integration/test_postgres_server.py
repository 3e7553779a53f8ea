"""Finding a PostgreSQL, starting a private one, and leaving nothing behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager

import pytest

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.testing import postgres_keeper, postgres_server, private_postgres
from stem_amqp.testing.postgres_answer import execute, postgres_version
from stem_amqp.testing.postgres_server import (
    NoPostgresError,
    PostgresServer,
    find_postgres,
    temporary_database,
)


def eventually(holds, what, timeout=10.0):
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout:g} s"
        time.sleep(0.02)


def is_alive(pid):
    """Say whether a process runs; a zombie does not."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True
    ).stdout
    return bool(state.strip()) and not state.startswith("Z")


@contextmanager
def never(_wish):
    """Be a way to a server that never works."""
    raise BackendUnavailableError("the cable is out")
    yield


@contextmanager
def works(_wish):
    """Be a way to a server that always works."""
    yield PostgresServer(url="postgresql://somewhere/db", origin="a test", version="15.4")


@pytest.fixture
def ways(monkeypatch):
    """Replace the ways to a server."""
    monkeypatch.delenv("STEM_TEST_POSTGRES_URL", raising=False)
    return lambda **finders: monkeypatch.setattr(postgres_server, "finders", lambda: finders)


def test_the_first_that_works_is_taken(ways):
    """Each way has its turn; the report says what was found."""
    told = []
    ways(first=never, second=works, third=never)
    with find_postgres(report=told.append) as server:
        assert server.origin == "a test"
    assert told == ["PostgreSQL 15.4: a test"]


def test_where_nothing_works_every_reason_is_told(ways):
    """The error is a list of what was tried, and tests without a server are skipped."""
    ways(first=never, second=never)
    with pytest.raises(NoPostgresError, match=r"(?s)first: the cable.*second: the cable") as caught:
        find_postgres().__enter__()
    assert not caught.value.named


def test_the_url_of_the_environment_wins_and_its_silence_is_an_error(monkeypatch, own_postgres):
    """Testing another server than the named one would be a silent lie."""
    monkeypatch.setenv("STEM_TEST_POSTGRES_URL", own_postgres.url)
    with find_postgres() as server:
        assert server.url == own_postgres.url
        assert "postgres:***@" in server.origin
    wrong = "postgresql://postgres:secret@127.0.0.1:1/postgres"
    monkeypatch.setenv("STEM_TEST_POSTGRES_URL", wrong)
    with pytest.raises(NoPostgresError, match="nobody listens there") as caught:
        find_postgres().__enter__()
    assert caught.value.named
    assert "secret" not in str(caught.value)


def test_packages_are_installed_only_where_that_is_allowed(ways, monkeypatch):
    """A test run of somebody who merely uses stem-amqp never changes the machine."""
    asked = []
    monkeypatch.setattr(postgres_server, "install_package", lambda *given: asked.append(given))
    monkeypatch.setattr(postgres_server, "_installed", works)
    ways(apt=postgres_server.finders()["apt-get"])
    monkeypatch.setenv("STEM_TEST_INSTALL", "0")
    with pytest.raises(NoPostgresError, match="set STEM_TEST_INSTALL=1 to allow it"):
        find_postgres().__enter__()
    assert not asked
    monkeypatch.setenv("STEM_TEST_INSTALL", "1")
    with find_postgres():
        assert asked[0][0] == "postgresql"


def test_a_temporary_database_is_gone_afterwards(own_postgres):
    """It is dropped, also while somebody is connected."""
    server = PostgresServer(url=own_postgres.url, origin="a test", version=own_postgres.version)
    with temporary_database(server) as url:
        execute(url, "CREATE TABLE t (id integer)")
    with pytest.raises(BackendUnavailableError, match="does not exist"):
        postgres_version(url)


def test_a_private_server_starts_restarts_and_leaves_nothing(own_postgres):
    """What is committed survives a restart; after the block there is no process and no folder."""
    with private_postgres.private_postgres() as server:
        assert server.port != own_postgres.port
        execute(server.url, "CREATE TABLE t (id integer)")
        first = server.pid
        server.stop()
        with pytest.raises(BackendUnavailableError, match="nobody listens there"):
            postgres_version(server.url)
        server.start()
        execute(server.url, "SELECT * FROM t")
        second = server.pid
    assert not server.folder.exists()
    assert not is_alive(first)
    assert not is_alive(second)


def test_a_server_that_does_not_start_shows_its_log(own_postgres, monkeypatch):
    """The reason stands in PostgreSQL's own log, so the error quotes it."""
    monkeypatch.setitem(private_postgres.SETTINGS, "shared_buffers", "much")
    with (
        pytest.raises(BackendUnavailableError, match=r"(?s)ended while starting.*shared_buffers"),
        private_postgres.private_postgres(),
    ):
        pytest.fail("there is no server")


def test_without_an_installed_server_there_is_a_reason(monkeypatch):
    """Finding nothing is no accident, and leaves no folder."""
    monkeypatch.setattr(private_postgres, "FOLDERS", ())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BackendUnavailableError, match="no PostgreSQL server is installed"):
        private_postgres.private_postgres().__enter__()


def test_a_server_ends_when_its_owner_is_killed(tmp_path):
    """SIGKILL leaves the owner no time to clean up; the keeper does it."""
    folder = tmp_path / "node"
    folder.mkdir()
    owner = textwrap.dedent(f"""
        import os, subprocess, sys, time
        keeper = subprocess.Popen(
            [sys.executable, {postgres_keeper.__file__!r}, str(os.getpid()), {str(folder)!r},
             "/bin/sh", "-c", "echo $$ > pid; exec sleep 600"], start_new_session=True)
        time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", owner]) as process:
        pid = folder / "pid"
        eventually(lambda: pid.exists() and pid.read_text().strip(), "the server's start")
        server = int(pid.read_text())
        process.send_signal(signal.SIGKILL)
    eventually(lambda: not is_alive(server), "the end of the server")
    eventually(lambda: not folder.exists(), "the end of the folder")
    assert os.getpid() != server
