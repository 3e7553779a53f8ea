"""What a topology allows and will be regretted. Nothing here is an error."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from stem_amqp.durations import format_seconds
from stem_amqp.topology.check import NAMESPACE
from stem_amqp.topology.mistake import Place, did_you_mean, dotted
from stem_amqp.topology.model import BindingSpec, QueueSpec, Topology
from stem_amqp.topology.names import Names

SHORT_TTL = 60.0
"""Seconds that a deploy easily takes, in which nobody consumes."""
SHORT_DEAD_LETTER_TTL = 3 * 86400.0
"""Seconds of a weekend and a bit, in which nobody looks."""
LOW_DELIVERY_LIMIT = 20
MANY_PRIORITIES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Warning:  # noqa: A001 - Python's own is never needed here
    """Something to think about.

    Args:
        key: the dotted path of the key.
        problem: what will happen.
        remedy: what to do instead.
    """

    key: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.key}: {self.problem}\n  {self.remedy}"


def lint(topology: Topology) -> list[Warning]:
    """Return what is allowed but probably not meant, in the file's order.

    What a queue inherits is reported once, at the defaults.
    """
    found = [*_queue(("defaults",), topology.defaults, topology.defaults)]
    for name, own in topology.queues.items():
        found += _queue(("queues", name), own, topology.queue(name))
    found += _bindings(topology)
    found += _routes(topology)
    return list(dict.fromkeys(found))


def lint_time_limits(topology: Topology, tasks: Iterable[tuple[str, str, float]]) -> list[Warning]:
    """Return the time limits of tasks that RabbitMQ does not wait for.

    Args:
        topology: the topology.
        tasks: a task's name, its queue, and its time limit in seconds.
    """
    found = []
    for task, queue, limit in tasks:
        timeout = topology.queue(queue).consumer_timeout
        if timeout is not None and limit >= timeout:
            place = ("queues", queue) if queue in topology.queues else ("defaults",)
            found.append(
                Warning(
                    key=f"{dotted(place)}.consumer_timeout",
                    problem=f"the task {task} may run for {format_seconds(limit)} (time_limit), and"
                    f" RabbitMQ takes it away from its worker after {format_seconds(timeout)} and"
                    " has another one run it too",
                    remedy="Make consumer_timeout longer than the longest time_limit, and than what"
                    " prefetched tasks wait for their turn; or make the time limit shorter.",
                )
            )
    return found


class _Finding(NamedTuple):
    """What is said about one key of a queue."""

    field: str
    problem: str
    remedy: str


def _queue(place: Place, own: QueueSpec, spec: QueueSpec) -> Iterator[Warning]:
    for field, problem, remedy in (*_limits(spec), *_consuming(spec), *_priorities(spec)):
        head = field.split(".", 1)[0]
        section = place if head in own.model_fields_set else ("defaults",)
        yield Warning(key=f"{dotted(section)}.{field}", problem=problem, remedy=remedy)


def _limits(spec: QueueSpec) -> Iterator[_Finding]:
    if spec.type == "classic":
        yield _Finding(
            "type",
            "a classic queue is not replicated, and what the broker itself dead-letters (expired"
            " or rejected tasks) can be lost on the way: that is at-most-once",
            "Use quorum, unless tasks may be lost with their node.",
        )
    if spec.max_length is not None:
        yield _Finding(
            "max_length",
            "a full queue refuses what comes out of the delay queues, which all queues share; 32"
            " refused messages stop a delay queue for everyone, until there is room",
            "Remove it and alert on the queue's length, or make sure that the queue never fills.",
        )
    if spec.ttl is not None and spec.ttl < SHORT_TTL:
        yield _Finding(
            "ttl",
            f"tasks are dead-lettered after {format_seconds(spec.ttl)}, so also whenever a deploy"
            " or a restart leaves the queue without workers for that long",
            f"Use {format_seconds(SHORT_TTL)} or more, or let the tasks themselves expire.",
        )
    if spec.type == "quorum" and spec.delivery_limit < LOW_DELIVERY_LIMIT:
        yield _Finding(
            "delivery_limit",
            "before RabbitMQ 4.3 every return counts, a polite one at a deploy too, so that"
            f" {spec.delivery_limit} deploys or crashes of neighbours dead-letter a healthy task",
            "Use 100. Retries are not counted here: max_retries limits them.",
        )
    if spec.dead_letter.overflow == "drop-oldest":
        yield _Finding(
            "dead_letter.overflow",
            "a full dead-letter queue loses its oldest letters, without a word",
            "Use refuse, and alert on stem-amqp health or on the queue's length.",
        )
    if spec.dead_letter.ttl is not None and spec.dead_letter.ttl < SHORT_DEAD_LETTER_TTL:
        yield _Finding(
            "dead_letter.ttl",
            f"dead letters are dropped after {format_seconds(spec.dead_letter.ttl)}, which is"
            " shorter than a weekend",
            "Use 14d, or none.",
        )


def _consuming(spec: QueueSpec) -> Iterator[_Finding]:
    if spec.prefetch is not None and spec.prefetch < (spec.concurrency or 1):
        yield _Finding(
            "prefetch",
            f"with {spec.prefetch} unsettled deliveries at most, never more than"
            f" {spec.prefetch} of the {spec.concurrency} tasks run at once",
            "Make prefetch at least as large as concurrency.",
        )
    if spec.single_active_consumer and (spec.prefetch != 1 or spec.concurrency != 1):
        yield _Finding(
            "single_active_consumer",
            "one worker at a time consumes, but it runs several tasks at once, in no order",
            "For one task after the other, set prefetch: 1 and concurrency: 1. A retried task"
            " still comes back behind those that waited.",
        )


def _priorities(spec: QueueSpec) -> Iterator[_Finding]:
    if spec.priority is None:
        return
    if spec.type == "quorum":
        yield _Finding(
            "priority",
            "has no effect on a quorum queue: RabbitMQ has no priorities there before 4.0, two"
            " (above 4, and the rest) from 4.0 on, and 32 from 4.3 on, without any argument",
            "Remove it. Where tasks rely on the 32, write strict_priority: true; or use a queue of"
            " its own for what is urgent.",
        )
        return
    if spec.priority > MANY_PRIORITIES:
        yield _Finding(
            "priority",
            f"{spec.priority} levels cost memory and CPU on the broker",
            f"Use {MANY_PRIORITIES} or fewer.",
        )
    if spec.prefetch != 1:
        yield _Finding(
            "priority",
            "prefetched tasks are beyond the reach of priorities: an urgent one waits behind all"
            " that the workers have fetched already",
            "Set prefetch: 1, or a small one, for this queue.",
        )


def _bindings(topology: Topology) -> Iterator[Warning]:
    tasks = Names(NAMESPACE).tasks
    for index, binding in enumerate(topology.bindings):
        key = dotted(("bindings", index))
        source = topology.exchanges.get(binding.source)
        kind = "topic" if binding.source == tasks else source.type if source else None
        if kind in {"fanout", "headers"} and binding.key:
            yield Warning(
                key=f"{key}.key",
                problem=f"a {kind} exchange does not look at keys",
                remedy="Remove the key.",
            )
        if kind == "topic" and any(w != "*" and "*" in w for w in binding.key.split(".")):
            yield Warning(
                key=f"{key}.key",
                problem="a * that is only part of a word is an ordinary character in a topic"
                " pattern",
                remedy="Use * for a whole word between dots, # for any number of words.",
            )
        tap = _tap(topology, key, binding) if binding.source == tasks else None
        if tap is not None:
            yield tap


def _tap(topology: Topology, key: str, binding: BindingSpec) -> Warning | None:
    if binding.to == "queue":
        return Warning(
            key=key,
            problem=f"tasks of the queues that the key fits run in {binding.destination} too: twice",
            remedy="To move tasks to another queue, use routes; to look at them, an exchange of"
            " your own.",
        )
    if binding.key in topology.queues:
        return None
    return Warning(
        key=key,
        problem="a task for a queue that does not exist finds this way, so that the producer gets"
        " no UnroutableError and the task is lost",
        remedy="Bind the names of queues one by one instead of a pattern.",
    )


def _routes(topology: Topology) -> Iterator[Warning]:
    for index, route in enumerate(topology.routes):
        key = dotted(("routes", index))
        if route.queue not in topology.queues:
            close = did_you_mean(route.queue, topology.queues)
            yield Warning(
                key=f"{key}.queue",
                problem=f"the queue {route.queue} is not under queues{close}",
                remedy=f"Add '{route.queue}:' there, even with nothing behind it, so that it stands"
                " before the first task comes.",
            )
        for earlier in topology.routes[:index]:
            if earlier.match == route.match or fnmatch.fnmatchcase(route.match, earlier.match):
                yield Warning(
                    key=f"{key}.match",
                    problem=f"never reached: {earlier.match} stands before it and fits the same"
                    " tasks",
                    remedy="Put the narrower pattern first.",
                )
                break
