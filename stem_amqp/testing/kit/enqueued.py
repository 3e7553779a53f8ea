"""The tasks that were enqueued in a test, recorded by the producer in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

from stem_amqp.blueprint import Blueprint
from stem_amqp.durations import format_seconds
from stem_amqp.errors import ArgumentsError
from stem_amqp.observability import Bulk
from stem_amqp.producer.producer import Producer
from stem_amqp.tasks.call import Call, Enqueued, Lineage


@dataclass(frozen=True, kw_only=True, slots=True)
class EnqueuedTask:
    """A task that was enqueued.

    Args:
        task: its name.
        id: its id.
        args: argument name to value, of the types that the task's annotations name; JSON values
            if the task is not registered here.
        packed: the same as the JSON values in the message.
        queue: the logical queue.
        meta: the caller's metadata, including values inherited from the parent task.
        delay: seconds from its enqueue until it is due; 0 if it is due at once.
        eta: when it is due, in UTC; None if it is due at once.
        priority: its own or the task's; None if neither has one.
        parent: id of the task that enqueued it; None if no task did.
    """

    task: str
    id: str
    args: Mapping[str, Any]
    packed: Mapping[str, Any]
    queue: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    delay: float = 0.0
    eta: datetime | None = None
    priority: int | None = None
    parent: str | None = None

    def __str__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.args.items())
        parts = [f"{self.task}({values}) to queue {self.queue}"]
        if self.eta is not None:
            parts.append(f"due in {format_seconds(self.delay)}")
        if self.meta:
            parts.append(f"meta {dict(self.meta)!r}")
        return ", ".join(parts)


class RecordingProducer(Producer):
    """A producer that records the calls that the broker has confirmed.

    Args:
        recorded: the list to record them in.
        blueprint: as for `Producer`.
        **parts: as for `Producer`.
    """

    def __init__(self, recorded: list[EnqueuedTask], blueprint: Blueprint, **parts: Any) -> None:
        super().__init__(blueprint, **parts)
        self._recorded = recorded

    @override
    async def enqueue(
        self, call: Call, lineage: Lineage | None = None, bulk: Bulk | None = None
    ) -> Enqueued:
        """Publish one call, and record it unless an earlier call of a unique task stands for it."""
        enqueued = await super().enqueue(call, lineage, bulk)
        if not enqueued.existing:
            self._recorded.append(_record(call, enqueued, self._transport.clock.time()))
        return enqueued


def _record(call: Call, enqueued: Enqueued, now: float) -> EnqueuedTask:
    message, options = enqueued.message, call.options
    due = now + (options.delay or enqueued.wait) if options.eta is None else options.eta.timestamp()
    priority = options.priority
    if priority is None and call.definition is not None:
        priority = call.definition.options.priority
    return EnqueuedTask(
        task=message.task,
        id=message.id,
        args=_unpacked(call),
        packed=message.args,
        queue=enqueued.queue,
        meta=message.meta,
        delay=max(0.0, round(due - now, 6)),
        eta=datetime.fromtimestamp(due, UTC) if due > now else None,
        priority=priority,
        parent=message.parent,
    )


def _unpacked(call: Call) -> Mapping[str, Any]:
    if call.definition is None:
        return call.args
    try:
        return call.definition.arguments.unpack(call.args)
    except ArgumentsError:  # it is published, and the worker will report that it cannot be decoded
        return call.args
