"""Finds a Redis for tests, or starts one.

The first that works of: the URL in ``STEM_TEST_REDIS_URL``; a Redis on localhost:6379; Docker; an
installed redis-server, started privately; Debian's package, installed first, if
``STEM_TEST_INSTALL=1`` allows it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from stem_amqp.errors import (
    BackendUnavailableError,
    BrokerUnavailableError,
    ConfigurationError,
)
from stem_amqp.results.redis_address import RedisAddress
from stem_amqp.testing.debian_package import install_package
from stem_amqp.testing.docker_rabbitmq import engine_problem, first_line
from stem_amqp.testing.private_redis import private_redis

logger = logging.getLogger("stem_amqp.testing")

URL_VARIABLE = "STEM_TEST_REDIS_URL"
INSTALL_VARIABLE = "STEM_TEST_INSTALL"
LOCAL_URL = "redis://localhost:6379/0"
IMAGE = "redis:8-alpine"
PACKAGE = "redis-server"
START_TIMEOUT = 60.0
POLL = 0.1
"""Seconds between two attempts while a container starts."""
ANSWER_TIMEOUT = 5.0
"""Seconds in which a Redis must answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RedisServer:
    """A Redis that answered.

    Args:
        url: its URL, with credentials.
        origin: where it comes from, for people.
        version: such as ``7.0.15``.
    """

    url: str
    origin: str
    version: str


class NoRedisError(BackendUnavailableError):
    """There is no Redis for the tests, and none could be started.

    Args:
        reasons: what was tried, in order, and why it failed.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        tried = "\n".join(f"  - {name}: {reason}" for name, reason in self.reasons.items())
        super().__init__(
            f"No Redis to test against. Tried:\n{tried}\n"
            "Start one, install redis-server, or set"
            f" {URL_VARIABLE}=redis://:password@host:6379/0"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the caller wants.

    Args:
        install: whether packages may be installed.
        report: told, in one line each, what takes time or changes the machine.
    """

    install: bool
    report: Callable[[str], None]


Finder = Callable[[Wish], AbstractContextManager[RedisServer]]
"""Gives a Redis for the length of a block, or raises BackendUnavailableError with the reason."""


@contextmanager
def find_redis(
    *, install: bool | None = None, report: Callable[[str], None] = logger.info
) -> Iterator[RedisServer]:
    """Find a Redis, or start one that lives as long as the block.

    Args:
        install: whether Debian's package may be installed where nothing else works; None means
            that ``STEM_TEST_INSTALL=1`` in the environment decides.
        report: told, in one line each, what takes time or changes the machine, and what was found.

    Raises:
        NoRedisError: nothing worked; the message says what was tried and why it failed. Also when
            the Redis of ``STEM_TEST_REDIS_URL`` does not answer: nothing else is tried then.
    """
    allowed = os.environ.get(INSTALL_VARIABLE) == "1" if install is None else install
    with ExitStack() as stack:
        server = _first(stack, Wish(install=allowed, report=report))
        report(f"Redis {server.version}: {server.origin}")
        yield server


def redis_version(url: str) -> str:
    """Return the version of a Redis, once it answers.

    Args:
        url: it may hold a password, which no message repeats.

    Raises:
        BackendUnavailableError: it does not answer; the message is the reason alone.
    """
    try:
        import redis  # noqa: PLC0415 an extra
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415
    except ImportError as error:
        raise BackendUnavailableError("pip install 'stem-amqp[redis]' first") from error
    try:
        address = RedisAddress.parse(url)
        with redis.Redis(
            ssl=address.tls,
            protocol=2,
            socket_timeout=ANSWER_TIMEOUT,
            socket_connect_timeout=ANSWER_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            **address.options,
        ) as client:
            server: Any = client.info("server")
            return str(server["redis_version"])
    except ConfigurationError as error:
        raise BackendUnavailableError(str(error)) from error
    except (redis.RedisError, OSError) as error:
        raise BackendUnavailableError(first_line(error)) from error


def finders() -> dict[str, Finder]:
    """Return the ways to a Redis, by name, in the order in which they are tried."""
    return {
        URL_VARIABLE: _from_environment,
        "localhost:6379": _on_localhost,
        "Docker": _in_docker,
        "installed Redis": _installed,
        "apt-get": _to_be_installed,
    }


def _first(stack: ExitStack, wish: Wish) -> RedisServer:
    reasons: dict[str, str] = {}
    for name, finder in finders().items():
        try:
            return stack.enter_context(finder(wish))
        except BackendUnavailableError as error:
            reasons[name] = str(error)
            logger.debug("%s: %s", name, error)
            if name == URL_VARIABLE and URL_VARIABLE in os.environ:
                break
        except BrokerUnavailableError as error:  # of the tools that RabbitMQ's finder has too
            reasons[name] = str(error)
    raise NoRedisError(reasons)


@contextmanager
def _from_environment(_wish: Wish) -> Iterator[RedisServer]:
    url = os.environ.get(URL_VARIABLE)
    if url is None:
        raise BackendUnavailableError("not set")
    version = redis_version(url)
    origin = f"{RedisAddress.parse(url)} of {URL_VARIABLE}"
    yield RedisServer(url=url, origin=origin, version=version)


@contextmanager
def _on_localhost(_wish: Wish) -> Iterator[RedisServer]:
    version = redis_version(LOCAL_URL)
    yield RedisServer(url=LOCAL_URL, origin="the one on localhost:6379", version=version)


@contextmanager
def _in_docker(wish: Wish) -> Iterator[RedisServer]:
    problem = engine_problem()
    if problem is not None:
        raise BackendUnavailableError(problem)
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415 optional

    wish.report(f"starting {IMAGE} with Docker; the first time it is pulled")
    container = DockerContainer(IMAGE).with_exposed_ports(6379)
    try:
        try:
            container.start()
            host, port = container.get_container_host_ip(), container.get_exposed_port(6379)
            url = f"redis://{host}:{port}/0"
            version = _wait_for(url)
        except Exception as error:
            raise BackendUnavailableError(f"{IMAGE} does not start: {first_line(error)}") from error
        yield RedisServer(url=url, origin="a Docker container", version=version)
    finally:
        container.stop()


def _wait_for(url: str) -> str:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            return redis_version(url)
        except BackendUnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL)


@contextmanager
def _installed(_wish: Wish) -> Iterator[RedisServer]:
    with private_redis() as server:
        yield RedisServer(
            url=server.url,
            origin=f"a private one in {server.folder}",
            version=redis_version(server.url),
        )


@contextmanager
def _to_be_installed(wish: Wish) -> Iterator[RedisServer]:
    if not wish.install:
        raise BackendUnavailableError(f"not asked; set {INSTALL_VARIABLE}=1 to allow it")
    install_package(PACKAGE, wish.report)
    with _installed(wish) as server:
        yield server
