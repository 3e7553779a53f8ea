"""What waits where: ready, running, consumers and dead letters of each queue, and the delays."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stem_amqp.app import Stem
from stem_amqp.management import Management, Unsettled
from stem_amqp.provision.versions import look_at_versions
from stem_amqp.transport.base import QueueStatus, Transport


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueLine:
    """One logical queue.

    Args:
        queue: the logical queue.
        name: the work queue's name on the broker; one that is being replaced has a line of its own.
        ready: tasks that wait for a worker; None if the queue is not on the broker.
        running: deliveries that workers have not settled yet; None if that is not known.
        consumers: consumers on it.
        dead: dead letters; None if the dead-letter queue is not on the broker.
    """

    queue: str
    name: str
    ready: int | None
    running: int | None
    consumers: int | None
    dead: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """A delay queue with messages in it.

    Args:
        seconds: how long each of them waits in it; then it goes on, to its queue or to the
            bucket of the next digit of its delay.
        messages: how many there are.
    """

    seconds: float
    messages: int


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueReport:
    """What waits where at one moment.

    Args:
        at: seconds since the epoch.
        queues: each logical queue.
        delays: the delay queues that are not empty, shortest first. They hold the messages of all
            queues: which queue a delayed message goes to is in its routing key only.
        unroutable: messages that lost their queue; None if the parking queue is not there.
        running_unknown: why ``running`` is not known, or an empty text.
    """

    at: float
    queues: tuple[QueueLine, ...]
    delays: tuple[Bucket, ...]
    unroutable: int | None
    running_unknown: str = ""

    @property
    def delayed(self) -> int:
        """Messages in all delay queues."""
        return sum(bucket.messages for bucket in self.delays)


async def queue_report(
    app: Stem, transport: Transport, *, management: Management | None, queues: Iterable[str] = ()
) -> QueueReport:
    """Ask the broker what waits where. Nothing is declared or consumed.

    Args:
        app: the application, whose queues are reported.
        transport: connected.
        management: who knows what is running; None: nobody.
        queues: logical queues instead of the application's.

    Raises:
        BrokerError: the broker cannot be reached, or refuses.
    """
    names = app.names
    logical = tuple(queues) or app.queues
    delays = names.delay_queues()
    works = {queue: names.works(queue, app.topology.queue(queue).version) for queue in logical}
    own = [works[queue][app.topology.queue(queue).version] for queue in logical]
    others = {name for one in works.values() for name in one.values()}.difference(own)
    dead = {q: names.dlq(q, app.topology.queue(q).dead_letter.version) for q in logical}
    asked = [*own, *dead.values(), *delays, names.unroutable]
    status, unsettled = await asyncio.gather(
        look_at_versions(transport, asked, others), _unsettled(management, f"{names.namespace}.")
    )
    return QueueReport(
        at=transport.clock.time(),
        queues=tuple(
            _line(queue, status[name], status[dead[queue]], name, unsettled)
            for queue in logical
            for name in _there(works[queue], status, app.topology.queue(queue).version)
        ),
        delays=tuple(
            Bucket(seconds=ttl, messages=found.ready)
            for name, ttl in sorted(delays.items(), key=lambda item: item[1])
            if (found := status[name]) is not None and found.ready
        ),
        unroutable=_ready(status[names.unroutable]),
        running_unknown=unsettled.reason,
    )


def _there(
    works: Mapping[int, str], status: Mapping[str, QueueStatus | None], version: int
) -> list[str]:
    """Return the versions that are on the broker, or the one that should be."""
    return [name for name in works.values() if status[name] is not None] or [works[version]]


async def _unsettled(management: Management | None, prefix: str) -> Unsettled:
    if management is None:
        return Unsettled(counts=None, reason="no management API was asked")
    return await management.unsettled(prefix)


def _line(
    queue: str, work: QueueStatus | None, dead: QueueStatus | None, name: str, unsettled: Unsettled
) -> QueueLine:
    return QueueLine(
        queue=queue,
        name=name,
        ready=_ready(work),
        running=None if unsettled.counts is None else unsettled.counts.get(name),
        consumers=None if work is None else work.consumers,
        dead=_ready(dead),
    )


def _ready(status: QueueStatus | None) -> int | None:
    return None if status is None else status.ready
