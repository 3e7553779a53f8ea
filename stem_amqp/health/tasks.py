"""Checks of messages: consumers, unroutable messages and dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stem_amqp.app import Stem
from stem_amqp.health.pauses import read_pauses
from stem_amqp.health.report import Finding, UnhealthyError
from stem_amqp.provision.versions import status_with_versions
from stem_amqp.transport.base import Transport


async def check_consumers(
    app: Stem, transport: Transport, required: Sequence[str], *, waiting_fails: bool
) -> Finding:
    """Check that queues have consumers.

    Args:
        app: the application.
        transport: connected.
        required: logical queues that must have one.
        waiting_fails: whether waiting tasks without a consumer are a failure; otherwise a warning.

    Raises:
        UnhealthyError: a queue has none.
        BrokerError: the broker cannot be reached, or refuses access.
    """
    names, topology = app.names, app.topology
    work = {
        queue: tuple(names.works(queue, topology.queue(queue).version).values())
        for queue in (*app.queues, *required)
    }
    sure = [names.work(queue, topology.queue(queue).version) for queue in work]
    others = {name for works in work.values() for name in works}.difference(sure)
    status = await status_with_versions(transport, sure, others)
    counts = {
        queue: sum(found.consumers for name in works if (found := status[name]) is not None)
        for queue, works in work.items()
    }
    waiting = {
        queue: sum(found.ready for name in works if (found := status[name]) is not None)
        for queue, works in work.items()
        if not counts[queue]
    }
    idle = [queue for queue in required if not counts[queue]]
    if waiting:
        pauses = await read_pauses(app, transport)
        paused = {queue for queue in counts if pauses.of_queue(queue)}
        idle = [queue for queue in idle if queue not in paused]
        waiting = {queue: number for queue, number in waiting.items() if queue not in paused}
    if idle:
        raise UnhealthyError(
            f"no worker consumes {', '.join(idle)}\n"
            f"  Start one: stem-amqp worker APP -Q {','.join(idle)}"
        )
    return _waiting(waiting, counts, fails=waiting_fails)


def _waiting(waiting: Mapping[str, int], counts: Mapping[str, int], *, fails: bool) -> Finding:
    """Return the consumers of each queue; a queue without them warns, and fails if tasks wait in it."""
    stuck = {queue: number for queue, number in waiting.items() if number}
    if not stuck:
        text = ", ".join(f"{queue} {count}" for queue, count in counts.items())
        if not waiting:
            return Finding(text)
        # Workers that are scaled to zero are no fault
        idle = f"no worker consumes {', '.join(waiting)}, where no task waits"
        return Finding(f"{text}\n  {idle}", warning=True)
    counted = ", ".join(f"{queue} {number}" for queue, number in stuck.items())
    problem = (
        f"tasks wait, and no worker consumes their queue: {counted}\n"
        f"  Start one: stem-amqp worker APP -Q {','.join(stuck)}"
    )
    if fails:
        raise UnhealthyError(problem)
    return Finding(problem, warning=True)


async def check_unroutable(app: Stem, transport: Transport) -> Finding:
    """Check that no message is in the unroutable queue.

    Raises:
        UnhealthyError: there are some.
        BrokerError: the broker cannot be reached, or refuses access.
    """
    name = app.names.unroutable
    status = (await transport.status([name]))[name]
    if status is not None and status.ready:
        raise UnhealthyError(
            f"unroutable messages are in {name}: {status.ready}\n"
            "  Declare the queue that they were sent to (stem-amqp topology apply), then move them"
            " there."
        )
    return Finding("empty")


async def check_dead_letters(app: Stem, transport: Transport) -> Finding:
    """Check that no dead-letter queue has many messages.

    Raises:
        UnhealthyError: one has.
        BrokerError: the broker cannot be reached, or refuses access.
    """
    limit = app.settings.dlq_alarm
    spec = app.topology.queue
    names = {app.names.dlq(queue, spec(queue).dead_letter.version): queue for queue in app.queues}
    status = await transport.status(names)
    counts = {queue: found.ready for name, queue in names.items() if (found := status[name])}
    many = [f"{queue} {count}" for queue, count in counts.items() if count >= limit]
    if many:
        raise UnhealthyError(
            f"many dead letters (STEM_DLQ_ALARM is {limit}): {', '.join(many)}\n"
            "  Find the cause, then replay or purge them: stem-amqp dlq list QUEUE. A full"
            " dead-letter queue stops its tasks."
        )
    return Finding(", ".join(f"{queue} {count}" for queue, count in counts.items()) or "none")
