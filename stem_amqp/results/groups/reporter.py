"""Report the members that end at the same time together."""

from __future__ import annotations

import asyncio

import tenacity

from stem_amqp.errors import BackendError, BackendUnavailableError
from stem_amqp.results.groups.checks import unknown_member
from stem_amqp.results.groups.model import GroupRecord, MemberReport
from stem_amqp.results.groups.store import GroupStore

BATCH_LIMIT = 1000
"""Reports in one call of the backend, at most."""
ATTEMPTS = 3
"""Attempts to store a batch before its reporters get the error."""

_Entry = tuple[MemberReport, asyncio.Future[GroupRecord]]


class GroupReporter:
    """Combines the reports of many members into few calls of the backend.

    Reports of one iteration of the event loop, and those that come while a batch is being stored, form
    the next batch. It costs nothing while nobody reports, and needs no closing: whoever reports waits for the end
    of its batch, and a batch whose reporters are all cancelled ends after the last attempt.

    Args:
        store: the backend; it must be open.
        wait: the wait between two attempts, as a tenacity strategy.
    """

    def __init__(self, store: GroupStore, *, wait: tenacity.wait.wait_base | None = None) -> None:
        self._store = store
        self._wait = wait or tenacity.wait_random_exponential(multiplier=0.2, max=2.0)
        self._entries: list[_Entry] = []
        self._running: asyncio.Task[None] | None = None

    async def report(self, report: MemberReport) -> GroupRecord:
        """Report a member that has ended, and wait until that is durable.

        Returns:
            The group after this report, without its plan, as `GroupStore.report_members` returns it: of
            the new reports of a group exactly one shows it complete, and a repeated one shows it too.

        Raises:
            ResultUnavailableError: there is no such group or member (any more).
            BackendUnavailableError: the report may not be stored; repeating is safe.
        """
        stored: asyncio.Future[GroupRecord] = asyncio.get_running_loop().create_future()
        self._entries.append((report, stored))
        if self._running is None:
            # It starts in the loop's next iteration, and so gets all reports of this one.
            self._running = asyncio.create_task(self._run(), name="stem-amqp group reports")
        return await stored

    async def _run(self) -> None:
        try:
            while self._entries:
                batch, self._entries = self._entries[:BATCH_LIMIT], self._entries[BATCH_LIMIT:]
                await self._report(batch)
        finally:
            self._running = None

    async def _report(self, batch: list[_Entry]) -> None:
        try:
            groups = await self._attempts([report for report, _ in batch])
        except asyncio.CancelledError:
            for _, stored in batch:
                stored.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - each reporter gets it
            await self._failed(batch, error)
            return
        for (report, stored), group in zip(batch, groups, strict=True):
            if stored.done():
                continue  # the reporter was cancelled
            if group is None:
                stored.set_exception(unknown_member(report.group_id, report.index))
            else:
                stored.set_result(group)

    async def _attempts(self, reports: list[MemberReport]) -> list[GroupRecord | None]:
        try:
            return await self._store.report_members(reports)
        except BackendUnavailableError as error:
            failure: BackendUnavailableError | None = error

        async def attempt() -> list[GroupRecord | None]:
            nonlocal failure
            if failure is not None:
                first, failure = failure, None
                raise first
            return await self._store.report_members(reports)

        # Retrying costs more than a small batch, so it is set up only after a failure.
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(BackendUnavailableError),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=self._wait,
            reraise=True,
        )
        groups: list[GroupRecord | None] = await retrying(attempt)
        return groups

    async def _failed(self, batch: list[_Entry], error: Exception) -> None:
        if not isinstance(error, BackendError) and len(batch) > 1:
            # One report that cannot be stored must not fail the others.
            for entry in batch:
                await self._report([entry])
            return
        for _, stored in batch:
            if not stored.done():
                # one for each reporter: an exception that is raised in many places accumulates tracebacks
                own = type(error)(str(error)) if isinstance(error, BackendError) else error
                own.__cause__ = error if own is not error else error.__cause__
                stored.set_exception(own)
