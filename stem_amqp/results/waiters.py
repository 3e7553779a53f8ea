"""The waiters for tasks to end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from stem_amqp.durations import format_seconds
from stem_amqp.errors import BackendUnavailableError, ResultTimeoutError
from stem_amqp.results.base import TaskRecord

Ended = asyncio.Future[TaskRecord]


class Waiters:
    """The waiters of one backend in one event loop."""

    def __init__(self) -> None:
        self._futures: dict[str, set[Ended]] = {}
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._futures)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._futures

    @property
    def is_closed(self) -> bool:
        """Whether the backend is closed, so that nothing must be started for a waiter any more."""
        return self._closed

    @property
    def task_ids(self) -> list[str]:
        """The tasks that have waiters."""
        return list(self._futures)

    async def wait(
        self,
        task_id: str,
        timeout: float | None,
        look_up: Callable[[], Awaitable[TaskRecord | None]],
    ) -> TaskRecord:
        """Wait until a task has ended.

        Args:
            task_id: the task.
            timeout: seconds; None waits for ever.
            look_up: returns the stored record.

        Raises:
            ResultTimeoutError: it did not end in time.
            BackendUnavailableError: the backend was closed before the wait began.
            CancelledError: the backend was closed meanwhile.
        """
        # Registered before the look-up, so that an end in between is not missed.
        with self._expecting(task_id) as ended:
            record = await self._looked_up(look_up)
            if record is not None and record.state.final:
                return record
            try:
                async with asyncio.timeout(timeout):
                    return await ended
            except TimeoutError:
                record = await self._looked_up(look_up)
        if record is not None and record.state.final:
            return record
        state = "nothing is known of it" if record is None else f"it is {record.state}"
        raise ResultTimeoutError(
            f"task {task_id} did not end within {format_seconds(timeout or 0.0)}: {state}"
        )

    def ended(self, record: TaskRecord) -> None:
        """Wake the waiters of a task."""
        for future in self._futures.get(record.task_id, ()):
            if not future.done():
                future.set_result(record)

    def fail(self, problem: str) -> None:
        """Fail all waiters with a `BackendUnavailableError`."""
        for future in self._pending():
            future.set_exception(BackendUnavailableError(problem))

    def close(self) -> None:
        """Cancel all waiters, and accept no more."""
        self._closed = True
        for future in self._pending():
            future.cancel()

    async def _looked_up(
        self, look_up: Callable[[], Awaitable[TaskRecord | None]]
    ) -> TaskRecord | None:
        try:
            return await look_up()
        except BackendUnavailableError as error:
            if self._closed:  # during the look-up: the waiter is cancelled like all others
                raise asyncio.CancelledError from error
            raise

    def _pending(self) -> list[Ended]:
        all_futures = [future for futures in self._futures.values() for future in futures]
        return [future for future in all_futures if not future.done()]

    @contextmanager
    def _expecting(self, task_id: str) -> Iterator[Ended]:
        if self._closed:
            raise BackendUnavailableError(
                f"cannot wait for task {task_id}: the result backend is closed"
            )
        future: Ended = asyncio.get_running_loop().create_future()
        futures = self._futures.setdefault(task_id, set())
        futures.add(future)
        try:
            yield future
        finally:
            futures.discard(future)
            # another waiter may have started a new set meanwhile
            if not futures and self._futures.get(task_id) is futures:
                del self._futures[task_id]
