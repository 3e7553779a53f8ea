"""Several instances of a result backend: a producer, a worker, and more processes."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from stem_amqp.messages.message import new_id
from stem_amqp.results.base import (
    Progress,
    ProgressUpdate,
    ResultBackend,
    TaskRecord,
    Transition,
)
from stem_amqp.states import TaskState
from stem_amqp.transport.memory import ManualClock

DAY = 86400.0
Spoil: TypeAlias = Callable[[str], Awaitable[None]]
"""Replaces the stored record of a task by something that is not a record."""


class Sides:
    """Two or more instances of one backend, as in several processes.

    Args:
        make: creates one more instance, which is not opened yet.
        clock: the clock of all instances.

    Attributes:
        producer: the instance of the process that enqueues.
        worker: the instance of the process that runs tasks.
        stores: whether every instance sees all results. A backend with replies receives only changes
            of its own tasks, so its worker neither knows a task nor guards its states.
        groups: the ids of the groups that were created.
    """

    producer: ResultBackend
    worker: ResultBackend

    def __init__(self, make: Callable[[], Awaitable[ResultBackend]], clock: ManualClock) -> None:
        self._make = make
        self._opened: list[ResultBackend] = []
        self._reply_to: str | None = None
        self.clock = clock
        self.stores = True
        self.groups: list[str] = []

    async def open(self) -> Sides:
        """Open both sides."""
        self.producer = await self.another()
        self.worker = await self.another()
        self.stores = not self.producer.needs_reply
        self._reply_to = await self.producer.reply_address()
        return self

    async def close(self) -> None:
        """Close every instance."""
        for backend in self._opened:
            await backend.close()

    async def another(self) -> ResultBackend:
        """Return one more open instance, as in another process."""
        backend = await self._make()
        await backend.open()
        self._opened.append(backend)
        return backend

    def change(self, task_id: str, state: TaskState, **values: Any) -> Transition:
        """Return a change, as a producer or a worker creates it.

        Args:
            task_id: the task.
            state: its new state; with ``succeeded`` it returns 1.
            values: fields of the `Transition` that differ from the defaults.
        """
        usual: dict[str, Any] = {"task": "shop.sync", "queue": "orders", "at": self.clock.time()}
        usual |= {"ttl": DAY, "reply_to": self._reply_to}
        if state is TaskState.SUCCEEDED:
            usual["result"] = b"1"
        return Transition(task_id=task_id, state=state, **(usual | values))

    def progress(
        self, task_id: str, fraction: float, ttl: float = DAY, **values: Any
    ) -> ProgressUpdate:
        """Return progress, as a worker creates it.

        Args:
            task_id: the task.
            fraction: 0 to 1.
            ttl: seconds that the record is kept.
            values: further fields of the `Progress`.
        """
        progress = Progress(fraction=fraction, at=self.clock.time(), **values)
        return ProgressUpdate(task_id=task_id, progress=progress, ttl=ttl, reply_to=self._reply_to)

    async def arrived(self) -> None:
        """Return once the producer sees all earlier writes of the worker."""
        marker = new_id()
        await self.worker.transition([self.change(marker, TaskState.SUCCEEDED)])
        await self.producer.wait(marker, 20)

    async def seen(self, task_id: str) -> TaskRecord:
        """Return the producer's record, once all writes have arrived."""
        await self.arrived()
        return await self.record(task_id)

    async def record(self, task_id: str) -> TaskRecord:
        """Return the producer's record, which must exist."""
        record = await self.producer.get(task_id)
        assert record is not None, f"the producer does not know task {task_id}"
        return record

    async def queued(self, **values: Any) -> str:
        """Store a new task as ``queued``, as the producer does, and return its id."""
        task_id = new_id()
        change = self.change(task_id, TaskState.QUEUED, **values)
        assert await self.producer.transition([change]) == [True]
        return task_id

    async def group(self, size: int, *, ttl: float = DAY, **values: Any) -> str:
        """Create a group, and return its id."""
        group_id = self.group_id()
        await self.producer.create_group(group_id, size, ttl=ttl, **values)
        return group_id

    def group_id(self) -> str:
        """Return the id of a group that is not created yet."""
        self.groups.append(f"g-{uuid.uuid4().hex[:12]}")
        return self.groups[-1]
