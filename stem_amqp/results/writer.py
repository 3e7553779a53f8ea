"""Write to the result backend in batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import tenacity

from stem_amqp.errors import BackendError, BackendUnavailableError, ReplyRefusedError
from stem_amqp.results.base import ProgressUpdate, ResultBackend, Transition

log = logging.getLogger("stem_amqp.results")

BATCH_LIMIT = 1000
"""Changes in one call of the backend, at most."""
ATTEMPTS = 3
"""Attempts to store a batch before its writers get the error."""


@dataclass(kw_only=True, slots=True, eq=False)
class _Entry:
    """A change that is not stored yet.

    Args:
        change: the change.
        stored: resolved once it is stored; None if there is no waiter.
    """

    change: Transition | ProgressUpdate
    stored: asyncio.Future[bool] | None = None


class ResultWriter:
    """Combines the changes of many tasks into few calls of the backend.

    Changes that are written in one iteration of the event loop, or while a batch is being stored, form
    the next batch. The changes of one task keep their order; of several updates of its progress in one
    batch only the last is stored.

    Args:
        backend: the backend.
        wait: the wait between two attempts, as a tenacity strategy.
    """

    def __init__(
        self, backend: ResultBackend, *, wait: tenacity.wait.wait_base | None = None
    ) -> None:
        self._backend = backend
        self._retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(BackendUnavailableError),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=wait or tenacity.wait_random_exponential(multiplier=0.2, max=2.0),
            reraise=True,
        )
        self._entries: list[_Entry] = []
        self._has_progress = False
        self._flushing: asyncio.Task[None] | None = None
        self._closed = False
        self._failing = False

    async def write(self, change: Transition) -> bool:
        """Store a change, and wait until it is durable.

        Returns:
            Whether it was accepted; False if it would have set the task back. After a failed
            attempt it is also False if that attempt stored the change nevertheless.

        Raises:
            BackendUnavailableError: the change may not be stored; repeating is safe.
        """
        if self._closed:
            raise BackendUnavailableError(
                f"task {change.task_id}: the result writer is closed, {change.state} is not stored"
            )
        entry = _Entry(change=change, stored=asyncio.get_running_loop().create_future())
        self._add(entry)
        return await entry.stored if entry.stored is not None else False

    def post(self, change: Transition | ProgressUpdate) -> None:
        """Store a change without waiting for it, such as ``running`` or progress.

        A failure is logged, but only the first of several in a row.
        """
        if self._closed:
            log.debug("task %s: a change after the writer was closed is dropped", change.task_id)
            return
        self._add(_Entry(change=change))

    async def flush(self) -> None:
        """Wait until every change that was written so far is stored or has failed."""
        while self._flushing is not None:
            # not awaited directly: a cancelled caller must not cancel the flush
            await asyncio.wait({self._flushing})

    async def close(self) -> None:
        """Store what was written, and accept no more; closing twice is not an error."""
        self._closed = True
        await self.flush()

    def _add(self, entry: _Entry) -> None:
        self._entries.append(entry)
        if isinstance(entry.change, ProgressUpdate):
            self._has_progress = True
        if self._flushing is None:
            # It starts in the loop's next iteration, and so gets all changes of this one.
            self._flushing = asyncio.create_task(self._flush(), name="stem-amqp result writer")

    async def _flush(self) -> None:
        try:
            while self._entries:
                await self._store(self._next_batch())
        finally:
            self._flushing = None

    def _next_batch(self) -> list[_Entry]:
        """Take the next batch; a change stays behind if its task's progress must be stored before it."""
        if not self._has_progress:
            # nearly always the case, so the entries need no inspection
            batch, self._entries = self._entries[:BATCH_LIMIT], self._entries[BATCH_LIMIT:]
            return batch
        batch = []
        later: list[_Entry] = []
        progressed: set[str] = set()
        delayed: set[str] = set()
        for position, entry in enumerate(self._entries):
            if len(batch) == BATCH_LIMIT:
                later += self._entries[position:]
                break
            task_id = entry.change.task_id
            if isinstance(entry.change, Transition) and task_id in progressed:
                delayed.add(task_id)
            if task_id in delayed:
                later.append(entry)
                continue
            batch.append(entry)
            if isinstance(entry.change, ProgressUpdate):
                progressed.add(task_id)
        self._entries = later
        self._has_progress = any(isinstance(entry.change, ProgressUpdate) for entry in later)
        return batch

    async def _store(self, batch: Sequence[_Entry]) -> None:
        try:
            await self._call_backend(batch)
        except ReplyRefusedError as error:
            # One queue that refuses concerns neither the backend nor the other changes.
            if len(batch) == 1:
                self._raise_in_waiters(batch, error)
            else:
                for entry in batch:
                    await self._store([entry])
        except BackendError as error:
            self._failed(batch, error)
        except Exception as error:
            if len(batch) == 1:
                log.exception("a change of task %s cannot be stored", batch[0].change.task_id)
                self._failed(batch, error)
                return
            # One change that cannot be stored must not fail the others.
            for entry in batch:
                await self._store([entry])
        else:
            self._failing = False

    async def _call_backend(self, batch: Sequence[_Entry]) -> None:
        changes = [entry for entry in batch if isinstance(entry.change, Transition)]
        if changes:
            accepted = await self._transition(
                [entry.change for entry in changes if isinstance(entry.change, Transition)]
            )
            for entry, was_accepted in zip(changes, accepted, strict=True):
                if entry.stored is not None and not entry.stored.done():
                    entry.stored.set_result(was_accepted)
        progress = {
            entry.change.task_id: entry.change
            for entry in batch
            if isinstance(entry.change, ProgressUpdate)
        }
        if progress:
            # a single attempt: the next update replaces it
            await self._backend.report_progress(list(progress.values()))

    async def _transition(self, changes: Sequence[Transition]) -> list[bool]:
        try:
            return await self._backend.transition(changes)
        except BackendUnavailableError as error:
            failure: BackendUnavailableError | None = error

        async def attempt() -> list[bool]:
            nonlocal failure
            if failure is not None:
                first, failure = failure, None
                raise first
            return await self._backend.transition(changes)

        # Retrying costs more than a small batch, so it is set up only after a failure.
        accepted: list[bool] = await self._retrying(attempt)
        return accepted

    def _raise_in_waiters(self, batch: Sequence[_Entry], error: Exception) -> None:
        for entry in batch:
            if entry.stored is not None and not entry.stored.done():
                # one for each waiter: an exception that is raised in many places accumulates tracebacks
                own = type(error)(str(error)) if isinstance(error, BackendError) else error
                own.__cause__ = error if own is not error else error.__cause__
                entry.stored.set_exception(own)

    def _failed(self, batch: Sequence[_Entry], error: Exception) -> None:
        self._raise_in_waiters(batch, error)
        if not self._failing:
            self._failing = True
            log.warning(
                "the result backend fails, %d changes are not stored: %s", len(batch), error
            )
