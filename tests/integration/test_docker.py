"""Test brokers and databases in containers, with a fake Docker engine and real servers."""

import re
import tempfile
from pathlib import Path

import pytest
from docker_stand_in import Engine, Server

from stem_amqp.errors import BackendUnavailableError, BrokerUnavailableError
from stem_amqp.servers.finder import FinderOptions
from stem_amqp.servers.postgres.kind import POSTGRES
from stem_amqp.servers.postgres.login import execute, postgres_version
from stem_amqp.servers.postgres.private import private_postgres
from stem_amqp.servers.rabbitmq.handshake import broker_version, management_answers
from stem_amqp.servers.rabbitmq.kind import IMAGE, RABBITMQ
from stem_amqp.servers.rabbitmq.private import find_programs, private_rabbitmq
from stem_amqp.servers.redis.kind import REDIS, redis_version
from stem_amqp.servers.redis.private import private_redis

ROOT = Path(__file__).parents[2]
QUIET = FinderOptions(install=False, report=lambda _line: None)


@pytest.fixture
def engine(monkeypatch, tmp_path):
    """Yield a fake engine at the socket that testcontainers uses; the test says what it starts."""
    config = pytest.importorskip("testcontainers.core.config").testcontainers_config
    monkeypatch.setattr(config, "ryuk_disabled", True)  # the reaper of killed test runs
    monkeypatch.setattr("testcontainers.core.utils.inside_container", lambda: False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    made = Engine(start=None)
    # The path of a Unix socket has at most 107 bytes, and tmp_path contains the test's name
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder, "docker.sock")
        monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
        with Server(socket, made):
            yield made


def start_rabbitmq(_environment, running):
    """Start a private RabbitMQ in place of its image."""
    node = running.enter_context(private_rabbitmq(management=True))
    return {
        "5672/tcp": int(node.url.rstrip("/").rpartition(":")[2]),
        "15672/tcp": int(node.management_url.rpartition(":")[2]),
    }


def start_postgres(environment, running):
    """Start a PostgreSQL in place of its image, with the password of the environment."""
    server = running.enter_context(private_postgres())
    execute(server.url, f"ALTER USER postgres PASSWORD '{environment['POSTGRES_PASSWORD']}'")
    return {"5432/tcp": server.port}


def start_redis(_environment, running):
    """Start a private Redis in place of its image."""
    return {"6379/tcp": running.enter_context(private_redis()).port}


def opened_to(engine):
    """Return the addresses to which the ports of the container are published."""
    bindings = engine.created["HostConfig"]["PortBindings"].values()
    return {one.get("HostIp") for port in bindings for one in port}


@pytest.mark.timeout(450)
def test_a_rabbitmq_in_a_container_is_used_and_removed(engine):
    """Both ports are open to this machine only, and the container is removed after the block."""
    try:
        find_programs()
    except BrokerUnavailableError as error:
        pytest.skip(str(error))
    engine.start = start_rabbitmq
    told = []
    with RABBITMQ.in_docker(FinderOptions(install=False, report=told.append)) as server:
        assert broker_version(server.url) == server.version
        assert management_answers(server.management_url, "guest:guest")
        assert server.url.startswith("amqp://guest:guest@127.0.0.1:")
    assert told == [f"starting {IMAGE} with Docker; the first time it is pulled"]
    assert engine.created["Image"] == IMAGE
    assert opened_to(engine) == {"127.0.0.1"}
    assert engine.requests[-1][0] == "DELETE"
    with pytest.raises(BrokerUnavailableError, match="nothing listens"):
        broker_version(server.url)


@pytest.mark.timeout(300)
def test_a_postgres_in_a_container_is_used_and_removed(engine, own_postgres):
    """It has its own password, and accepts connections of this machine only."""
    engine.start = start_postgres
    with POSTGRES.in_docker(QUIET) as server:
        assert postgres_version(server.url) == server.version
        assert "@127.0.0.1:" in server.url
    assert opened_to(engine) == {"127.0.0.1"}
    with pytest.raises(BackendUnavailableError):
        postgres_version(server.url)


def test_a_redis_in_a_container_is_used_and_removed(engine, private_redis_installed):
    """It accepts connections of this machine only."""
    engine.start = start_redis
    with REDIS.in_docker(QUIET) as server:
        assert redis_version(server.url) == server.version
        assert server.origin == "a Docker container"
    assert opened_to(engine) == {"127.0.0.1"}
    with pytest.raises(BackendUnavailableError):
        redis_version(server.url)


def test_from_inside_a_container_other_containers_are_reached_through_the_network(
    engine, monkeypatch, private_redis_installed
):
    """The loopback interface of the engine's machine is another one then."""
    monkeypatch.setattr("testcontainers.core.utils.inside_container", lambda: True)
    engine.start = start_redis
    with REDIS.in_docker(QUIET) as server:
        assert redis_version(server.url) == server.version
    assert opened_to(engine) == {""}


@pytest.mark.parametrize(
    ("kind", "unavailable"),
    [
        (RABBITMQ, BrokerUnavailableError),
        (POSTGRES, BackendUnavailableError),
        (REDIS, BackendUnavailableError),
    ],
    ids=["rabbitmq", "postgres", "redis"],
)
def test_a_container_that_does_not_start_is_removed_and_named(engine, kind, unavailable):
    """The error has the engine's own reason."""

    def start(_environment, _running):
        raise RuntimeError

    engine.start = start
    engine.answer = refusing(engine)
    with (
        pytest.raises(unavailable, match=r"does not start: .*no space left"),
        kind.in_docker(QUIET),
    ):
        pytest.fail("there is no server")
    assert engine.requests[-1][0] == "DELETE"


def refusing(engine):
    """Make an engine refuse to start containers."""
    answer = engine.answer

    def refuse(method, path, body):
        if path.endswith("/start"):
            return 500, {"message": "no space left on device"}
        return answer(method, path, body)

    return refuse


def test_no_engine_is_a_reason_and_no_error(monkeypatch, tmp_path):
    """The next way to a broker is tried."""
    pytest.importorskip("testcontainers")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    with (
        pytest.raises(BrokerUnavailableError, match="no engine answers: "),
        RABBITMQ.in_docker(QUIET),
    ):
        pytest.fail("there is no broker")


def test_the_compose_file_and_the_tests_start_the_same_release():
    """The release names its minor version, and is published to this machine only."""
    compose = (ROOT / "compose.yaml").read_text()
    assert f"image: {IMAGE}\n" in compose
    assert re.fullmatch(r"rabbitmq:\d+\.\d+-management", IMAGE)
    assert set(re.findall(r'- "(.*?):\d+:\d+"', compose)) == {"127.0.0.1"}
