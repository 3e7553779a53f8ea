"""The pytest fixtures of stem-amqp. pytest loads this module automatically.

Nothing heavy is imported, and no server is looked for, until a test uses a fixture that needs it.
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
    from stem_amqp.servers.finder import NoServerError, Server, ServerKind
    from stem_amqp.testing.cleanup import Namespace
    from stem_amqp.testing.kit.harness import StemMemory
    from stem_amqp.transport.memory import ManualClock

pytest.register_assert_rewrite("stem_amqp.testing.backend_contract")

_FOUND = pytest.StashKey[dict[str, "Server | NoServerError"]]()
"""The servers that were looked for, by the name of their kind."""


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

    Its calls are recorded, and run when the test says so. Afterwards the application uses its own
    connections again.
    """
    from stem_amqp.testing.kit.harness import in_memory  # noqa: PLC0415

    with in_memory(stem_app, stem_clock) as memory:
        yield memory


@pytest.fixture
def stem_rabbitmq(stem_app: Stem, stem_broker_url: str) -> Iterator[Stem]:
    """Let the application under test use the session's RabbitMQ, in a namespace for this test.

    The test connects it: ``async with stem_rabbitmq, stem_rabbitmq.worker().running():``
    """
    from stem_amqp.testing.kit.live import on_rabbitmq  # noqa: PLC0415

    with on_rabbitmq(stem_app, stem_broker_url) as app:
        yield app


@pytest.fixture(scope="session")
def stem_broker(pytestconfig: pytest.Config) -> Server:
    """Find or start a RabbitMQ for the session; see `stem_amqp.servers.finder`."""
    found = _broker(pytestconfig)
    if isinstance(found, Exception):
        pytest.fail(str(found), pytrace=False)
    return found


@pytest.fixture(scope="session")
def stem_broker_url(stem_broker: Server) -> str:
    """Return the AMQP URL of the session's RabbitMQ."""
    return stem_broker.url


@pytest.fixture
def stem_namespace(stem_broker_url: str) -> Iterator[Namespace]:
    """Give the test its own namespace, and delete afterwards the names that the test added to it."""
    from stem_amqp.servers.answer import run_blocking  # noqa: PLC0415
    from stem_amqp.testing.cleanup import Namespace, delete_namespace  # noqa: PLC0415

    namespace = Namespace(name=f"t-{uuid.uuid4().hex[:8]}")
    yield namespace
    run_blocking(delete_namespace(stem_broker_url, namespace.exchanges, namespace.queues))


@pytest.fixture(scope="session")
def stem_postgres_url(pytestconfig: pytest.Config) -> Iterator[str]:
    """Return the URL of a database for this session, which is dropped at its end.

    Without a PostgreSQL the test is skipped; if the environment names one that does not answer, it
    fails.
    """
    from stem_amqp.servers.postgres.kind import temporary_database  # noqa: PLC0415

    found = _postgres(pytestconfig)
    if isinstance(found, Exception):
        (pytest.fail if found.named else pytest.skip)(str(found))
    with temporary_database(found) as url:
        yield url


@pytest.fixture(scope="session")
def stem_redis(pytestconfig: pytest.Config) -> Server:
    """Find or start a Redis for the session; see `stem_amqp.servers.finder`."""
    found = _redis(pytestconfig)
    if isinstance(found, Exception):
        pytest.fail(str(found), pytrace=False)
    return found


@pytest.fixture(scope="session")
def stem_redis_url(stem_redis: Server) -> str:
    """Return the URL of the session's Redis."""
    return stem_redis.url


def _named_app(target: str) -> Stem:
    from stem_amqp.errors import ConfigurationError  # noqa: PLC0415
    from stem_amqp.locate import find  # noqa: PLC0415

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
    """Look for the servers before the first test, so that it does not count against a test's time limit.

    Args:
        session: the tests that were collected.
    """
    if session.config.option.collectonly:
        return
    used = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if "stem_broker" in used:
        _broker(session.config)
    if "stem_redis" in used:
        _redis(session.config)
    if any(map(_needs_postgres, session.items)):
        _postgres(session.config)


def _needs_postgres(item: pytest.Item) -> bool:
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return (
        "stem_postgres_url" in getattr(item, "fixturenames", ())
        or parameters.get("kind") == "postgresql"
    )


def _broker(config: pytest.Config) -> Server | NoServerError:
    from stem_amqp.servers.rabbitmq.kind import RABBITMQ  # noqa: PLC0415

    return _find_once(config, RABBITMQ)


def _postgres(config: pytest.Config) -> Server | NoServerError:
    from stem_amqp.servers.postgres.kind import POSTGRES  # noqa: PLC0415

    return _find_once(config, POSTGRES)


def _redis(config: pytest.Config) -> Server | NoServerError:
    from stem_amqp.servers.redis.kind import REDIS  # noqa: PLC0415

    return _find_once(config, REDIS)


def _find_once(config: pytest.Config, kind: ServerKind) -> Server | NoServerError:
    from stem_amqp.servers.finder import NoServerError, find_server  # noqa: PLC0415

    found = config.stash.setdefault(_FOUND, {})
    if kind.name not in found:
        stack = ExitStack()
        config.add_cleanup(stack.close)
        try:
            server = stack.enter_context(find_server(kind, report=_reporter(config)))
        except NoServerError as error:
            found[kind.name] = error
        else:
            found[kind.name] = server
    return found[kind.name]


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
