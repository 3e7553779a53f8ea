"""The pytest fixtures of stem-amqp. pytest loads this module by itself.

Nothing heavy is imported, and no broker is looked for, unless a test asks for one.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stem_amqp.app import Stem
    from stem_amqp.testing.brokers import Broker, NoBrokerError
    from stem_amqp.testing.cleanup import Namespace
    from stem_amqp.testing.kit.harness import StemMemory
    from stem_amqp.testing.postgres_server import NoPostgresError, PostgresServer
    from stem_amqp.testing.redis_server import NoRedisError, RedisServer
    from stem_amqp.transport.memory import ManualClock

pytest.register_assert_rewrite("stem_amqp.testing.backend_contract")

_FOUND = pytest.StashKey["Broker | NoBrokerError"]()
_FOUND_POSTGRES = pytest.StashKey["PostgresServer | NoPostgresError"]()
_FOUND_REDIS = pytest.StashKey["RedisServer | NoRedisError"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the application."""
    parser.addini("stem_app", "The stem-amqp application under test, as module:attribute.")


@pytest.fixture
def stem_app(pytestconfig: pytest.Config) -> Stem:
    """Return the application under test: that of the option ``stem_app``. May be overridden."""
    return _named_app(pytestconfig.getini("stem_app"))


@pytest.fixture
def stem_clock() -> ManualClock:
    """Return the clock of `stem_memory`: it shows the present time. May be overridden."""
    from stem_amqp.transport.memory import ManualClock  # noqa: PLC0415

    return ManualClock()


@pytest.fixture
def stem_memory(stem_app: Stem, stem_clock: ManualClock) -> Iterator[StemMemory]:
    """Put the application under test on a broker and a result backend in memory.

    What it enqueues is noted, and runs when the test wants it to. Afterwards the application has its
    own connections again.
    """
    from stem_amqp.testing.kit.harness import in_memory  # noqa: PLC0415

    with in_memory(stem_app, stem_clock) as memory:
        yield memory


@pytest.fixture
def stem_rabbitmq(stem_app: Stem, stem_broker_url: str) -> Iterator[Stem]:
    """Let the application under test use the session's RabbitMQ, in a namespace of the test's own.

    The test connects it: ``async with stem_rabbitmq, stem_rabbitmq.worker().running():``
    """
    from stem_amqp.testing.kit.live import on_rabbitmq  # noqa: PLC0415

    with on_rabbitmq(stem_app, stem_broker_url) as app:
        yield app


@pytest.fixture(scope="session")
def stem_broker(pytestconfig: pytest.Config) -> Broker:
    """Find or start a RabbitMQ for the session; see `stem_amqp.testing.brokers`."""
    found = _find_once(pytestconfig)
    if isinstance(found, Exception):
        pytest.fail(str(found), pytrace=False)
    return found


@pytest.fixture(scope="session")
def stem_broker_url(stem_broker: Broker) -> str:
    """Return the AMQP URL of the session's RabbitMQ."""
    return stem_broker.url


@pytest.fixture
def stem_namespace(stem_broker_url: str) -> Iterator[Namespace]:
    """Give the test a namespace of its own, and delete afterwards what the test noted in it."""
    from stem_amqp.testing.cleanup import Namespace, delete_namespace  # noqa: PLC0415
    from stem_amqp.testing.handshake import run_blocking  # noqa: PLC0415

    namespace = Namespace(name=f"t-{uuid.uuid4().hex[:8]}")
    yield namespace
    run_blocking(delete_namespace(stem_broker_url, namespace.exchanges, namespace.queues))


@pytest.fixture(scope="session")
def stem_postgres_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """Return the URL of a database of the session's own, which is dropped at its end.

    Where there is no PostgreSQL, the test is skipped; where one was named, it fails.
    """
    from stem_amqp.testing.postgres_server import temporary_database  # noqa: PLC0415

    found = _find_postgres_once(pytestconfig)
    if isinstance(found, Exception):
        (pytest.fail if found.named else pytest.skip)(str(found))
    with temporary_database(found) as url:
        yield url


@pytest.fixture(scope="session")
def stem_redis(pytestconfig: pytest.Config) -> RedisServer:
    """Find or start a Redis for the session; see `stem_amqp.testing.redis_server`."""
    found = _find_redis_once(pytestconfig)
    if isinstance(found, Exception):
        pytest.fail(str(found), pytrace=False)
    return found


@pytest.fixture(scope="session")
def stem_redis_url(stem_redis: RedisServer) -> str:
    """Return the URL of the session's Redis."""
    return stem_redis.url


def _named_app(target: str) -> Stem:
    from stem_amqp.cli.load import find  # noqa: PLC0415
    from stem_amqp.errors import ConfigurationError  # noqa: PLC0415

    if not target:
        pytest.fail(
            "which application is under test? Name it in pytest's configuration, such as"
            ' stem_app = "shop.tasks:stem",\n  or override the fixture `stem_app` in conftest.py'
            " to return it.",
            pytrace=False,
        )
    try:
        return find(target)
    except ConfigurationError as error:
        pytest.fail(f"stem_app: {error}", pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Look for the servers before the first test, so that no test's time limit has to pay for it.

    Args:
        session: the tests that were collected.
    """
    if session.config.option.collectonly:
        return
    used = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if "stem_broker" in used:
        _find_once(session.config)
    if "stem_redis" in used:
        _find_redis_once(session.config)
    if any(map(_needs_postgres, session.items)):
        _find_postgres_once(session.config)


def _needs_postgres(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return (
        "stem_postgres_url" in getattr(item, "fixturenames", ())
        or parameters.get("kind") == "postgresql"
    )


def _find_once(config: pytest.Config) -> Broker | NoBrokerError:
    if _FOUND not in config.stash:
        from stem_amqp.testing.brokers import NoBrokerError, find_broker  # noqa: PLC0415

        stack = ExitStack()
        config.add_cleanup(stack.close)
        try:
            config.stash[_FOUND] = stack.enter_context(find_broker(report=_reporter(config)))
        except NoBrokerError as error:
            config.stash[_FOUND] = error
    return config.stash[_FOUND]


def _find_postgres_once(config: pytest.Config) -> PostgresServer | NoPostgresError:
    if _FOUND_POSTGRES not in config.stash:
        from stem_amqp.testing.postgres_server import (  # noqa: PLC0415
            NoPostgresError,
            find_postgres,
        )

        stack = ExitStack()
        config.add_cleanup(stack.close)
        try:
            config.stash[_FOUND_POSTGRES] = stack.enter_context(
                find_postgres(report=_reporter(config))
            )
        except NoPostgresError as error:
            config.stash[_FOUND_POSTGRES] = error
    return config.stash[_FOUND_POSTGRES]


def _find_redis_once(config: pytest.Config) -> RedisServer | NoRedisError:
    if _FOUND_REDIS not in config.stash:
        from stem_amqp.testing.redis_server import NoRedisError, find_redis  # noqa: PLC0415

        stack = ExitStack()
        config.add_cleanup(stack.close)
        try:
            config.stash[_FOUND_REDIS] = stack.enter_context(find_redis(report=_reporter(config)))
        except NoRedisError as error:
            config.stash[_FOUND_REDIS] = error
    return config.stash[_FOUND_REDIS]


def _reporter(config: pytest.Config) -> Callable[[str], None]:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if terminal is None or capture is None:  # a worker of pytest-xdist has no terminal
        return logging.getLogger("stem_amqp.testing").info

    def report(line: str) -> None:
        with capture.global_and_fixture_disabled():
            terminal.ensure_newline()
            terminal.write_line(f"stem-amqp: {line}")

    return report
