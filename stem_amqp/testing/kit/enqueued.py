"""What was enqueued in a test: noted by the producer, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stem_amqp.durations import format_seconds
from stem_amqp.errors import ArgumentsError
from stem_amqp.producer import Call, Enqueued, Lineage, Producer


@dataclass(frozen=True, kw_only=True, slots=True)
class EnqueuedTask:
    """A task that was enqueued.

    Args:
        task: its name.
        id: its id.
        args: argument name to value, of the types that the task's annotations name; JSON values
            where the task's code is not here.
        packed: the same as JSON values, as they travel.
        queue: the logical queue.
        meta: the caller's metadata, with what it inherited from the task that enqueued it.
        delay: seconds from its enqueue until it is due; 0 for one that is due at once.
        eta: when it is due, in UTC; None for one that is due at once.
        priority: its own or the task's; None where neither has one.
        parent: id of the task that enqueued it; None where no task did.
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
    """A producer that notes what the broker has confirmed.

    Args:
        recorded: where to note it.
        **parts: as for `Producer`.
    """

    def __init__(self, recorded: list[EnqueuedTask], **parts: Any) -> None:
        super().__init__(**parts)
        self._recorded = recorded

    async def enqueue(self, call: Call, lineage: Lineage | None = None) -> Enqueued:
        """Publish one call, and note it unless an earlier one is on its way for it."""
        enqueued = await super().enqueue(call, lineage)
        if not enqueued.existing:
            self._recorded.append(_record(call, enqueued, self._transport.clock.time()))
        return enqueued


def _record(call: Call, enqueued: Enqueued, now: float) -> EnqueuedTask:
    message, options = enqueued.message, call.options
    due = now + (options.delay or 0.0) if options.eta is None else options.eta.timestamp()
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
    except ArgumentsError:  # it travels, and the worker will say that it cannot be read back
        return call.args
