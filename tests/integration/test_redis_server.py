"""Test how a Redis is found, and how a private one is started and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import pytest
from support import free_port, until

from stem_amqp.errors import BackendUnavailableError, BrokerUnavailableError
from stem_amqp.servers import finder, keeper
from stem_amqp.servers.finder import FinderOptions, Server, find_server
from stem_amqp.servers.redis.kind import REDIS, NoRedisError, redis_version
from stem_amqp.servers.redis.private import PrivateRedis
from stem_amqp.servers.redis.private import private_redis as start_redis


@contextmanager
def ends_at_once(_wish):
    """Simulate a way to a Redis that always fails."""
    raise BackendUnavailableError("the cable is out")
    yield


@contextmanager
def works(_wish):
    """Simulate a way to a Redis that always works."""
    yield Server(url="redis://somewhere/", origin="a test", version="8.0.0")


@contextmanager
def must_not_be_tried(_wish):
    """Fail the test: an earlier way works."""
    raise AssertionError("an earlier Redis worked, or an explicit one failed")
    yield


@pytest.fixture
def ways(monkeypatch):
    """Return a function that replaces the ways to a Redis."""
    monkeypatch.delenv("STEM_TEST_REDIS_URL", raising=False)
    return lambda **finders: monkeypatch.setattr(REDIS, "ways", lambda: finders)


@pytest.fixture
def unused_port():
    """Return a port of 127.0.0.1 on which nothing listens."""
    return free_port()


def test_a_private_redis_starts_stops_and_leaves_nothing(private_redis_installed):
    """It keeps its data over a restart, and removes its folder and its process at the end."""
    with start_redis() as server:
        assert redis_version(server.url)
        assert server.folder.is_dir()
        server.stop()
        with pytest.raises(BackendUnavailableError, match="refused"):
            redis_version(server.url)
        server.start()
        assert redis_version(server.url)
    assert not server.folder.exists()
    with pytest.raises(BackendUnavailableError, match="refused"):
        redis_version(server.url)


def test_a_private_redis_that_does_not_start_shows_its_log(private_redis_installed):
    """The error quotes Redis' own log, which has the reason."""
    with (
        pytest.raises(BackendUnavailableError, match=r"(?s)did not start.*no-such-option"),
        start_redis("--no-such-option", "1"),
    ):
        pytest.fail("there is no Redis")


def test_a_server_ends_when_its_owner_is_killed(tmp_path):
    """The keeper ends the server when SIGKILL leaves its owner no time to clean up."""
    folder = tmp_path / "node"
    folder.mkdir()
    owner = textwrap.dedent(f"""
        import os, subprocess, sys, time
        subprocess.Popen(
            [sys.executable, {keeper.__file__!r}, str(os.getpid()), {str(folder)!r},
             "SIGKILL", "/bin/sh", "-c", "echo $$ > pid; exec sleep 600"], start_new_session=True)
        print("started", flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        note = folder / "pid"
        until(lambda: note.exists() and note.read_text().strip(), "the server's start")
        pid = int(note.read_text())
        os.kill(pid, 0)
        process.send_signal(signal.SIGKILL)
    until(lambda: not folder.exists(), "the end of the folder")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_url_of_the_environment_wins(stem_redis_url, monkeypatch):
    """A Redis named by the environment is used, and nothing else is tried."""
    ways = dict.fromkeys(REDIS.ways(), must_not_be_tried)
    monkeypatch.setenv("STEM_TEST_REDIS_URL", stem_redis_url)
    ways["STEM_TEST_REDIS_URL"] = REDIS.ways()["STEM_TEST_REDIS_URL"]
    monkeypatch.setattr(REDIS, "ways", lambda: ways)
    with find_server(REDIS) as server:
        assert server.url == stem_redis_url


@pytest.mark.parametrize(
    ("url", "words"),
    [("redis://:geheim@127.0.0.1:{port}/0", "refused"), ("redis://:geheim@", "names no host")],
)
def test_a_named_redis_that_does_not_answer_is_an_error(monkeypatch, unused_port, url, words):
    """The tests do not silently use another Redis than the named one."""
    monkeypatch.setenv("STEM_TEST_REDIS_URL", url.format(port=unused_port))
    with pytest.raises(NoRedisError, match=words) as caught, find_server(REDIS):
        pytest.fail("there is no Redis")
    assert list(caught.value.reasons) == ["STEM_TEST_REDIS_URL"]
    assert "geheim" not in str(caught.value)


def test_no_redis_says_what_was_tried_and_why_it_failed(ways):
    """The error names every way with its reason, in order, and the remedy."""
    ways(**{"a Redis on Mars": ends_at_once, "one on Venus": ends_at_once})
    with pytest.raises(NoRedisError) as caught, find_server(REDIS):
        pytest.fail("there is no Redis")
    text = str(caught.value)
    assert text.index("a Redis on Mars: the cable is out") < text.index("one on Venus")
    assert "STEM_TEST_REDIS_URL=redis://" in text


def test_the_first_way_that_works_is_taken(ways):
    """No Redis is started if one is found."""
    told = []
    ways(broken=ends_at_once, good=works, late=must_not_be_tried)
    with find_server(REDIS, report=told.append) as server:
        assert server.url == "redis://somewhere/"
    assert told == ["Redis 8.0.0: a test"]


def test_an_installed_redis_is_started_privately(private_redis_installed):
    """If no Redis runs, a private one is started."""
    wish = FinderOptions(install=False, report=print)
    with REDIS.ways()["installed Redis"](wish) as server:
        assert redis_version(server.url) == server.version


@pytest.mark.parametrize(("allowed", "expected"), [("1", ["redis-server"]), ("0", [])])
def test_packages_are_installed_only_where_that_is_allowed(ways, monkeypatch, allowed, expected):
    """A test run of a user of stem-amqp never changes the machine."""
    asked = []
    monkeypatch.setenv("STEM_TEST_INSTALL", allowed)
    monkeypatch.setattr(finder, "install_package", lambda package, _report: asked.append(package))
    monkeypatch.setattr(REDIS, "private", works)
    ways(**{"apt-get": REDIS.ways()["apt-get"]})
    if expected:
        with find_server(REDIS) as server:
            assert server.origin == "a test"
    else:
        with pytest.raises(NoRedisError, match="set STEM_TEST_INSTALL=1"), find_server(REDIS):
            pytest.fail("there is no Redis")
    assert asked == expected


def test_a_package_that_cannot_be_installed_is_a_reason(ways, monkeypatch):
    """An error of the shared installation helper is one of the listed reasons."""

    def fails(_package, _report):
        raise BrokerUnavailableError("no apt-get on this machine")

    monkeypatch.setenv("STEM_TEST_INSTALL", "1")
    monkeypatch.setattr(finder, "install_package", fails)
    ways(**{"apt-get": REDIS.ways()["apt-get"]})
    with pytest.raises(NoRedisError, match="apt-get: no apt-get"), find_server(REDIS):
        pytest.fail("there is no Redis")


def test_stopping_what_was_never_started_is_no_error(tmp_path):
    """A fixture can clean up whatever happened before."""
    PrivateRedis("redis-server", tmp_path).stop()
