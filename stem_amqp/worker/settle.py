"""Settles a delivery by the outcome of its job. Only this module acknowledges.

The order never changes: publish what follows and wait for its confirm, store the state, then
acknowledge. A crash between these steps may repeat work, but never loses it.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import assert_never

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.errors import (
    BrokerError,
    BrokerRefusedError,
    PublishRefusedError,
    StaleDeliveryError,
    UnroutableError,
)
from stem_amqp.outcome import (
    Dead,
    Failure,
    Held,
    Outcome,
    Postponed,
    Repeated,
    Retried,
    Returned,
    Revoked,
    Snoozed,
    Succeeded,
)
from stem_amqp.states import Reason, TaskState
from stem_amqp.topology.delay_router import DelayRouter
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.publication import Publication
from stem_amqp.worker.continuing.continuing import CannotContinueError, Continuing
from stem_amqp.worker.follow_up.again import later, retry_of
from stem_amqp.worker.follow_up.persist import Persistence
from stem_amqp.worker.follow_up.publish import FollowUpPublisher
from stem_amqp.worker.follow_up.recorder import Recorder
from stem_amqp.worker.follow_up.republish import dead_letter
from stem_amqp.worker.job import Job
from stem_amqp.worker.pauses.holding import HoldingQueues
from stem_amqp.worker.report.announce import Announcer
from stem_amqp.worker.report.failure_log import write
from stem_amqp.worker.running.failure import describe
from stem_amqp.worker.running.interruption import comes_from_outside

log = logging.getLogger("stem_amqp.worker")

UNROUTABLE_FOR = 60.0
"""Seconds for which a task's next run may be unroutable before the task becomes a dead letter."""
UNHELD_DELAY = 60.0
"""Seconds for which the message of a paused task is delayed if it cannot wait in a queue of its own."""


class _NoNextRunError(Exception):
    """The next run of a task was unroutable for `UNROUTABLE_FOR` seconds."""


