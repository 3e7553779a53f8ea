"""What became of the tasks that ran in a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from stem_amqp.errors import TaskFailedError
from stem_amqp.states import Reason, TaskState
from stem_amqp.worker.announce import Announcer
from stem_amqp.worker.job import Job
from stem_amqp.worker.outcome import Dead, Outcome, Repeated, Retried, Revoked, Snoozed, Succeeded


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskOutcome:
    """What one run of a task came to, as it was settled.

    Args:
        task: the task's name; the AMQP ``type`` of a message that cannot be read.
        id: the task's id.
        queue: the logical queue.
        attempt: 0 for the first run.
        state: the state that followed. Of a delivery that was not run, because an earlier one had
            been carried out, it is the state which that one came to.
        result: what the task returned, if it succeeded.
        error: type and message of what it raised, or why it was not run.
        reason: why it is a dead letter (see `stem_amqp.Reason`), snoozed or revoked.
        delay: seconds until its next run, if there is one.
        exception: what the task raised; None if it raised nothing.
        repeated: whether it was not run, because an earlier delivery had been carried out.
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
        """Return what to raise if a test wants failures raised; None if it did not fail."""
        if self.error is None:
            return None
        return self.exception or TaskFailedError(
            self.id, self.state.value, reason=self.reason, error=self.error
        )


class Record:
    """Notes outcomes, and the exceptions that led to them.

    Args:
        outcomes: where to note them.
    """

    def __init__(self, outcomes: list[TaskOutcome]) -> None:
        self._outcomes = outcomes
        self._raised: dict[tuple[str, int], BaseException] = {}

    def raised(self, task_id: str, attempt: int, error: BaseException) -> None:
        """Note what a run raised."""
        self._raised[task_id, attempt] = error

    def settled(self, job: Job, outcome: Outcome) -> None:
        """Note what a delivery came to; one that went back or came too early came to nothing."""
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
    """Tells signals and log, and the record.

    Args:
        record: the record.
        *parts: as for `Announcer`.
    """

    def __init__(self, record: Record, *parts: Any) -> None:
        super().__init__(*parts)
        self._record = record

    async def settled(self, job: Job, outcome: Outcome, now: float) -> None:
        """Note an outcome, and tell of it."""
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
    return job.definition.arguments.returns.validate_json(result)
