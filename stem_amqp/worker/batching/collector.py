"""Collects the messages of batch tasks, until a batch is full or its time has passed."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NamedTuple

from stem_amqp.clock import Clock
from stem_amqp.tasks.batch import Batch
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.transport.memory import MICROSECOND, Timer, call_at
from stem_amqp.worker.batching.gathering import Gathering, Part
from stem_amqp.worker.job import Job


class Key(NamedTuple):
    """What the messages of a batch have in common."""

    queue: str
    task: str
    time_limit: float | None
    soft_time_limit: float | None


class _Open(NamedTuple):
    gathering: Gathering
    timer: Timer


class Collector:
    """Collects the messages of batch tasks.

    Messages of one queue, one task and the same time limits become a batch.

    Args:
        clock: the broker's clock.
        call: calls a task's function for several messages.
    """

    def __init__(
        self,
        clock: Clock,
        call: Callable[[TaskDefinition, Key, Sequence[Part]], Coroutine[Any, Any, Any]],
    ) -> None:
        self._clock = clock
        self._call = call
        self._open: dict[Key, _Open] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._context = contextvars.copy_context()

    @property
    def collected(self) -> int:
        """The number of messages that wait for their batch to be complete."""
        return sum(len(one.gathering.parts) for one in self._open.values())

    async def join(self, job: Job, definition: TaskDefinition, batch: Batch) -> Part:
        """Add a message to a batch, and return its place once that batch may run.

        Args:
            job: the message.
            definition: its task.
            batch: the task's option.
        """
        if job.slot is not None:
            job.slot.give_back()  # the run of the batch takes one
        key = _key(job, definition)
        found = self._open.get(key) or self._begin(key, job, definition, batch)
        part = found.gathering.add()
        if len(found.gathering.parts) >= batch.size:
            self._close(key)
        await part.begun()
        return part

    def alone(self, job: Job, definition: TaskDefinition) -> Part:
        """Return the place of a message that is a batch of its own, such as one in quarantine.

        Args:
            job: the message, which may run now.
            definition: its task.
        """
        call = partial(self._call, definition, _key(job, definition))
        gathering = Gathering(definition.name, call, slot=None, on_empty=lambda _: None)
        part = gathering.add()
        self._start(gathering)
        return part

    def flush(self) -> None:
        """Run all batches that are not full now."""
        for key in list(self._open):
            self._close(key)

    def _begin(self, key: Key, job: Job, definition: TaskDefinition, batch: Batch) -> _Open:
        gathering = Gathering(
            definition.name,
            partial(self._call, definition, key),
            slot=None if job.slot is None else job.slot.another(),
            on_empty=lambda _: self._forget(key),
        )
        when = round((self._clock.time() + batch.seconds) * MICROSECOND)
        loop = asyncio.get_running_loop()
        timer = call_at(self._clock, loop, when, partial(self._close, key))
        found = self._open[key] = _Open(gathering, timer)
        return found

    def _forget(self, key: Key) -> None:
        self._open.pop(key).timer.cancel()

    def _close(self, key: Key) -> None:
        gathering = self._open[key].gathering
        self._forget(key)
        self._start(gathering)

    def _start(self, gathering: Gathering) -> None:
        # In the worker's own context: a batch belongs to no single message
        run = self._context.copy().run(gathering.close)
        self._running.add(run)
        run.add_done_callback(self._running.discard)


def _key(job: Job, definition: TaskDefinition) -> Key:
    return Key(job.queue, definition.name, job.option("time_limit"), job.option("soft_time_limit"))
