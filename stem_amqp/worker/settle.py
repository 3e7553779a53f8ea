"""From an outcome to a settled delivery. The only place that acknowledges.

The order never changes: publish what follows and wait for its confirm, store the state, then ack.
A crash in between repeats the task, and never loses it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any, assert_never

from stem_amqp import delay as decimal_delay
from stem_amqp.clock import Clock, timestamp
from stem_amqp.errors import (
    BrokerError,
    BrokerRefusedError,
    ConfigurationError,
    PublishRefusedError,
    ReplyRefusedError,
    StaleDeliveryError,
)
from stem_amqp.message import ATTEMPT, NOT_BEFORE, SINCE, UNIQUE_KEY, TaskMessage, carried_headers
from stem_amqp.results.base import ResultBackend, Transition
from stem_amqp.results.batch import ResultWriter
from stem_amqp.states import Reason, TaskState
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Delivery, Publication, Transport
from stem_amqp.worker.age import since
from stem_amqp.worker.announce import Announcer
from stem_amqp.worker.job import Job
from stem_amqp.worker.outcome import (
    Dead,
    Failure,
    Outcome,
    Postponed,
    Repeated,
    Retried,
    Returned,
    Revoked,
    Snoozed,
    Succeeded,
)
from stem_amqp.worker.persist import OnFailure, Persistence
from stem_amqp.worker.republish import dead_letter, delayed, fitted, retry_headers

log = logging.getLogger("stem_amqp.worker")


class Settler:
    """Settles deliveries.

    While the broker or the backend fails, it tries again and again: the work is done, and giving
    the message back would do it twice. It gives up when the delivery is stale or the worker stops.
    What can never succeed is not tried again, and what the broker refuses is not for ever: such a
    message is rejected, and RabbitMQ itself moves it to the dead-letter queue, as it is. A reply that
    is refused is given up, and its task is settled.

    Args:
        transport: where to publish.
        backend: the result backend.
        writer: its batching writer.
        names: the names on the broker.
        announcer: tells the signals.
        worker: the worker's name.
        result_ttl: seconds that results are kept unless the task says otherwise.
        longest_wait: seconds between two tries, at most.

    Attributes:
        refused: messages that were rejected because the broker refused what was to follow them.
        replies_given_up: outcomes of tasks that could not be replied.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        backend: ResultBackend,
        writer: ResultWriter,
        names: Names,
        announcer: Announcer,
        worker: str,
        result_ttl: float,
        longest_wait: float = 15.0,
    ) -> None:
        self.refused = 0
        self.replies_given_up = 0
        self._transport = transport
        self._clock: Clock = transport.clock
        self._backend = backend
        self._writer = writer
        self._names = names
        self._announcer = announcer
        self._worker = worker
        self._result_ttl = result_ttl
        self._persistence = Persistence(longest_wait)

    async def settle(self, delivery: Delivery, job: Job, outcome: Outcome) -> bool:
        """Do what an outcome asks for, and settle the delivery last.

        If it is cancelled, the delivery goes back to its queue.

        Returns:
            Whether the outcome is settled; False if the broker will deliver the message again.
        """
        now = self._clock.time()
        try:
            if isinstance(outcome, Retried) and outcome.native:
                await self._return_failed(delivery, job, outcome, now)
            else:
                await self._carry_out(delivery, job, outcome, now)
        except StaleDeliveryError:
            log.warning(
                "%s: the channel went away before its outcome (%s) could be acknowledged;"
                " the broker delivers it again",
                job,
                type(outcome).__name__.lower(),
            )
            return False
        except asyncio.CancelledError:
            await self._give_back(delivery)
            raise
        except BrokerRefusedError as error:
            return await self._give_up(delivery, job, outcome, error)
        except Exception:
            log.exception("%s: its outcome (%s) cannot be settled", job, type(outcome).__name__)
            return await self._reject(delivery)
        await self._announcer.settled(job, outcome, now)
        return True

    async def _carry_out(self, delivery: Delivery, job: Job, outcome: Outcome, now: float) -> None:
        match outcome:
            case Succeeded():
                await self._store(job, TaskState.SUCCEEDED, result=outcome.result)
            case Retried():
                await self._publish(job, self._retry(delivery, job, outcome, now))
                await self._store(
                    job,
                    TaskState.RETRYING,
                    error=outcome.failure.error,
                    next_run=now + outcome.delay,
                )
            case Snoozed():
                await self._publish(job, self._later(delivery, job, outcome.delay, now))
                await self._store(
                    job, TaskState.SNOOZED, reason=outcome.reason, next_run=now + outcome.delay
                )
            case Postponed():
                await self._publish(job, self._later(delivery, job, outcome.delay, now))
            case Dead():
                await self._bury(delivery, job, outcome, now)
                await self._store_dead(job, outcome)
            case Revoked():
                await self._store(job, TaskState.REVOKED, reason=outcome.reason)
            case Repeated():
                pass  # what followed was confirmed before the state was stored
            case Returned():
                await delivery.nack(requeue=True)
                return
            case _:
                assert_never(outcome)
        if job.message is not None and UNIQUE_KEY in job.message.options:
            await self._release_key(job, job.message, outcome)
        await delivery.ack()

    async def _return_failed(
        self, delivery: Delivery, job: Job, outcome: Retried, now: float
    ) -> None:
        """Let the queue itself keep a failed task until its next attempt.

        Only ``basic.reject`` counts as a failure, and makes RabbitMQ wait longer each time.
        """
        await self._store(
            job,
            TaskState.RETRYING,
            error=outcome.failure.error,
            next_run=now + outcome.delay,
        )
        await delivery.reject(requeue=True)

    async def _release_key(self, job: Job, message: TaskMessage, outcome: Outcome) -> None:
        """Let the next of the same calls come, if a unique task has ended for good."""
        ended = isinstance(outcome, Succeeded | Dead | Revoked)
        if not ended and not (isinstance(outcome, Repeated) and outcome.state.final):
            return
        key = str(message.options[UNIQUE_KEY])
        try:
            await self._persistence.take(job, lambda: self._backend.release_key(key, message.id))
        except ConfigurationError as error:
            log.warning("%s: it stays unique until its window is over: %s", job, error)

    def _retry(self, delivery: Delivery, job: Job, outcome: Retried, now: float) -> Publication:
        headers = since(job, now) | retry_headers(
            delivery.headers, attempt=job.attempt, failure=outcome.failure, now=now
        )
        units = decimal_delay.two_digit_units(outcome.delay) if outcome.delay > 0 else 0
        return delayed(delivery, self._names, job.queue, units=units, headers=headers)

    def _later(self, delivery: Delivery, job: Job, delay: float, now: float) -> Publication:
        headers = carried_headers(delivery.headers)
        # A time to wait for hides when the task was enqueued: so its age comes along
        headers |= since(job, now) or {SINCE: job.message.enqueued_at if job.message else ""}
        headers[NOT_BEFORE] = timestamp(now + delay)
        if job.attempt:
            # RabbitMQ counts a new message from 0 again
            headers[ATTEMPT] = job.attempt
        units = decimal_delay.exact_units(delay) if delay > 0 else 0
        return delayed(delivery, self._names, job.queue, units=units, headers=headers)

    async def _store_dead(self, job: Job, outcome: Dead) -> None:
        expired = outcome.reason is Reason.EXPIRED
        await self._store(
            job,
            TaskState.EXPIRED if expired else TaskState.FAILED,
            reason=outcome.reason.value,
            error=outcome.failure.error,
            traceback=outcome.failure.traceback or None,
        )

    async def _store(self, job: Job, state: TaskState, **details: Any) -> None:
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
            # The backend cannot write it, now or later. Without a result its work would be lost;
            # any other state is only news, and what follows is published already
            if state is TaskState.SUCCEEDED:
                raise
            log.exception("%s: its state %s cannot be stored", job, state)

    async def _give_up_reply(self, job: Job, state: TaskState, error: ReplyRefusedError) -> None:
        """A reply is a courtesy to who waits for it: the task goes on without."""
        self.replies_given_up += 1
        log.error("%s: that it is %s is not told to its producer: %s", job, state.value, error)
        await self._announcer.unreplied(job, state, str(error))

    async def _publish(
        self,
        job: Job,
        publication: Publication,
        on_failure: OnFailure | None = None,
    ) -> None:
        limit = self._transport.largest_headers
        fitting = replace(publication, headers=fitted(publication.headers, limit))
        await self._persistence.take(job, lambda: self._transport.publish(fitting), on_failure)

    async def _bury(self, delivery: Delivery, job: Job, outcome: Dead, now: float) -> None:
        letter = dead_letter(
            delivery,
            self._names,
            job.queue,
            outcome,
            attempt=job.attempt,
            now=now,
            worker=self._worker,
        )

        async def held(error: BaseException) -> None:
            if isinstance(error, PublishRefusedError):
                log.error(
                    "the dead-letter queue %s takes no more: tasks of %s that fail are held in the"
                    " worker, until there is room. Replay or purge it: stem-amqp dlq list %s",
                    self._names.dlq(job.queue),
                    job.queue,
                    job.queue,
                )
                await self._announcer.held(job, outcome, str(error))

        await self._publish(job, letter, held)

    async def _give_up(
        self, delivery: Delivery, job: Job, outcome: Outcome, error: BrokerRefusedError
    ) -> bool:
        """Let go of a message whose follow-up the broker refuses: it would hold its slot for ever."""
        self.refused += 1
        log.error(
            "%s: the broker refuses what is to follow (%s), so RabbitMQ moves the message to the"
            " dead-letter queue as it is: %s\n  Then replay it: stem-amqp dlq replay %s",
            job,
            type(outcome).__name__.lower(),
            error,
            job.queue,
        )
        why = Failure(error=f"the broker refuses what is to follow the run: {error}")
        end = outcome if isinstance(outcome, Dead) else Dead(reason=Reason.REJECTED, failure=why)
        await self._store_dead(job, end)
        if job.message is not None and UNIQUE_KEY in job.message.options:
            await self._release_key(job, job.message, end)
        settled = await self._reject(delivery)
        await self._announcer.refused(job, str(error))
        return settled

    async def _reject(self, delivery: Delivery) -> bool:
        """Let RabbitMQ move a message to the dead-letter queue, as it is."""
        try:
            await delivery.reject(requeue=False)
        except StaleDeliveryError:
            return False
        return True

    async def _give_back(self, delivery: Delivery) -> None:
        try:
            await delivery.nack(requeue=True)
        except BrokerError:
            log.debug("the broker takes the delivery back by itself", exc_info=True)


async def discard(delivery: Delivery) -> None:
    """Drop a message for good, such as a dead letter that nobody wants any more.

    Raises:
        StaleDeliveryError: the channel is gone; the message is still there.
    """
    await delivery.ack()


def transition_of(
    job: Job,
    state: TaskState,
    now: float,
    worker: str | None,
    result_ttl: float,
    **details: Any,
) -> Transition:
    """Return the change of a job's record to a state.

    Args:
        job: the job.
        state: the state.
        now: seconds since the epoch.
        worker: the worker's name.
        result_ttl: seconds that results are kept unless the task says otherwise.
        **details: further fields of the change.
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
        meta=job.message.meta,
        ttl=job.option("result_ttl") or result_ttl,
        reply_to=job.reply_to,
        **details,
    )
