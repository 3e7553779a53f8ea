"""A few connections to Redis, each for one call at a time.

The client library's own pool is not used: with Python 3.11 its writes (`asyncio.wait_for`) and its waits
for a free connection (`asyncio.Condition`) can swallow a cancellation or lose a wake-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from hiredis import pack_command
from redis.asyncio import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from stem_amqp.errors import BackendUnavailableError

CLOSE_TIMEOUT = 2.0
"""Seconds for closing a connection; after that it is abandoned."""


class RedisPool:
    """Runs commands on connections that are opened when they are needed.

    Args:
        make: creates a connection that is not connected yet and has no time limit for replies; the
            caller of `run` limits the time.
        limit: connections at most.
    """

    def __init__(self, make: Callable[[], Connection], limit: int) -> None:
        self._make = make
        self._free = asyncio.Semaphore(limit)
        self._idle: list[Connection] = []
        self._closed = False

    async def run(self, command: Sequence[str | bytes | float]) -> Any:
        """Run a command, and return Redis' reply unchanged.

        If an idle connection turns out to be dead, the command is repeated on a new one.

        Raises:
            RedisError: the connection failed, or Redis replied with an error.
        """
        arguments: Any = tuple(command)  # the library's type accepts only tuples of one element
        packed = pack_command(arguments)
        async with self._free:
            if self._closed:
                raise BackendUnavailableError("the result backend was closed meanwhile")
            if self._idle:
                try:
                    return await self._exchange(self._idle.pop(), packed)
                except (RedisConnectionError, OSError):
                    await self._disconnect_idle()  # they are of the same age, so they are dead too
            return await self._exchange(self._make(), packed)

    async def close(self) -> None:
        """Close the idle connections; the others are closed after their call."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            await closed(connection)

    async def _exchange(self, connection: Connection, packed: bytes) -> Any:
        try:
            if not connection.is_connected:
                await connected(connection)
            await connection.send_packed_command([packed], check_health=False)
            reply = await connection.read_response()
        except ResponseError:
            await self._release(connection)
            raise
        except Exception:
            await closed(connection)
            raise
        except BaseException:
            # A late reply would be mistaken for that of the next call.
            await connection.disconnect(nowait=True)
            raise
        await self._release(connection)
        return reply

    async def _release(self, connection: Connection) -> None:
        if self._closed or not connection.is_connected:
            await closed(connection)
        else:
            self._idle.append(connection)

    async def _disconnect_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)


async def closed(connection: Connection) -> None:
    """Close a connection, and wait for the end: with TLS that takes a round trip."""
    with suppress(RedisError, OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await connection.disconnect()


async def connected(connection: Connection) -> Connection:
    """Connect and return the connection; the client library has no types for it."""
    connect: Callable[[], Awaitable[None]] = connection.connect
    await connect()
    return connection
