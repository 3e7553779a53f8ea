"""The handle of an enqueued task: its result, its state and its progress."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from stem_amqp.durations import Duration, format_seconds, seconds
from stem_amqp.errors import (
    DecodeError,
    ResultTimeoutError,
    ResultUnavailableError,
    TaskFailedError,
)
from stem_amqp.results.base import Progress, ResultBackend, TaskRecord
from stem_amqp.states import TaskState

R = TypeVar("R")


class TaskHandle(Generic[R]):
    """A task that was enqueued, with access to its result.

    Args:
        id: the task's id.
        backend: the backend with its result, or a function that returns the backend.
        task: the task's name, if it is known.
        queue: the logical queue, if it is known.
        decode: turns the JSON bytes of the result into the task's return type; default: JSON
            values.
        ignore_result: whether nothing about the task is stored.
        existing: whether an earlier equal call of a unique or throttled task enqueued it, instead of this one.
    """

    __slots__ = ("_decode", "_ignore_result", "_source", "existing", "id", "queue", "task")

    def __init__(
        self,
        id: str,  # noqa: A002 - it is the attribute's name
        *,
        backend: ResultBackend | Callable[[], ResultBackend],
        task: str | None = None,
        queue: str | None = None,
        decode: Callable[[bytes], R] | None = None,
        ignore_result: bool = False,
        existing: bool = False,
    ) -> None:
        self.id = id
        self.task = task
        self.queue = queue
        self.existing = existing
        self._source = backend
        # The standard library's parser keeps integers beyond 64 bits exact
        self._decode: Callable[[bytes], Any] = decode or json.loads
        self._ignore_result = ignore_result

    async def result(self, timeout: Duration | None = None) -> R:
        """Wait for the task's end, and return what it returned.

        Args:
            timeout: seconds or a duration such as ``"30s"``; None waits for ever.

        Raises:
            TaskFailedError: it ended without a result.
            ResultTimeoutError: it did not end in time; the task continues.
            ResultUnavailableError: the task was enqueued with ``ignore_result``, so nothing is stored.
            DecodeError: the result does not fit the task's return type here.
            BackendUnavailableError: the backend cannot be reached.
        """
        self._check_stored()
        limit = None if timeout is None else seconds(timeout)
        try:
            record = await self._backend.wait(self.id, limit)
        except ResultTimeoutError:
            raise await self._timed_out(limit or 0.0) from None
        if record.state is not TaskState.SUCCEEDED:
            raise TaskFailedError(
                self.id,
                record.state.value,
                reason=record.reason,
                error=record.error,
                traceback=record.traceback,
            )
        return self._decoded(b"null" if record.result is None else record.result)

    async def status(self) -> TaskRecord | None:
        """Return the task's record, or None if the backend has none (any more).

        Raises:
            ResultUnavailableError: the task was enqueued with ``ignore_result``, so nothing is stored.
        """
        self._check_stored()
        return await self._backend.get(self.id)

    async def progress(self) -> Progress | None:
        """Return the progress that the task reported last, or None if it reported none.

        Raises:
            ResultUnavailableError: the task was enqueued with ``ignore_result``, so nothing is stored.
        """
        record = await self.status()
        return None if record is None else record.progress

    def __repr__(self) -> str:
        return f"<TaskHandle {self.id} of {self._label}>"

    @property
    def _backend(self) -> ResultBackend:
        source = self._source
        return source if isinstance(source, ResultBackend) else source()

    @property
    def _label(self) -> str:
        return f"task {self.task}" if self.task else "a task"

    def _check_stored(self) -> None:
        if self._ignore_result:
            raise ResultUnavailableError(
                f"{self._label} {self.id} was enqueued with ignore_result, so nothing about it is"
                " stored.\n  Leave ignore_result out to ask for its result or its state."
            )

    def _decoded(self, result: bytes) -> R:
        try:
            value: R = self._decode(result)
        except ValueError as error:
            raise DecodeError(
                f"{self._label} {self.id} succeeded, but its result does not fit the return type"
                f" here: {_shown(error)}.\n  Worker and producer may run different versions of the task.",
                result,
            ) from error
        return value

    async def _timed_out(self, limit: float) -> ResultTimeoutError:
        record = await self._backend.get(self.id)
        if record is not None:
            state = f"its last known state is {record.state}"
        elif self._backend.needs_reply:
            state = (
                "nothing is known of it here: only the process that enqueued it receives its reply"
            )
        else:
            state = "nothing is known of it"
        queue = self.queue or (record.queue if record is not None else None)
        consumed = f"queue {queue!r}" if queue else "its queue"
        return ResultTimeoutError(
            f"{self._label} {self.id} did not end within {format_seconds(limit)}: {state}.\n"
            f"  The task continues. Is a worker running that consumes {consumed}?"
        )


def _shown(error: ValueError) -> str:
    """Return an error in one line, without the invalid values."""
    if not isinstance(error, ValidationError):
        return str(error)
    problems = error.errors(include_url=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'value'}: {problem['msg']}" for problem in problems
    )
