"""The thread that owns the SQLite connection."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.results.sqlite.schema import connect, unavailable

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]

_OUTAGES = frozenset({sqlite3.OperationalError, sqlite3.DatabaseError})
"""Errors of the file or the disk; their subclasses are bugs of this package."""


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
        """Whether it accepts jobs."""
        return self._connection is not None

    async def open(self) -> None:
        """Start the thread and open the file.

        Raises:
            ConfigurationError: the file cannot be used as a result store.
            BackendUnavailableError: it cannot be used now.
        """
        executor = ThreadPoolExecutor(1, thread_name_prefix="stem-amqp-sqlite")
        opening = executor.submit(connect, self.path)
        try:
            self._connection = await asyncio.shield(asyncio.wrap_future(opening))
        except asyncio.CancelledError:
            # Called in the thread: the event loop may have ended by then
            opening.add_done_callback(_close_unwanted)
            raise
        finally:
            if self._connection is None:
                executor.shutdown(wait=False)
        self._executor = executor

    async def close(self) -> None:
        """Finish the submitted jobs, and close the file; closing twice is not an error."""
        connection, self._connection = self._connection, None
        executor, self._executor = self._executor, None
        if executor is None or connection is None:
            return
        closing = executor.submit(connection.close)
        executor.shutdown(wait=False)
        # A cancellation must not reach what waits for the thread
        await asyncio.shield(asyncio.wrap_future(closing))

    async def read(self, job: Job[T]) -> T:
        """Run a job that only reads.

        Raises:
            BackendUnavailableError: the file cannot be used.
        """
        return await self._run(job)

    async def write(self, job: Job[T], *, durable: bool = True) -> T:
        """Run a job in a separate transaction, which is on the disk when this returns.

        Args:
            job: runs the statements.
            durable: False if a power failure may undo the transaction, as it need not wait for the disk.

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

        def without_sync(connection: sqlite3.Connection) -> T:
            # With a write-ahead log, NORMAL does not sync it at a commit. An application's crash loses nothing.
            connection.execute("PRAGMA synchronous = NORMAL")
            try:
                return in_transaction(connection)
            finally:
                connection.execute("PRAGMA synchronous = FULL")

        return await self._run(in_transaction if durable else without_sync)

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


def _close_unwanted(opening: Future[sqlite3.Connection]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
