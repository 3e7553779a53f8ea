"""Calls to Redis with a time limit and with errors that name a remedy."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.results.redis.address import RedisAddress
from stem_amqp.results.redis.errors import is_outage, unavailable, unopenable
from stem_amqp.results.redis.pool import RedisPool
from stem_amqp.tls import BACKEND, TlsFiles

CONNECT_TIMEOUT = 5.0
"""Seconds for opening a connection."""
CALL_TIMEOUT = 10.0
"""Seconds for a whole call: waiting for a connection, connecting, the reply."""
CONNECTIONS = 16
"""Connections of one backend, at most, besides the one that listens."""

OUTAGES = (RedisError, OSError, TimeoutError)
"""Errors that the client library raises."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script, which Redis runs atomically.

    Args:
        text: the script.
    """

    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "sha", digest)


class RedisClient:
    """Calls Redis over a few connections, which are opened when they are needed.

    Args:
        address: the server.
        name: the connections' name in ``CLIENT LIST``.

    Raises:
        ConfigurationError: a TLS file cannot be used.
    """

    def __init__(self, address: RedisAddress, name: str) -> None:
        self.address = address
        self._name = name
        self._pool: RedisPool | None = None
        paths = address.tls_paths
        self._tls = (
            TlsFiles(paths.ca, paths.cert, paths.key, variables=BACKEND) if address.tls else None
        )

    @property
    def is_open(self) -> bool:
        """Whether it accepts calls."""
        return self._pool is not None

    async def open(self) -> None:
        """Check that a Redis answers and accepts the login.

        Raises:
            ConfigurationError: the URL cannot be used.
            BackendUnavailableError: Redis does not answer.
        """
        pool = RedisPool(self.connection, CONNECTIONS)
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                await pool.run(["PING"])
        except OUTAGES as error:
            await pool.close()
            raise unopenable(self.address, error) from error
        self._pool = pool

    async def close(self) -> None:
        """Close the connections; closing twice is not an error."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def call(self, *command: str | bytes | float) -> Any:
        """Run one command, and return Redis' reply unchanged.

        Raises:
            BackendUnavailableError: Redis does not answer, or cannot run the command now.
        """
        if self._pool is None:
            raise BackendUnavailableError(f"the result backend {self.address} is not open")
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                return await self._pool.run(command)
        except OUTAGES as error:
            if is_outage(error):
                raise unavailable(self.address, error) from error
            raise

    async def run(self, script: Script, keys: Sequence[str], arguments: Iterable[Any]) -> Any:
        """Run a script; its text is sent only if Redis does not have it yet.

        Raises:
            BackendUnavailableError: as for `call`.
        """
        given = (len(keys), *keys, *arguments)
        try:
            return await self.call("EVALSHA", script.sha, *given)
        except NoScriptError:
            return await self.call("EVAL", script.text, *given)

    def connection(self) -> Connection:
        """Return a connection that is not connected yet; its reads have no time limit."""
        kind = Connection if self._tls is None else SSLConnection
        connection = kind(
            socket_timeout=None,
            socket_connect_timeout=CONNECT_TIMEOUT,
            socket_keepalive=True,
            client_name=self._name,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            **self.address.options,
        )
        if isinstance(connection, SSLConnection) and self._tls is not None:
            # Our context, with the current content of the files, instead of one that the library creates
            connection.ssl_context.context = self._tls()
        return connection
