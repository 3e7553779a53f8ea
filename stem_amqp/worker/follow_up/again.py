"""Builds the message of a task's next run: a retry, or the same attempt at a later time."""

from __future__ import annotations

from stem_amqp.clock import timestamp
from stem_amqp.messages.message import ATTEMPT, NOT_BEFORE, SINCE, UNKNOWN_SINCE, copied_headers
from stem_amqp.outcome import Retried
from stem_amqp.topology.delay_router import DelayRouter
from stem_amqp.topology.names import Names
from stem_amqp.transport.delivery import Delivery, same_message
from stem_amqp.transport.publication import Publication
from stem_amqp.worker.follow_up.republish import retry_headers
from stem_amqp.worker.gates.age import since
from stem_amqp.worker.job import Job


def retry_of(
    delivery: Delivery, router: DelayRouter, job: Job, outcome: Retried, now: float
) -> Publication:
    """Return the publication of a task's retry, which has the next attempt number.

    Args:
        delivery: the message of the attempt that failed.
        router: returns the exchange and the routing key of a delay.
        job: its job.
        outcome: how the attempt failed, and the delay of the next one.
        now: seconds since the epoch.
    """
    headers = since(job, now) | retry_headers(
        delivery.headers, attempt=job.attempt, failure=outcome.failure, now=now
    )
    exchange, key = router.after(job.queue, outcome.delay, rounded=True)
    return same_message(delivery, exchange=exchange, routing_key=key, headers=headers)


def held(delivery: Delivery, names: Names, job: Job, now: float) -> Publication:
    """Return the publication of a paused task's message for the queue in which it waits.

    Attempt, age and due time stay the same. It is marked as published again, so that of two copies, which a
    worker that dies here may leave, only one runs.

    Args:
        delivery: the message.
        names: the names on the broker.
        job: its job, with its task.
        now: seconds since the epoch.
    """
    if job.definition is None:
        raise RuntimeError("a task that is held is known")
    headers = copied_headers(delivery.headers, drop=frozenset({UNKNOWN_SINCE}))
    headers |= since(job, now) or {SINCE: job.message.enqueued_at if job.message else ""}
    if job.attempt:
        # RabbitMQ counts the deliveries of a new message from 0
        headers[ATTEMPT] = job.attempt
    key = names.held(job.queue, job.definition.name)
    return same_message(delivery, exchange=names.paused, routing_key=key, headers=headers)


def later(
    delivery: Delivery, router: DelayRouter, job: Job, delay: float, now: float
) -> Publication:
    """Return the publication of the same attempt of a task for a later time.

    Args:
        delivery: the message.
        router: returns the exchange and the routing key of a delay.
        job: its job.
        delay: seconds.
        now: seconds since the epoch.
    """
    # A worker that knows the task ends its wait as an unknown one
    over = frozenset() if job.definition is None else frozenset({UNKNOWN_SINCE})
    headers = copied_headers(delivery.headers, drop=over)
    if job.unknown_since is not None:
        headers[UNKNOWN_SINCE] = timestamp(job.unknown_since)
    # The age of a message with `NOT_BEFORE` would count from there: so `SINCE` carries it along
    headers |= since(job, now) or {SINCE: job.message.enqueued_at if job.message else ""}
    headers[NOT_BEFORE] = timestamp(now + delay)
    if job.attempt:
        # RabbitMQ counts the deliveries of a new message from 0
        headers[ATTEMPT] = job.attempt
    exchange, key = router.after(job.queue, delay)
    return same_message(delivery, exchange=exchange, routing_key=key, headers=headers)
