"""Lint of logical queues, which hold tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from stem_amqp.durations import format_seconds
from stem_amqp.topology.lint.warning import LintWarning
from stem_amqp.topology.model import Topology
from stem_amqp.topology.spec.mistake import Place, dotted
from stem_amqp.topology.spec.queues import QueueSpec

SHORT_TTL = 60.0
"""Seconds that a deploy can take, during which no worker consumes."""
SHORT_DEAD_LETTER_TTL = 3 * 86400.0
"""Seconds of a long weekend, in which dead letters are not read."""
LOW_DELIVERY_LIMIT = 20
MANY_PRIORITIES = 10
HOLD = "180 s"
"""RabbitMQ's default of `HOLD_SETTING`."""
HOLD_SETTING = "{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 10000}]}"
"""The broker's setting for the wait before a refused dead letter is published again."""


class _Finding(NamedTuple):
    """A warning about one key of a queue."""

    field: str
    problem: str
    remedy: str


def warnings(topology: Topology) -> Iterator[LintWarning]:
    """Yield the warnings about the defaults and about each queue."""
    yield from _queue(("defaults",), topology.defaults, topology.defaults)
    for name, own in topology.queues.items():
        yield from _queue(("queues", name), own, topology.queue(name))


def _queue(place: Place, own: QueueSpec, spec: QueueSpec) -> Iterator[LintWarning]:
    for field, problem, remedy in (*_limits(spec), *_consuming(spec), *_priorities(spec)):
        head = field.split(".", 1)[0]
        section = place if head in own.model_fields_set else ("defaults",)
        yield LintWarning(key=f"{dotted(section)}.{field}", problem=problem, remedy=remedy)


def _limits(spec: QueueSpec) -> Iterator[_Finding]:
    if spec.type == "classic":
        yield _Finding(
            "type",
            "a classic queue is not replicated, and dead-letters at-most-once: tasks that the broker"
            " itself dead-letters (expired or rejected) can be lost on the way",
            "Use quorum, unless tasks may be lost with their node.",
        )
    yield from _lengths(spec)
    if spec.ttl is not None and spec.ttl < SHORT_TTL:
        yield _Finding(
            "ttl",
            f"tasks are dead-lettered after {format_seconds(spec.ttl)}, also when a deploy or a"
            " restart leaves the queue without workers for that long",
            f"Use {format_seconds(SHORT_TTL)} or more, or set expires on the tasks.",
        )
    if spec.type == "quorum" and spec.delivery_limit < LOW_DELIVERY_LIMIT:
        yield _Finding(
            "delivery_limit",
            "before RabbitMQ 4.3 every requeue counts, also by a worker that stops, so that"
            f" {spec.delivery_limit} deploys or crashes of other tasks dead-letter a healthy task",
            "Use 100. Retries are not counted here: max_retries limits them.",
        )
    if spec.dead_letter.overflow == "drop-oldest":
        yield _Finding(
            "dead_letter.overflow",
            "a full dead-letter queue silently loses its oldest messages",
            "Use refuse, and alert on stem-amqp health or on the queue's length.",
        )
    if spec.dead_letter.ttl is not None and spec.dead_letter.ttl < SHORT_DEAD_LETTER_TTL:
        yield _Finding(
            "dead_letter.ttl",
            f"dead letters are dropped after {format_seconds(spec.dead_letter.ttl)}, which is"
            " shorter than a weekend",
            "Use 14d, or none.",
        )


def _lengths(spec: QueueSpec) -> Iterator[_Finding]:
    if spec.overflow == "drop-oldest":
        yield _Finding(
            "overflow",
            "every dead letter of this queue can be lost on its way: RabbitMQ dead-letters"
            " at-least-once only with overflow: refuse",
            "Remove it, unless tasks may be lost.",
        )
        return
    for field in ("max_length", "max_length_bytes"):
        if getattr(spec, field) is not None:
            yield _Finding(
                field,
                "a full queue also refuses retries and delayed tasks; they wait for room in a holding"
                f" queue, and RabbitMQ retries a refused one only after {HOLD}",
                "Remove it and alert on the queue's length; or shorten that time for all queues, with"
                f" {HOLD_SETTING} (ms) in advanced.config.",
            )


def _consuming(spec: QueueSpec) -> Iterator[_Finding]:
    if spec.prefetch is not None and spec.prefetch < (spec.concurrency or 1):
        yield _Finding(
            "prefetch",
            f"a worker gets at most {spec.prefetch} unsettled deliveries, so at most"
            f" {spec.prefetch} of the {spec.concurrency} tasks run at once",
            "Make prefetch at least as large as concurrency.",
        )
    if spec.single_active_consumer and (spec.prefetch != 1 or spec.concurrency != 1):
        yield _Finding(
            "single_active_consumer",
            "one worker at a time consumes, but it runs several tasks at once, in no defined order",
            "For sequential tasks, set prefetch: 1 and concurrency: 1. A retried task still"
            " runs after those that were waiting.",
        )


def _priorities(spec: QueueSpec) -> Iterator[_Finding]:
    if spec.priority is None:
        return
    if spec.type == "quorum":
        yield _Finding(
            "priority",
            "has no effect on a quorum queue: RabbitMQ has no priorities there before 4.0, two"
            " (above 4, and the rest) from 4.0 on, and 32 from 4.3 on, without any argument",
            "Remove it. If tasks rely on the 32, write strict_priority: true; or use a separate queue"
            " for urgent tasks.",
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
            "priorities do not affect prefetched tasks: an urgent task waits until the workers have run"
            " those that they have prefetched",
            "Set prefetch: 1, or a small one, for this queue.",
        )
