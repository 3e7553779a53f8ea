"""Outcomes of the tasks that ran in a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from typing_extensions import override

from stem_amqp.errors import TaskFailedError
from stem_amqp.outcome import Dead, Outcome, Repeated, Retried, Revoked, Snoozed, Succeeded
from stem_amqp.states import Reason, TaskState
from stem_amqp.worker.job import Job
from stem_amqp.worker.report.announce import Announcer


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskOutcome:
    """The outcome of one run of a task, as it was settled.

    Args:
        task: the task's name; the AMQP ``type`` of a message that cannot be read.
        id: the task's id.
        queue: the logical queue.
        attempt: 0 for the first run.
        state: the state after the run. If the delivery was not run because an earlier one had been
            processed, the state after that one.
        result: what the task returned, if it succeeded.
        error: type and message of the exception, or why the task was not run.
        reason: why it is a dead letter (see `stem_amqp.Reason`), snoozed or revoked.
        delay: seconds until the next run, or None.
        exception: the exception of the task, or None.
        repeated: whether it was not run, because an earlier delivery had been processed.
    """

    task: str
    id: str
    queue: str
    attempt: int
    state: TaskState
    result: Any = None
    error: str | None = None
    reason: str | None = None
    delay: float | None = None
    exception: BaseException | None = None
    repeated: bool = False

    def failure(self) -> BaseException | None:
        """Return the exception to raise for a failed run; None if it did not fail."""
        if self.error is None:
            return None
        return self.exception or TaskFailedError(
            self.id, self.state.value, reason=self.reason, error=self.error
        )


class Record:
    """Records outcomes, and the exceptions that led to them.

    Args:
        outcomes: the list to record them in.
    """

    def __init__(self, outcomes: list[TaskOutcome]) -> None:
        self._outcomes = outcomes
        self._raised: dict[tuple[str, int], BaseException] = {}

    def raised(self, task_id: str, attempt: int, error: BaseException) -> None:
        """Record the exception of a run."""
        self._raised[task_id, attempt] = error

    def settled(self, job: Job, outcome: Outcome) -> None:
        """Record the outcome of a delivery; requeued and early deliveries have none."""
        values = _fields(job, outcome)
        if values is None:
            return
        task_id = job.message.id if job.message else job.correlation_id or ""
        exception = self._raised.pop((task_id, job.attempt), None)
        self._outcomes.append(
            TaskOutcome(
                task=job.message.task if job.message else job.type or "",
                id=task_id,
                queue=job.queue,
                attempt=job.attempt,
                exception=exception if "error" in values else None,
                **values,
            )
        )


class RecordingAnnouncer(Announcer):
    """Announces outcomes to signals, to the log and to the record.

    Args:
        record: the record.
        *parts: as for `Announcer`.
    """

    def __init__(self, record: Record, *parts: Any) -> None:
        super().__init__(*parts)
        self._record = record

    @override
    async def settled(self, job: Job, outcome: Outcome, now: float) -> None:
        """Record an outcome, and announce it."""
        self._record.settled(job, outcome)
        await super().settled(job, outcome, now)


def _fields(job: Job, outcome: Outcome) -> dict[str, Any] | None:
    match outcome:
        case Succeeded():
            return {"state": TaskState.SUCCEEDED, "result": _result(job, outcome.result)}
        case Retried():
            error = outcome.failure.error
            return {"state": TaskState.RETRYING, "error": error, "delay": outcome.delay}
        case Snoozed():
            return {"state": TaskState.SNOOZED, "reason": outcome.reason, "delay": outcome.delay}
        case Dead():
            expired = outcome.reason is Reason.EXPIRED
            return {
                "state": TaskState.EXPIRED if expired else TaskState.FAILED,
                "error": outcome.failure.error,
                "reason": outcome.reason.value,
            }
        case Revoked():
            return {"state": TaskState.REVOKED, "reason": outcome.reason}
        case Repeated():
            return {"state": outcome.state, "repeated": True}
        case _:
            return None


def _result(job: Job, result: bytes) -> Any:
    if job.definition is None:
        return orjson.loads(result)
    return job.definition.arguments.returns.read(result)
