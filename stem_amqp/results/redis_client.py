"""The connections to Redis: calls that are bounded in time, and errors that say what to do."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import BlockingConnectionPool, Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.results.redis_address import RedisAddress
from stem_amqp.results.redis_errors import is_outage, unavailable, unopenable

CONNECT_TIMEOUT = 5.0
"""Seconds in which a connection must be made."""
ANSWER_TIMEOUT = 5.0
"""Seconds in which Redis must answer."""
CALL_TIMEOUT = 12.0
"""Seconds for a call as a whole: a free connection, connecting, a second try, the answer."""
CONNECTIONS = 16
"""Connections of one backend, at most, besides the one that listens."""

OUTAGES = (RedisError, OSError, TimeoutError)
"""What the client library raises."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, which Redis runs as one step.

    Args:
        text: the script.
    """

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)


class RedisClient:
    """Calls Redis, over a few connections that are made when they are needed.

    A connection that turns out to be dead is replaced once before a call fails.

    Args:
        address: the server.
        name: what the connections are called in ``CLIENT LIST``.
    """

    def __init__(self, address: RedisAddress, name: str) -> None:
        self.address = address
        self._name = name
        self._redis: Redis | None = None

    @property
    def is_open(self) -> bool:
        """Whether it takes calls."""
        return self._redis is not None

    async def open(self) -> None:
        """Make sure that there is a Redis that lets us in.

        Raises:
            ConfigurationError: the URL cannot be used.
            BackendUnavailableError: Redis does not answer.
        """
        pool = BlockingConnectionPool(
            connection_class=self._connection_class,
            max_connections=CONNECTIONS,
            timeout=CALL_TIMEOUT,
            socket_timeout=ANSWER_TIMEOUT,
            # A connection may have died while nobody used it: the first use is repeated on a new one.
            retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            **self._options,
        )
        client = Redis(connection_pool=pool)
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                await _executor(client)("PING")
        except OUTAGES as error:
            await pool.disconnect()
            raise unopenable(self.address, error) from error
        except BaseException:
            await pool.disconnect()
            raise
        self._redis = client

    async def close(self) -> None:
        """Close the connections; closing twice is no error."""
        client, self._redis = self._redis, None
        if client is not None:
            await client.aclose()
            await client.connection_pool.disconnect()

    async def call(self, *command: str | bytes | float) -> Any:
        """Run one command.

        Raises:
            BackendUnavailableError: Redis does not answer, or cannot do it now.
        """
        client = self._open()
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                return await _executor(client)(*command)
        except NoScriptError:
            raise
        except OUTAGES as error:
            if is_outage(error):
                raise unavailable(self.address, error) from error
            raise

    async def run(self, script: Script, keys: Sequence[str], arguments: Iterable[Any]) -> Any:
        """Run a script; its text is sent only if Redis does not know it yet.

        Raises:
            BackendUnavailableError: as for `call`.
        """
        given = (len(keys), *keys, *arguments)
        try:
            return await self.call("EVALSHA", script.sha, *given)
        except NoScriptError:
            return await self.call("EVAL", script.text, *given)

    def listener(self) -> Connection:
        """Return a connection of its own, not connected yet, whose reads wait for ever.

        Raises:
            BackendUnavailableError: the client is not open.
        """
        self._open()
        return self._connection_class(
            socket_timeout=None, retry=Retry(NoBackoff(), 0), **self._options
        )

    def _open(self) -> Redis:
        if self._redis is None:
            raise BackendUnavailableError(f"the result backend {self.address} is not open")
        return self._redis

    @property
    def _connection_class(self) -> type[Connection]:
        return SSLConnection if self.address.tls else Connection

    @property
    def _options(self) -> dict[str, Any]:
        return self.address.options | {
            "socket_connect_timeout": CONNECT_TIMEOUT,
            "socket_keepalive": True,
            "client_name": self._name,
            "protocol": 2,
        }


def _executor(client: Redis) -> Callable[..., Awaitable[Any]]:
    """Return the method that runs a command; the library has no types for it."""
    return client.execute_command
