"""The queue report: ready, running, consumers and dead letters of each queue, and the delays."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from stem_amqp.app import Stem
from stem_amqp.health.pauses import HeldLine, read_pauses
from stem_amqp.management import Management, Unsettled
from stem_amqp.provision.former_delays import former_delay_queues
from stem_amqp.provision.versions import status_with_versions
from stem_amqp.transport.base import QueueStatus, Transport


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueLine:
    """One logical queue.

    Args:
        queue: the logical queue.
        name: the work queue's broker name; a version that is being replaced has its own line.
        ready: tasks that wait for a worker; None if the queue is not on the broker.
        running: deliveries that workers have not settled yet; None if not known.
        consumers: the number of consumers.
        dead: dead letters; None if the dead-letter queue is not on the broker.
        paused: who paused it and why; an empty string if it is not paused.
    """

    queue: str
    name: str
    ready: int | None
    running: int | None
    consumers: int | None
    dead: int | None
    paused: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """A delay queue with messages in it.

    Args:
        seconds: how long each message waits in it; then it moves to its queue or to the bucket of
            the next digit of its delay.
        messages: the number of messages.
        name: the queue's name.
    """

    seconds: float
    messages: int
    name: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueReport:
    """The state of all queues at one time.

    Args:
        at: seconds since the epoch.
        queues: each logical queue.
        delays: the delay queues that are not empty, shortest first. They hold the messages of all
            queues: only the routing key of a delayed message tells which queue it goes to.
        unroutable: messages in the unroutable queue; None if that queue does not exist.
        running_unknown: why ``running`` is not known, or an empty string.
        held: the messages of paused tasks.
        pauses_unknown: why it is not known what is paused, or an empty string.
    """

    at: float
    queues: tuple[QueueLine, ...]
    delays: tuple[Bucket, ...]
    unroutable: int | None
    running_unknown: str = ""
    held: tuple[HeldLine, ...] = ()
    pauses_unknown: str = ""

    @property
    def delayed(self) -> int:
        """Messages in all delay queues."""
        return sum(bucket.messages for bucket in self.delays)


async def queue_report(
    app: Stem, transport: Transport, *, management: Management | None, queues: Iterable[str] = ()
) -> QueueReport:
    """Ask the broker for the state of the queues. Nothing is declared or consumed.

    Args:
        app: the application whose queues are reported.
        transport: connected.
        management: the management API, for the running tasks; None does not ask it.
        queues: logical queues instead of the application's.

    Raises:
        BrokerError: the broker cannot be reached, or refuses access.
    """
    names = app.names
    logical = tuple(queues) or app.queues
    delays = names.delay_queues() | await former_delay_queues(names, transport)
    works = {queue: names.works(queue, app.topology.queue(queue).version) for queue in logical}
    own = [works[queue][app.topology.queue(queue).version] for queue in logical]
    others = {name for one in works.values() for name in one.values()}.difference(own)
    dead = {q: names.dlq(q, app.topology.queue(q).dead_letter.version) for q in logical}
    asked = [*own, *dead.values(), *delays, names.unroutable]
    status, unsettled, pauses = await asyncio.gather(
        status_with_versions(transport, asked, others),
        _unsettled(management, f"{names.namespace}."),
        read_pauses(app, transport),
    )
    return QueueReport(
        at=transport.clock.time(),
        queues=tuple(
            replace(
                _line(queue, status[name], status[dead[queue]], name, unsettled),
                paused=pauses.of_queue(queue),
            )
            for queue in logical
            for name in _existing_versions(works[queue], status, app.topology.queue(queue).version)
        ),
        delays=tuple(
            Bucket(seconds=ttl, messages=found.ready, name=name)
            for name, ttl in sorted(delays.items(), key=lambda item: item[1])
            if (found := status[name]) is not None and found.ready
        ),
        unroutable=_ready(status[names.unroutable]),
        running_unknown=unsettled.reason,
        held=await pauses.held(app, transport),
        pauses_unknown=pauses.unknown,
    )


def _existing_versions(
    works: Mapping[int, str], status: Mapping[str, QueueStatus | None], version: int
) -> list[str]:
    """Return the names of the versions on the broker; without any, the one that should exist."""
    return [name for name in works.values() if status[name] is not None] or [works[version]]


async def _unsettled(management: Management | None, prefix: str) -> Unsettled:
    if management is None:
        return Unsettled(counts=None, reason="the management API was not asked")
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
