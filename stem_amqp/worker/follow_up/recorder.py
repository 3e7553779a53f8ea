"""Stores the state of a job in the result backend, and releases the key of a unique task."""

from __future__ import annotations

import logging
from typing import Any

from stem_amqp.clock import Clock
from stem_amqp.connected import Connected
from stem_amqp.errors import ConfigurationError, ReplyRefusedError
from stem_amqp.messages.message import UNIQUE_KEY
from stem_amqp.outcome import Dead, Outcome, Repeated, Revoked, Succeeded
from stem_amqp.states import Reason, TaskState
from stem_amqp.worker.follow_up.persist import Persistence
from stem_amqp.worker.follow_up.transition import transition_of
from stem_amqp.worker.job import Job
from stem_amqp.worker.report.announce import Announcer

log = logging.getLogger("stem_amqp.worker")


class Recorder:
    """Stores states of jobs, and repeats that while the backend is unavailable.

    Args:
        connected: the result backend and its writer.
        persistence: repeats a step that fails.
        announcer: sends the signals.
        worker: the worker's name.
        result_ttl: seconds that results are kept unless the task sets another time.

    Attributes:
        replies_given_up: the number of states that could not be sent to producers as replies.
    """

    def __init__(
        self,
        connected: Connected,
        persistence: Persistence,
        announcer: Announcer,
        *,
        worker: str,
        result_ttl: float,
    ) -> None:
        self.replies_given_up = 0
        self._clock: Clock = connected.transport.clock
        self._backend = connected.backend
        self._writer = connected.writer
        self._persistence = persistence
        self._announcer = announcer
        self._worker = worker
        self._result_ttl = result_ttl

    async def store(self, job: Job, state: TaskState, **details: Any) -> None:
        """Store a state, unless the job's result is ignored.

        Args:
            job: the job.
            state: its new state.
            **details: further fields of the `Transition`.

        Raises:
            Exception: a success cannot be stored. Any other state that cannot be stored is logged.
        """
        if job.ignore_result or job.message is None:
            return
        change = transition_of(
            job, state, self._clock.time(), self._worker, self._result_ttl, **details
        )
        try:
            await self._persistence.take(job, lambda: self._writer.write(change))
        except ReplyRefusedError as error:
            await self._give_up_reply(job, state, error)
        except Exception:
            # The backend can never store it. Without its result a task's work would be lost; any
            # other state only informs, and what follows is already published
            if state is TaskState.SUCCEEDED:
                raise
            log.exception("%s: its state %s cannot be stored", job, state)

    async def store_dead(self, job: Job, outcome: Dead) -> None:
        """Store the state of a dead letter: failed or expired."""
        expired = outcome.reason is Reason.EXPIRED
        await self.store(
            job,
            TaskState.EXPIRED if expired else TaskState.FAILED,
            reason=outcome.reason.value,
            error=outcome.failure.error,
            traceback=outcome.failure.traceback or None,
        )

    async def release_key(self, job: Job, outcome: Outcome) -> None:
        """Release the key of a unique task that has ended: the same call can be enqueued again."""
        message = job.message
        if message is None or UNIQUE_KEY not in message.options or not _has_ended(outcome):
            return
        key = str(message.options[UNIQUE_KEY])
        try:
            await self._persistence.take(job, lambda: self._backend.release_key(key, message.id))
        except ConfigurationError as error:
            log.warning("%s: it stays unique until its window has passed: %s", job, error)

    async def _give_up_reply(self, job: Job, state: TaskState, error: ReplyRefusedError) -> None:
        """Log and count a lost reply, and send its signal; the task does not fail."""
        self.replies_given_up += 1
        log.error(
            "%s: the reply with its state %s was not sent to its producer: %s",
            job,
            state.value,
            error,
        )
        await self._announcer.unreplied(job, state, str(error))


def _has_ended(outcome: Outcome) -> bool:
    if isinstance(outcome, Repeated):
        return outcome.state is not None and outcome.state.final
    return isinstance(outcome, Succeeded | Dead | Revoked)
