"""A few connections to PostgreSQL that are opened when needed and replaced when lost."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import asyncpg

from stem_amqp.errors import BackendUnavailableError, StemError
from stem_amqp.results.postgres_address import PostgresAddress
from stem_amqp.results.postgres_errors import is_loss, is_outage, unavailable
from stem_amqp.tls import BACKEND, TlsFiles

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[Any]
else:
    Connection = asyncpg.Connection

T = TypeVar("T")
Job: TypeAlias = Callable[[Connection], Awaitable[T]]

CONNECT_TIMEOUT = 5.0
"""Seconds in which a connection must be open."""
JOB_TIMEOUT = 20.0
"""Seconds for the statements of one job."""
SLOT_TIMEOUT = 20.0
"""Seconds to wait for one of the connections."""
CLOSE_TIMEOUT = 2.0
IDLE_LIMIT = 240.0
"""Seconds after which an idle connection is not trusted any more: firewalls and address translation
forget it after 5 minutes or so, and tell neither end."""


class PostgresPool:
    """Runs jobs on connections of its own.

    The driver's pool is not used: it resets each connection after use, which is a round trip more,
    and would hand out what a restarted server left behind.

    Args:
        address: the database.

    Raises:
        ConfigurationError: a TLS file cannot be used.
    """

    def __init__(self, address: PostgresAddress) -> None:
        self.address = address
        paths = address.tls_paths
        self._tls = TlsFiles(paths.ca, paths.cert, paths.key, variables=BACKEND) if paths else None
        self._idle: list[tuple[Connection, float]] = []
        self._busy: set[Connection] = set()
        self._slots = asyncio.Semaphore(address.pool_size)
        self._open = False

    @property
    def is_open(self) -> bool:
        """Whether it takes jobs."""
        return self._open

    def open(self) -> None:
        """Take jobs; connections are opened when they are needed."""
        self._slots = asyncio.Semaphore(self.address.pool_size)
        self._open = True

    async def close(self) -> None:
        """Take no more jobs, and close the connections; closing twice is no error.

        Jobs that are running lose their connections.
        """
        self._open = False
        idle, self._idle = self._idle, []
        for connection in list(self._busy):
            connection.terminate()
        for connection, _ in idle:
            await close_politely(connection)

    async def connect(self) -> Connection:
        """Open a connection that belongs to the caller.

        Raises:
            BackendUnavailableError: it cannot be opened.
        """
        try:
            return await self.connect_raw()
        except Exception as error:
            if is_outage(error):
                raise unavailable(self.address, error) from error
            raise

    async def connect_raw(self) -> Connection:
        """Open a connection, and let the driver's own errors through."""
        statements = 0 if self.address.transaction_pooling else 100
        return await asyncpg.connect(
            self.address.dsn,
            timeout=CONNECT_TIMEOUT,
            ssl=None if self._tls is None else self._tls(),
            statement_cache_size=statements,
            server_settings={"application_name": f"stem-amqp {socket.gethostname()}:{os.getpid()}"},
        )

    async def run(self, job: Job[T], *, repeat: bool = True) -> T:
        """Run a job, which is committed when this returns.

        Args:
            job: its statements. One alone is a transaction of its own; several are one if a pooler
                stands in between.
            repeat: whether the job may be run again if its connection turns out to be dead.

        Raises:
            BackendUnavailableError: the server cannot be used; the job may have been done.
        """
        if not self._open:
            raise BackendUnavailableError(f"the result store {self.address.place} is not open")
        slots = self._slots
        try:
            async with asyncio.timeout(SLOT_TIMEOUT):
                await slots.acquire()
        except TimeoutError as error:
            raise BackendUnavailableError(
                f"all {self.address.pool_size} connections to {self.address.place} are busy.\n"
                "  Raise pool_size in STEM_BACKEND_URL, or look at what slows the server down."
            ) from error
        try:
            connection = self._take_idle()
            if connection is None:
                return await self._run(job, await self.connect())
            try:
                return await self._run(job, connection)
            except BackendUnavailableError as error:
                if not repeat or not self.is_open or not is_loss(error.__cause__):
                    raise
            return await self._run(job, await self.connect())
        finally:
            slots.release()

    async def _run(self, job: Job[T], connection: Connection) -> T:
        self._busy.add(connection)
        try:
            async with asyncio.timeout(JOB_TIMEOUT):
                if not self.address.transaction_pooling:
                    result = await job(connection)
                else:
                    async with connection.transaction():
                        result = await job(connection)
        except BaseException as error:
            # Only after an error that the server told is the connection known to be in order.
            if not isinstance(error, asyncpg.PostgresError | StemError) or is_outage(error):
                connection.terminate()
            else:
                self._give_back(connection)
            if is_loss(error) or isinstance(error, TimeoutError):
                # What is idle is as dead as this one: it was there before the loss, too.
                self._drop_idle()
            if is_outage(error):
                raise unavailable(self.address, error) from error
            raise
        finally:
            self._busy.discard(connection)
        self._give_back(connection)
        return result

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection, since = self._idle.pop()  # the last one used: the others may rest
            if connection.is_closed() or time.monotonic() - since > IDLE_LIMIT:
                connection.terminate()
            else:
                return connection
        return None

    def _give_back(self, connection: Connection) -> None:
        if self._open and not connection.is_closed():
            self._idle.append((connection, time.monotonic()))
        else:
            connection.terminate()

    def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.terminate()


async def close_politely(connection: Connection) -> None:
    """Close a connection, by force if the server does not answer."""
    with suppress(Exception):
        # Not the driver's own timeout: before 0.32 it did not cover everything that close() awaits.
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await connection.close()
    if not connection.is_closed():
        connection.terminate()
