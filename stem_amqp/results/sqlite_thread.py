"""The one thread in which a SQLite connection lives."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.results.sqlite_schema import connect, unavailable

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

_OUTAGES = frozenset({sqlite3.OperationalError, sqlite3.DatabaseError})
"""What the file or the disk can be to blame for; their subclasses are mistakes of ours."""


class SqliteThread:
    """Runs jobs on a connection one after the other, outside the event loop.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._executor: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None

    @property
    def is_open(self) -> bool:
        """Whether it takes jobs."""
        return self._connection is not None

    async def open(self) -> None:
        """Start the thread and open the file.

        Raises:
            ConfigurationError: the file cannot be used as a result store.
            BackendUnavailableError: it cannot be used now.
        """
        executor = ThreadPoolExecutor(1, thread_name_prefix="stem-amqp-sqlite")
        loop = asyncio.get_running_loop()
        opening = loop.run_in_executor(executor, connect, self.path)
        try:
            self._connection = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)
            raise
        finally:
            if self._connection is None:
                executor.shutdown(wait=False)
        self._executor = executor

    async def close(self) -> None:
        """Finish the jobs that were given, and close the file; closing twice is no error."""
        connection, self._connection = self._connection, None
        executor, self._executor = self._executor, None
        if executor is None or connection is None:
            return
        closing = asyncio.get_running_loop().run_in_executor(executor, connection.close)
        executor.shutdown(wait=False)
        await closing

    async def read(self, job: Job[T]) -> T:
        """Run a job that only reads.

        Raises:
            BackendUnavailableError: the file cannot be used.
        """
        return await self._run(job)

    async def write(self, job: Job[T]) -> T:
        """Run a job in a transaction of its own, which is on the disk when this returns.

        Raises:
            BackendUnavailableError: the file cannot be used; nothing was changed.
        """

        def in_transaction(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = job(connection)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            return result

        return await self._run(in_transaction)

    async def _run(self, job: Job[T]) -> T:
        connection, executor = self._connection, self._executor
        if connection is None or executor is None:
            raise BackendUnavailableError(f"the result store {self.path} is not open")
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, job, connection)
        except sqlite3.Error as error:
            if type(error) in _OUTAGES:
                raise unavailable(self.path, error) from error
            raise


def _close_unwanted(opening: asyncio.Future[sqlite3.Connection]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