class Settler:
    """Settles deliveries.

    While the broker or the backend fails, a step is repeated: the task has run, and a requeued
    message would run it twice. Repeating ends when the delivery is stale or the worker stops. A
    next run that stays unroutable, because its delay queue was deleted, becomes a dead letter. A
    step that can never succeed is not repeated, and one that the broker refuses only for a limited
    time: such a message is rejected, and RabbitMQ moves it unchanged to the dead-letter queue. A
    reply that stays refused is given up, and its task is settled.

    Args:
        blueprint: the application.
        connected: its open connections.
        announcer: sends the signals.
        worker: the worker's name.
        longest_wait: the maximum number of seconds before a step is repeated.

    Attributes:
        holding: the queues of paused tasks; None: the messages of paused tasks are delayed.
        refused: the number of messages rejected because the broker refused what follows them.
        failures: the number of messages rejected because their outcome could not be settled.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        connected: Connected,
        *,
        announcer: Announcer,
        worker: str,
        longest_wait: float = 15.0,
    ) -> None:
        self.holding: HoldingQueues | None = None
        self.refused = 0
        self.failures = 0
        self._clock = connected.transport.clock
        self._names = blueprint.names
        self._router = DelayRouter(blueprint.names, blueprint.topology)
        self._announcer = announcer
        self._worker = worker
        persistence = Persistence(longest_wait)
        self._continuing = Continuing(blueprint, connected, persistence, worker=worker)
        self._publisher = FollowUpPublisher(connected, blueprint.names, persistence)
        self._recorder = Recorder(
            connected,
            persistence,
            announcer,
            worker=worker,
            result_ttl=blueprint.settings.result_ttl,
        )

    @property
    def replies_given_up(self) -> int:
        """The number of states that could not be sent to producers as replies."""
        return self._recorder.replies_given_up

    async def settle(self, delivery: Delivery, job: Job, outcome: Outcome) -> bool:
        """Carry out an outcome, and settle the delivery last.

        If this coroutine is cancelled, the delivery is requeued.

        Returns:
            Whether the outcome is settled; False if the broker will deliver the message again.
        """
        now = self._clock.time()
        try:
            if isinstance(outcome, Retried) and outcome.native:
                await self._return_failed(delivery, job, outcome, now)
            else:
                await self._perform(delivery, job, outcome, now)
        except StaleDeliveryError:
            log.warning(
                "%s: the channel was closed before its outcome (%s) could be acknowledged;"
                " the broker delivers it again",
                job,
                type(outcome).__name__.lower(),
            )
            return False
        except asyncio.CancelledError:
            await self._return(delivery)
            raise
        except BrokerRefusedError as error:
            return await self._give_up(delivery, job, outcome, error)
        except (_NoNextRunError, CannotContinueError) as error:
            log.warning("%s becomes a dead letter: %s", job, error)
            return await self.settle(delivery, job, _without_next(outcome, error))
        except Exception as error:
            self.failures += 1
            log.exception("%s: its outcome (%s) cannot be settled", job, type(outcome).__name__)
            return await self.abandon(delivery, job, error)
        await self._announcer.settled(job, outcome, now)
        return True

    async def _perform(self, delivery: Delivery, job: Job, outcome: Outcome, now: float) -> None:
        """Publish what follows, store the state, acknowledge."""
        match outcome:
            case Succeeded() | Revoked():
                if job.is_linked or not job.ignore_result:
                    await self._end(job, outcome)
            case Retried():
                await self._publish_next(job, retry_of(delivery, self._router, job, outcome, now))
                await self._store_retrying(job, outcome, now)
            case Snoozed() | Postponed() | Held():
                await self._publish_again(delivery, job, outcome, now)
            case Dead():
                await self._publish_dead_letter(delivery, job, outcome, now)
                await self._fail(job, outcome)
            case Repeated():
                pass  # what follows was confirmed before the state was stored
            case Returned():
                await delivery.nack(requeue=True)
                return
            case _:
                assert_never(outcome)
        if job.has_unique_key:
            await self._recorder.release_key(job, outcome)
        await delivery.ack()

    async def _end(self, job: Job, outcome: Succeeded | Revoked) -> None:
        """Publish what follows a task in its composition, and store its last state."""
        if job.is_linked:
            await self._continuing.follow(job, outcome)
        if isinstance(outcome, Succeeded):
            await self._recorder.store(job, TaskState.SUCCEEDED, result=outcome.result)
        else:
            await self._recorder.store(job, TaskState.REVOKED, reason=outcome.reason)

    async def _fail(self, job: Job, outcome: Dead) -> None:
        """Publish what follows a dead letter in its composition, and store its state."""
        if job.is_linked:
            await self._continuing.follow(job, outcome)
        await self._recorder.store_dead(job, outcome)

    async def _return_failed(
        self, delivery: Delivery, job: Job, outcome: Retried, now: float
    ) -> None:
        """Requeue a failed task on a queue with native retries, which delays the next attempt.

        RabbitMQ counts only ``basic.reject`` as a failure, and increases the delay with the count.
        """
        await self._store_retrying(job, outcome, now)
        await delivery.reject(requeue=True)

    async def _store_retrying(self, job: Job, outcome: Retried, now: float) -> None:
        await self._recorder.store(
            job,
            TaskState.RETRYING,
            error=outcome.failure.error,
            next_run=now + outcome.delay,
        )

    async def _publish_again(
        self, delivery: Delivery, job: Job, outcome: Snoozed | Postponed | Held, now: float
    ) -> None:
        """Publish the same attempt of a task for a later time, or until it is resumed."""
        if isinstance(outcome, Held):
            holding = self.holding
            if holding is not None and await holding.hold(delivery, job, now, self._publisher):
                return
            delay = UNHELD_DELAY
        else:
            delay = outcome.delay
        again = later(delivery, self._router, job, delay, now)
        if isinstance(outcome, Postponed) and outcome.headers:
            again = replace(again, headers={**again.headers, **outcome.headers})
        await self._publish_next(job, again)
        if isinstance(outcome, Snoozed):
            await self._recorder.store(
                job, TaskState.SNOOZED, reason=outcome.reason, next_run=now + delay
            )

    async def _publish_next(self, job: Job, publication: Publication) -> None:
        """Publish the next run of a task."""
        try:
            await self._publisher.publish(job, publication, unroutable_for=UNROUTABLE_FOR)
        except UnroutableError as error:
            raise _NoNextRunError(f"its next run is unroutable: {error}") from error

    async def _publish_dead_letter(
        self, delivery: Delivery, job: Job, outcome: Dead, now: float
    ) -> None:
        letter = dead_letter(
            delivery,
            self._names,
            job.queue,
            outcome,
            attempt=job.attempt,
            now=now,
            worker=self._worker,
            rejected=job.untrusted,
        )

        async def on_failure(error: BaseException) -> None:
            if isinstance(error, PublishRefusedError):
                log.error(
                    "the dead-letter queue %s is full: failed tasks of %s are held in the worker until"
                    " there is room. Replay or purge it: stem-amqp dlq list %s",
                    self._names.dlq(job.queue),
                    job.queue,
                    job.queue,
                )
                await self._announcer.held(job, outcome, str(error))

        await self._publisher.publish(job, letter, on_failure)

    async def _give_up(
        self, delivery: Delivery, job: Job, outcome: Outcome, error: BrokerRefusedError
    ) -> bool:
        """Reject a message whose follow-up the broker refuses; otherwise it would hold its slot."""
        self.refused += 1
        write(
            logging.ERROR,
            job,
            getattr(outcome, "failure", Failure(error=str(error))),
            "%s: the broker refuses its follow-up message (%s), so RabbitMQ moves the message unchanged to the"
            " dead-letter queue: %s\n  Then replay it: stem-amqp dlq replay %s",
            type(outcome).__name__.lower(),
            error,
            job.queue,
        )
        why = Failure(error=f"the broker refuses the follow-up message: {error}")
        end = outcome if isinstance(outcome, Dead) else Dead(reason=Reason.REJECTED, failure=why)
        await self._fail(job, end)
        if job.has_unique_key:
            await self._recorder.release_key(job, end)
        settled = await self._reject(delivery)
        await self._announcer.refused(job, str(error))
        return settled

    async def abandon(self, delivery: Delivery, job: Job, error: BaseException) -> bool:
        """Reject a message on which the worker's own code failed.

        Args:
            delivery: the message.
            job: its job.
            error: the exception.

        Returns:
            Whether it is rejected; False if the broker will deliver the message again.
        """
        rejected = await self._reject(delivery)
        if rejected:
            why = Failure(error=f"the worker itself failed: {describe(error)}")
            end = Dead(reason=Reason.WORKER_FAILED, failure=why)
            try:
                await self._fail(job, end)
            except BaseException as problem:
                if comes_from_outside(problem, asyncio.current_task()):
                    raise
                log.exception("%s: its failure cannot be stored", job)
        return rejected

    async def _reject(self, delivery: Delivery) -> bool:
        """Reject a message, so that RabbitMQ moves it unchanged to the dead-letter queue."""
        try:
            await delivery.reject(requeue=False)
        except StaleDeliveryError:
            return False
        return True

    async def _return(self, delivery: Delivery) -> None:
        try:
            await delivery.nack(requeue=True)
        except BrokerError:
            log.debug("the broker requeues the delivery itself", exc_info=True)


def _without_next(outcome: Outcome, error: _NoNextRunError | CannotContinueError) -> Dead:
    why = str(error)
    if not isinstance(outcome, Retried):
        return Dead(reason=Reason.REJECTED, failure=Failure(error=why))
    failure = outcome.failure
    return Dead(
        reason=Reason.REJECTED,
        failure=replace(failure, error=f"{failure.error}\n{why}"),
    )


async def discard(delivery: Delivery) -> None:
    """Remove a message permanently, such as a dead letter that is no longer needed.

    Raises:
        StaleDeliveryError: the channel is closed; the message is still in its queue.
    """
    await delivery.ack()
