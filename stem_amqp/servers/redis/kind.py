"""The description of Redis for the finder of servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from typing_extensions import override

from stem_amqp.errors import BackendUnavailableError, ConfigurationError
from stem_amqp.results.redis.address import RedisAddress
from stem_amqp.servers.docker import Container, first_line
from stem_amqp.servers.finder import FinderOptions, NoServerError, Server, ServerKind
from stem_amqp.servers.redis.private import private_redis

LOCAL_URL = "redis://localhost:6379/0"
IMAGE = "redis:8-alpine"


class NoRedisError(NoServerError, BackendUnavailableError):
    """There is no Redis for the tests, and none could be started."""


class Redis(ServerKind):
    """Redis, or Valkey."""

    name = "Redis"
    url_variable = "STEM_TEST_REDIS_URL"
    local_address = "localhost:6379"
    package = "redis-server"
    remedy = f"Start one, install redis-server, or set {url_variable}=redis://:password@host:6379/0"
    unavailable: ClassVar = BackendUnavailableError
    missing: ClassVar = NoRedisError

    @override
    def version(self, url: str, *, timeout: float = 5.0) -> str:
        return redis_version(url, timeout=timeout)

    @override
    def local_urls(self) -> dict[str, str]:
        return {LOCAL_URL: f"the one on {self.local_address}"}

    @override
    def container(self) -> Container:
        return Container(image=IMAGE, port=6379, url="redis://{}/0", start_timeout=60.0)

    @override
    @contextmanager
    def private(self, options: FinderOptions) -> Iterator[Server]:
        with private_redis() as server:
            yield Server(
                url=server.url,
                origin=f"a private one in {server.folder}",
                version=redis_version(server.url),
            )


REDIS = Redis()


def redis_version(url: str, *, timeout: float = 5.0) -> str:
    """Return the version of a Redis, once it answers.

    Args:
        url: it may hold a password, which no message repeats.
        timeout: seconds for connecting, and for each answer.

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
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            **address.options,
        ) as client:
            server: Any = client.info("server")
            return str(server["redis_version"])
    except ConfigurationError as error:
        raise BackendUnavailableError(str(error)) from error
    except (redis.RedisError, OSError) as error:
        raise BackendUnavailableError(first_line(error)) from error
