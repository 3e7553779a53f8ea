"""Detect ends of tasks that other processes write to the SQLite file, while they are waited for."""

from __future__ import annotations

import asyncio
import sqlite3
import time

from stem_amqp.clock import Clock
from stem_amqp.errors import BackendError
from stem_amqp.results.base import TaskRecord
from stem_amqp.results.sqlite.tasks import fetch_ended
from stem_amqp.results.sqlite.thread import SqliteThread
from stem_amqp.results.waiters import Waiters

_SHORTEST_PAUSE = 0.01
_LONGEST_PAUSE = 0.1
_GROWTH = 1.5
_SHARE = 4
"""Minimum ratio of a pause to the duration of the look-up before it."""


class SqliteWatch:
    """Detects that other processes have ended a task that is waited for.

    SQLite sends no notice of changes, but ``PRAGMA data_version`` tells cheaply whether another
    connection has committed. It is polled after 10 ms, growing to 100 ms while nothing changes, and
    never without waiters.

    Args:
        thread: reads the file.
        waiters: the waiters of the backend.
        clock: the time that TTLs are measured with.
    """

    def __init__(self, thread: SqliteThread, waiters: Waiters, clock: Clock) -> None:
        self._thread = thread
        self._waiters = waiters
        self._clock = clock
        self._version: int | None = None
        self._pause = _SHORTEST_PAUSE
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start polling for the tasks that are waited for."""
        if self._waiters.is_closed:
            return
        self._pause = _SHORTEST_PAUSE
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch(), name="stem-amqp sqlite watch")

    async def close(self) -> None:
        """Stop polling."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _watch(self) -> None:
        while self._waiters:
            started = time.monotonic()
            try:
                records = await self._fetch()
            except BackendError as error:
                self._waiters.fail(str(error))
                return
            for record in records:
                self._waiters.ended(record)
            if records:
                self._pause = _SHORTEST_PAUSE
            pause = max(self._pause, _SHARE * (time.monotonic() - started))
            self._pause = min(self._pause * _GROWTH, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _fetch(self) -> list[TaskRecord]:
        task_ids, seen = self._waiters.task_ids, self._version
        now = self._clock.time()

        def fetch(connection: sqlite3.Connection) -> tuple[int, list[TaskRecord]]:
            # The version is read first: a commit in between is seen by the next look-up.
            version = int(connection.execute("PRAGMA data_version").fetchone()[0])
            return version, [] if version == seen else fetch_ended(connection, task_ids, now)

        # A waiter that begins meanwhile reads the file after this, in the same thread.
        self._version, records = await self._thread.read(fetch)
        return records
