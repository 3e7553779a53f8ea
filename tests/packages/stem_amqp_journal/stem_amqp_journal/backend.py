"""The backend: every change is a line, and what the lines say together is in memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from stem_amqp.clock import Clock
from stem_amqp.errors import BackendUnavailableError, StemError
from stem_amqp.results.base import (
    GroupRecord,
    KeyRecord,
    MemberRecord,
    MemberReport,
    Position,
    ProgressUpdate,
    ResultBackend,
    TaskQuery,
    TaskRecord,
    Transition,
)
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore
from stem_amqp_journal.file import JournalFile
from stem_amqp_journal.lines import read, written

log = logging.getLogger("stem_amqp_journal")

_NO_LINE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a line that somebody else has written may raise."""
LOOK_EVERY = 0.02
"""Seconds between two looks at the file while somebody waits: a file wakes nobody."""
COMPLAIN_EVERY = 1.0
"""Seconds between two looks while it cannot be read."""


class LineClock:
    """Shows the time of the line that is applied, otherwise the present.

    Args:
        clock: the present.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.line: float | None = None

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self._clock.time() if self.line is None else self.line


class JournalBackend(ResultBackend):
    """Results in one file.

    A call that changes something is first written down, and then applied to a `MemoryBackend`, after
    all that others have written before it. Carrying out depends on nothing but the lines, so every
    process comes to the same: who reads the file has the same winner of a claim as the winner itself.

    Args:
        path: the file.
        clock: the time that TTLs are measured with.
    """

    keeps_keys = True
    lists_tasks = True

    def __init__(self, path: Path, clock: Clock) -> None:
        self._file = JournalFile(path)
        self._clock = clock
        self._open = False
        self._forget()

    def _forget(self) -> None:
        self._offset = 0
        self._line_clock = LineClock(self._clock)
        self._state = MemoryBackend(MemoryStore(), self._line_clock)
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._looking: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the file; it is made if it is not there."""
        if self._open:
            return
        self._forget()
        await self._state.open()
        self._open = True
        try:
            await self._catch_up()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Cancel the waiters. The file stays."""
        self._open = False
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        async with self._turn:
            await self._state.close()

    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Store changes: one line, on the disk once, for all of them."""
        return await self._write("transition", changes=changes) if changes else []

    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        """Store progress."""
        if updates:
            await self._write("report_progress", updates=updates)

    async def get(self, task_id: str) -> TaskRecord | None:
        """Return what is known of a task."""
        await self._catch_up()
        return await self._state.get(task_id)

    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        """Wait until a task has ended."""
        await self._catch_up()
        async with self._looked_at():
            return await self._state.wait(task_id, timeout)

    async def find_tasks(
        self, query: TaskQuery, *, after: Position | None, limit: int
    ) -> list[TaskRecord]:
        """Return records that a query means, in its order."""
        await self._catch_up()
        return await self._state.find_tasks(query, after=after, limit=limit)

    async def create_group(
        self, group_id: str, size: int, *, ttl: float, plan: bytes = b"", sealed: bool = True
    ) -> None:
        """Create a group."""
        await self._write(
            "create_group", group_id=group_id, size=size, ttl=ttl, plan=plan, sealed=sealed
        )

    async def expand_group(self, group_id: str, count: int, *, addition: str) -> int:
        """Add members to an open group."""
        answer: int = await self._write(
            "expand_group", group_id=group_id, count=count, addition=addition
        )
        return answer

    async def seal_group(self, group_id: str) -> GroupRecord:
        """Let nobody add members any more."""
        answer: GroupRecord = await self._write("seal_group", group_id=group_id)
        return answer

    async def report_members(self, reports: Sequence[MemberReport]) -> list[GroupRecord | None]:
        """Report that members have ended: one line for all of them."""
        if not reports:
            return []
        answer: list[GroupRecord | None] = await self._write("report_members", reports=reports)
        return answer

    async def claim_group(self, group_id: str, claimant: str) -> bool:
        """Claim a complete group."""
        answer: bool = await self._write("claim_group", group_id=group_id, claimant=claimant)
        return answer

    async def get_group(self, group_id: str) -> GroupRecord | None:
        """Return the group."""
        await self._catch_up()
        return await self._state.get_group(group_id)

    async def group_members(
        self, group_id: str, *, after: int = -1, limit: int = 1000, failed: bool | None = None
    ) -> list[MemberRecord]:
        """Return members that have ended, by their index."""
        await self._catch_up()
        return await self._state.group_members(group_id, after=after, limit=limit, failed=failed)

    async def claim_key(self, key: str, owner: str, *, ttl: float) -> KeyRecord:
        """Take a key that nobody holds."""
        answer: KeyRecord = await self._write("claim_key", key=key, owner=owner, ttl=ttl)
        return answer

    async def keep_key(
        self, key: str, owner: str, *, ttl: float, value: bytes | None = None
    ) -> bool:
        """Hold a key for longer, and put a value there."""
        answer: bool = await self._write("keep_key", key=key, owner=owner, ttl=ttl, value=value)
        return answer

    async def swap_key(
        self, key: str, owner: str, *, ttl: float, expected: bytes | None, value: bytes
    ) -> KeyRecord:
        """Put a value into a key, if it still has the one that was read."""
        answer: KeyRecord = await self._write(
            "swap_key", key=key, owner=owner, ttl=ttl, expected=expected, value=value
        )
        return answer

    async def release_key(self, key: str, owner: str) -> bool:
        """Let a key go."""
        answer: bool = await self._write("release_key", key=key, owner=owner)
        return answer

    async def purge_expired(self) -> int:
        """Forget what is past its TTL; its lines stay."""
        answer: int = await self._write("purge_expired")
        return answer

    async def ping(self) -> None:
        """Read what is new."""
        await self._catch_up()

    async def _write(self, call: str, **arguments: Any) -> Any:
        """Write a call down, and carry it out after those before it."""
        async with self._ready():
            line = written(call, self._clock.time(), arguments)
            lines, end = await asyncio.to_thread(self._file.append, line, self._offset)
            # Nothing waits from here on: who is cancelled above reads these lines another time
            self._offset = end
            await self._carry_out_all(lines[:-1])
            return await self._carry_out(lines[-1])

    async def _catch_up(self) -> None:
        async with self._ready():
            if not self._file.changed_since(self._offset):
                return
            lines, end = await asyncio.to_thread(self._file.read, self._offset)
            self._offset = end
            await self._carry_out_all(lines)

    @contextlib.asynccontextmanager
    async def _ready(self) -> AsyncIterator[None]:
        """One call at a time: lines are applied in the order of the file."""
        async with self._turn:
            if not self._open:
                raise BackendUnavailableError("the journal is not open")
            yield

    async def _carry_out_all(self, lines: list[bytes]) -> None:
        for line in lines:
            try:
                await self._carry_out(line)
            except StemError:
                pass  # who wrote it was told
            except _NO_LINE as error:  # everybody passes over it, so all still see the same
                log.warning("the journal has a line that is none, %r: %s", line[:80], error)

    async def _carry_out(self, line: bytes) -> Any:
        call, self._line_clock.line, arguments = read(line)
        try:
            # In one step: no method of a `MemoryBackend` that changes something waits for anything
            return await getattr(self._state, call)(**arguments)
        finally:
            self._line_clock.line = None

    @contextlib.asynccontextmanager
    async def _looked_at(self) -> AsyncIterator[None]:
        """Have the file looked at for as long as anybody waits."""
        self._waiting += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="stem-amqp-journal")
        try:
            yield
        finally:
            self._waiting -= 1

    async def _look(self) -> None:
        while self._waiting and self._open:
            pause = LOOK_EVERY
            try:
                await self._catch_up()
            except BackendUnavailableError as error:
                log.warning("waiting goes on, although: %s", error)
                pause = COMPLAIN_EVERY
            await asyncio.sleep(pause)
