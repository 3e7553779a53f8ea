"""The broker of a test run of several processes: one in memory, else one that is found."""

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from broker_slots import AMPLE
from faults.harness.node import fastest_folder
from session_broker import NEEDED_BY, SessionBroker, use_session_broker

from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.servers.rabbitmq.handshake import broker_version
from stem_amqp.servers.rabbitmq.kind import RABBITMQ
from stem_amqp.servers.rabbitmq.private import SERVER_VARIABLE, find_programs

SESSION = SimpleNamespace(items=[SimpleNamespace(fixturenames=[NEEDED_BY])])


@pytest.fixture
def folder():
    """Yield a folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="stem-slots-") as folder:
        yield Path(folder)


@pytest.fixture
def make_broker(folder):
    """Yield a function that makes the broker of a session, and end it afterwards."""
    made = []

    def make(**options):
        made.append(SessionBroker(folder, print, **options))
        return made[-1]

    yield make
    for broker in made:
        broker.stop_answering()
        broker.close()


@pytest.fixture
def unnamed(monkeypatch):
    """Remove the name of a broker from the environment, and restore it afterwards."""
    monkeypatch.setenv(
        RABBITMQ.url_variable, ""
    )  # so that a variable that the test sets is removed
    monkeypatch.delenv(RABBITMQ.url_variable)


def test_a_broker_in_memory_is_started_for_the_session(folder, make_broker, unnamed):
    """It ends with the session, and temporary files of others stay where they were."""
    if fastest_folder() is None:
        pytest.skip("there is no room in memory, or TMPDIR names a folder")
    try:
        find_programs()
    except BrokerUnavailableError as error:
        pytest.skip(str(error))
    before = tempfile.gettempdir()
    broker = make_broker(starts=True)
    use_session_broker(folder, SESSION)
    url = os.environ[RABBITMQ.url_variable]
    assert broker_version(url)
    assert broker.ends_with_session == url
    assert (folder / AMPLE).exists()
    number = url.rpartition(":")[2].strip("/")
    nodes = [path.name for path in fastest_folder().glob("stem-rabbitmq-*/data/stem*@localhost")]
    assert f"stem{os.getpid()}-{number}@localhost" in nodes
    assert tempfile.gettempdir() == before


def test_a_broker_is_found_if_none_can_be_started(
    folder, make_broker, monkeypatch, tmp_path, stem_broker_url, unnamed
):
    """The run must not fail for want of an installed RabbitMQ."""
    monkeypatch.setenv(SERVER_VARIABLE, str(tmp_path))  # no RabbitMQ is there
    make_broker(starts=True)
    monkeypatch.setattr(RABBITMQ.__class__, "local_urls", lambda _: {stem_broker_url: "found"})
    use_session_broker(folder, SESSION)
    assert os.environ[RABBITMQ.url_variable] == stem_broker_url
    assert not (folder / AMPLE).exists()
