"""The change of a job's record in the result backend."""

from __future__ import annotations

from typing import Any

from stem_amqp.results.base import Transition
from stem_amqp.states import TaskState
from stem_amqp.worker.job import Job


def transition_of(
    job: Job,
    state: TaskState,
    now: float,
    worker: str | None,
    result_ttl: float,
    **details: Any,
) -> Transition:
    """Return the change of a job's record to a new state.

    Args:
        job: the job.
        state: the new state.
        now: seconds since the epoch.
        worker: the worker's name.
        result_ttl: seconds that results are kept unless the task sets another time.
        **details: further fields of the `Transition`.

    Raises:
        ValueError: the job has no message.
    """
    if job.message is None:
        raise ValueError("a job without a message has no record")
    return Transition(
        task_id=job.message.id,
        task=job.message.task,
        queue=job.queue,
        state=state,
        attempt=job.attempt,
        replay=job.replay,
        at=now,
        worker=worker,
        # An unsigned message does not determine how much is stored, and for how long
        meta={} if job.unsigned else job.message.meta,
        ttl=(None if job.unsigned else job.option("result_ttl")) or result_ttl,
        reply_to=job.reply_to,
        **details,
    )
