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
from stem_amqp.results.postgres.address import PostgresAddress
from stem_amqp.results.postgres.errors import is_loss, is_outage, unavailable
from stem_amqp.tls import BACKEND, TlsFiles

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[Any]
else:
    Connection = asyncpg.Connection

T = TypeVar("T")
Job: TypeAlias = Callable[[Connection], Awaitable[T]]

CONNECT_TIMEOUT = 5.0
"""Seconds for opening a connection."""
JOB_TIMEOUT = 20.0
"""Seconds for the statements of one job."""
SLOT_TIMEOUT = 20.0
"""Seconds to wait for one of the connections."""
CLOSE_TIMEOUT = 2.0
IDLE_LIMIT = 240.0
"""Seconds after which an idle connection is closed: firewalls and address translation drop it after
about 5 minutes, without notice to either end."""


class PostgresPool:
    """Runs jobs on a few connections.

    `asyncpg.Pool` is not used, for two reasons. It cannot drop its idle connections at once when one
    of them turns out to be dead: after `expire_connections` it closes each with the server's consent
    and without a time limit, so a server or firewall that fell silent leaves tasks behind that wait
    for it. And acquiring and releasing take 50 µs and more, also with a `reset` that does nothing:
    half of what a single statement takes, where this pool takes less than 20 µs.

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
        """Whether it accepts jobs."""
        return self._open

    def open(self) -> None:
        """Accept jobs; connections are opened when they are needed."""
        self._slots = asyncio.Semaphore(self.address.pool_size)
        self._open = True

    async def close(self) -> None:
        """Accept no more jobs, and close the connections; closing twice is not an error.

        Jobs that are running lose their connections.
        """
        self._open = False
        idle, self._idle = self._idle, []
        for connection in list(self._busy):
            connection.terminate()
        for connection, _ in idle:
            await close_gracefully(connection)

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
        """Open a connection; the driver's own errors are raised unchanged."""
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
            job: runs the statements. A single statement is a transaction; several are one transaction
                only with `transaction_pooling`.
            repeat: whether the job may be run again if its connection turns out to be dead.

        Raises:
            BackendUnavailableError: the server cannot be used; the job may have been committed.
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
                "  Raise pool_size in STEM_BACKEND_URL, or find out what slows the server down."
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
            # Only an error that the server reported leaves the connection in a known state.
            if not isinstance(error, asyncpg.PostgresError | StemError) or is_outage(error):
                connection.terminate()
            else:
                self._release(connection)
            if is_loss(error) or isinstance(error, TimeoutError):
                # The idle connections are older than the loss, so they are dead too.
                self._drop_idle()
            if is_outage(error):
                raise unavailable(self.address, error) from error
            raise
        finally:
            self._busy.discard(connection)
        self._release(connection)
        return result

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection, since = self._idle.pop()  # the one used last, so that the others can expire
            if connection.is_closed() or time.monotonic() - since > IDLE_LIMIT:
                connection.terminate()
            else:
                return connection
        return None

    def _release(self, connection: Connection) -> None:
        if self._open and not connection.is_closed():
            self._idle.append((connection, time.monotonic()))
        else:
            connection.terminate()

    def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.terminate()


async def close_gracefully(connection: Connection) -> None:
    """Close a connection, by force if the server does not answer."""
    with suppress(Exception):
        # Not the driver's own timeout: before 0.32 it did not cover everything that close() awaits.
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await connection.close()
    if not connection.is_closed():
        connection.terminate()
