"""Seeing what other processes write to the same SQLite file, while somebody waits for it."""

from __future__ import annotations

import asyncio
import sqlite3
import time

from stem_amqp.clock import Clock
from stem_amqp.errors import BackendError
from stem_amqp.results.base import TaskRecord
from stem_amqp.results.sqlite_tasks import fetch_ended
from stem_amqp.results.sqlite_thread import SqliteThread
from stem_amqp.results.waiters import Waiters

_SHORTEST_PAUSE = 0.01
_LONGEST_PAUSE = 0.1
_GROWTH = 1.5
_SHARE = 4
"""Pauses are at least so many times as long as the look itself."""


class SqliteWatch:
    """Looks whether other processes ended a task that somebody here waits for.

    SQLite tells nobody about changes, but ``PRAGMA data_version`` says cheaply whether another
    connection has committed. It is asked after 10 ms, growing to 100 ms while nothing happens,
    and never while nobody waits.

    Args:
        thread: where to look.
        waiters: who waits.
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
        """Look soon for what somebody waits for, who has found no end in the file."""
        self._pause = _SHORTEST_PAUSE
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch(), name="stem-amqp sqlite watch")

    async def close(self) -> None:
        """Look no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def _watch(self) -> None:
        while self._waiters:
            started = time.monotonic()
            try:
                records = await self._look()
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

    async def _look(self) -> list[TaskRecord]:
        task_ids, seen = self._waiters.task_ids, self._version
        now = self._clock.time()

        def look(connection: sqlite3.Connection) -> tuple[int, list[TaskRecord]]:
            # The version first: a commit between the two is seen by the next look.
            version = int(connection.execute("PRAGMA data_version").fetchone()[0])
            return version, [] if version == seen else fetch_ended(connection, task_ids, now)

        # Who begins to wait meanwhile looks into the file after this, in the same thread.
        self._version, records = await self._thread.read(look)
        return records
