"""The check of the oldest ready message against the limit of its queue.

A check runs once and cannot follow counters as the exporter does, so it looks at the message where that is
harmless: in a quorum queue from RabbitMQ 4.3 on, where only failed deliveries count towards the delivery limit.
Elsewhere a look counts as a delivery, or makes the worker run the task in a child process.
"""

from __future__ import annotations

from dataclasses import dataclass

from stem_amqp.app import Stem
from stem_amqp.clock import parse_timestamp
from stem_amqp.durations import format_seconds
from stem_amqp.errors import BrokerError
from stem_amqp.health.report import Finding, UnhealthyError
from stem_amqp.messages.message import NOT_BEFORE
from stem_amqp.transport.base import BrokerInfo, Transport
from stem_amqp.transport.delivery import Delivery

_HARMLESS = (4, 3)
"""The first RabbitMQ release on which a requeue counts nothing."""


@dataclass(frozen=True, slots=True)
class _Limited:
    """A queue with a limit."""

    queue: str
    name: str
    limit: float
    readable: bool


async def check_age(app: Stem, transport: Transport, broker: BrokerInfo) -> Finding | None:
    """Compare the age of the oldest ready message of each queue with its limit; None without limits.

    Args:
        app: the application.
        transport: connected.
        broker: the broker's release.

    Raises:
        UnhealthyError: a message is older than the limit of its queue.
        BrokerError: the broker cannot be reached, or refuses access.
    """
    limited = list(_limited(app, harmless=broker.version >= _HARMLESS))
    if not limited:
        return None
    status = await transport.status([one.name for one in limited])
    late: list[str] = []
    known: list[str] = []
    unknown: list[str] = []
    for one in limited:
        found = status[one.name]
        age = 0.0 if found is None or not found.ready else await _age(transport, one)
        if age is None:
            unknown.append(one.queue)
            continue
        text = f"{one.queue} {format_seconds(round(age))}"
        (late if age > one.limit else known).append(f"{text} of {format_seconds(one.limit)}")
    if late:
        raise UnhealthyError(
            f"tasks wait longer than max_ready_age: {', '.join(late)}\n"
            "  Start more workers, or find out why they are slow: stem-amqp queues"
        )
    parts = [", ".join(known)] if known else []
    if unknown:
        parts.append(f"not known for {', '.join(unknown)}: run stem-amqp exporter")
    return Finding("; ".join(parts))


def _limited(app: Stem, *, harmless: bool) -> list[_Limited]:
    found = []
    for queue in app.queues:
        spec = app.topology.queue(queue)
        if spec.max_ready_age is not None:
            # a queue with a single active consumer refuses a basic.get of others
            readable = harmless and spec.type == "quorum" and not spec.single_active_consumer
            name = app.names.work(queue, spec.version)
            found.append(_Limited(queue, name, spec.max_ready_age, readable))
    return found


async def _age(transport: Transport, queue: _Limited) -> float | None:
    """Return the age of the message at the head; None if it cannot be looked at."""
    if not queue.readable:
        return None
    try:
        async with transport.browse(queue.name) as deliveries:
            delivery = await anext(deliveries, None)
    except BrokerError:  # the user may not read the queue
        return None
    if delivery is None:
        return 0.0
    since = _ready_since(delivery)
    return None if since is None else max(0.0, transport.clock.time() - since)


def _ready_since(delivery: Delivery) -> float | None:
    """Return when a message entered its queue: at the end of its delay, or when it was published."""
    due = delivery.headers.get(NOT_BEFORE)
    try:
        after = parse_timestamp(str(due)) if due is not None else None
    except ValueError:
        after = None
    times = [time for time in (delivery.timestamp, after) if time is not None]
    return max(times, default=None)
