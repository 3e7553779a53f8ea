"""Listen to PostgreSQL for ends of tasks while they are waited for.

A notification contains marks instead of ids: 4 bytes of each id's checksum, so that a whole batch fits
into the limit of 8,000 bytes. If two ids have the same mark, one record is read needlessly.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any
from zlib import crc32

import asyncpg

from stem_amqp.errors import BackendError, BackendUnavailableError
from stem_amqp.results.base import TaskRecord
from stem_amqp.results.postgres.errors import is_outage, unavailable
from stem_amqp.results.postgres.pool import (
    CONNECT_TIMEOUT,
    Connection,
    PostgresPool,
    close_gracefully,
)
from stem_amqp.results.waiters import Waiters

log = logging.getLogger("stem_amqp.results")

_CHANNEL_LIMIT = 63
"""Bytes of a channel's name: the limit of PostgreSQL's identifiers."""
_PAYLOAD_MARKS = 1400
"""Marks in one notification: in base64 they stay below 8,000 bytes."""
_SWEEP = 30.0
"""Seconds without a notification after which the connection is checked."""
_SHORTEST_PAUSE = 0.02
_LONGEST_PAUSE = 0.5
_GROWTH = 1.5
_RETRY_PAUSE = 0.5
"""Seconds between two attempts to reach a server that is down."""

FetchEnded = Callable[[Sequence[str]], Awaitable[list[TaskRecord]]]

_NOTIFY = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"


def channel_of(namespace: str) -> str:
    """Return the name of a namespace's channel."""
    channel = f"stem-amqp:{namespace}"
    if len(channel) <= _CHANNEL_LIMIT:
        return channel
    return f"stem-amqp:{hashlib.sha256(namespace.encode()).hexdigest()[:40]}"


def payloads(task_ids: Iterable[str]) -> list[str]:
    """Encode the ends of tasks as payloads of notifications."""
    marks = _in_network_order(array("I", sorted({_mark(task_id) for task_id in task_ids})))
    return [
        b64encode(marks[start : start + _PAYLOAD_MARKS].tobytes()).decode()
        for start in range(0, len(marks), _PAYLOAD_MARKS)
    ]


def marks_of(payload: str) -> set[int]:
    """Decode a payload of `payloads`; any other text gives no marks."""
    marks = array("I")
    with suppress(ValueError):
        marks.frombytes(b64decode(payload, validate=True))
    return set(_in_network_order(marks))


async def notify(connection: Connection, channel: str, task_ids: Iterable[str]) -> None:
    """Notify all listeners that tasks have ended."""
    await connection.execute(_NOTIFY, channel, payloads(task_ids))


def _in_network_order(marks: array[int]) -> array[int]:
    if sys.byteorder == "little":
        marks.byteswap()
    return marks


def _mark(task_id: str) -> int:
    return crc32(task_id.encode("utf-8", "surrogatepass"))


class PostgresWatch:
    """Wakes the waiters of one backend.

    One connection listens from the first wait on. If it is lost, it is opened again, and all tasks that
    are waited for are looked up, so that no end is missed. Behind a pooler, where LISTEN does not
    work, the table is polled after 20 ms, growing to 0.5 s.

    Args:
        pool: opens the connection.
        channel: the name of the channel.
        waiters: the waiters of the backend.
        fetch_ended: returns the records of the given tasks that have ended.
    """

    def __init__(
        self, pool: PostgresPool, channel: str, waiters: Waiters, fetch_ended: FetchEnded
    ) -> None:
        self._pool = pool
        self._channel = channel
        self._waiters = waiters
        self._fetch_ended = fetch_ended
        self._listens = not pool.address.transaction_pooling
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._marks: dict[int, set[str]] = {}
        self._due: set[str] = set()
        self._news = asyncio.Event()
        self._pause = _SHORTEST_PAUSE
        self._failing = False
        self._task: asyncio.Task[None] | None = None

    async def begin(self, task_id: str) -> None:
        """Watch a task: an end that is stored after this returns is not missed.

        Raises:
            BackendUnavailableError: the server cannot be reached, or the backend was closed meanwhile.
        """
        self._marks.setdefault(_mark(task_id), set()).add(task_id)
        self._pause = _SHORTEST_PAUSE
        if self._listens:
            await self._listen()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch(), name="stem-amqp postgresql watch")

    def end(self, task_id: str) -> None:
        """Stop watching a task."""
        mark = _mark(task_id)
        watched = self._marks.get(mark, set())
        watched.discard(task_id)
        if not watched:
            self._marks.pop(mark, None)

    async def close(self) -> None:
        """Stop watching."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        connection, self._connection = self._connection, None
        if connection is not None:
            await close_gracefully(connection)

    async def _listen(self) -> None:
        async with self._connecting:
            if self._connection is not None and not self._connection.is_closed():
                return
            connection = await self._pool.connect()
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await connection.add_listener(self._channel, self._heard)
            except BaseException as error:
                connection.terminate()
                if is_outage(error):
                    raise unavailable(self._pool.address, error) from error
                raise
            if self._waiters.is_closed:  # closing has not seen this connection
                connection.terminate()
                raise BackendUnavailableError(
                    f"the result store {self._pool.address.place} is not open"
                )
            connection.add_termination_listener(self._lost)
            self._connection = connection
            self._mark_all_due()

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        for mark in marks_of(str(payload)) & self._marks.keys():
            self._due |= self._marks[mark]
        if self._due:
            self._news.set()

    def _lost(self, _connection: Any) -> None:
        self._news.set()

    def _mark_all_due(self) -> None:
        self._due.update(self._waiters.task_ids)
        self._news.set()

    async def _watch(self) -> None:
        while self._waiters:
            await self._news_or_pause()
            try:
                await self._read_due()
            except BackendError as error:
                # Waiters keep waiting: their own timeouts apply, and the server may come back.
                if not self._failing:
                    log.warning("waiting for results is interrupted: %s", error)
                self._failing = True
                self._mark_all_due()
                await asyncio.sleep(_RETRY_PAUSE)
            else:
                if self._failing:
                    log.info("waiting for results continues")
                self._failing = False

    async def _news_or_pause(self) -> None:
        pause = _SWEEP if self._listens else self._pause
        self._pause = min(self._pause * _GROWTH, _LONGEST_PAUSE)
        try:
            async with asyncio.timeout(pause):
                await self._news.wait()
        except TimeoutError:
            await self._check_alive()
            self._mark_all_due()
        self._news.clear()

    async def _check_alive(self) -> None:
        """Check a silent connection: a peer that lost power sends no notice."""
        connection = self._connection
        if connection is None:
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await connection.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection.terminate()

    async def _read_due(self) -> None:
        if self._listens:
            await self._listen()
        due, self._due = self._due & set(self._waiters.task_ids), set()
        if not due:
            return
        for record in await self._fetch_ended(list(due)):
            self._waiters.ended(record)
