"""A result backend as its users see it: a producer, a worker, and more of both."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from stem_amqp.message import new_id
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


class Sides:
    """Two or more instances of one backend, as several processes would have them.

    Args:
        make: makes one more instance, which is not opened yet.
        clock: the time that all of them measure with.

    Attributes:
        producer: the instance in the process that enqueues.
        worker: the instance in the process that works.
        stores: whether results are stored where every instance sees them. A backend that replies is
            told only what concerns its own tasks, so there a worker neither knows a task nor guards its
            states.
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
        """Return one more open instance, as another process would have it."""
        backend = await self._make()
        await backend.open()
        self._opened.append(backend)
        return backend

    def change(self, task_id: str, state: TaskState, **values: Any) -> Transition:
        """Return a change as the producer or a worker makes it.

        Args:
            task_id: the task.
            state: its new state; with ``succeeded`` it returns 1.
            values: of the `Transition`, in place of the usual ones.
        """
        usual: dict[str, Any] = {"task": "shop.sync", "queue": "orders", "at": self.clock.time()}
        usual |= {"ttl": DAY, "reply_to": self._reply_to}
        if state is TaskState.SUCCEEDED:
            usual["result"] = b"1"
        return Transition(task_id=task_id, state=state, **(usual | values))

    def progress(
        self, task_id: str, fraction: float, ttl: float = DAY, **values: Any
    ) -> ProgressUpdate:
        """Return progress as a worker makes it.

        Args:
            task_id: the task.
            fraction: 0 to 1.
            ttl: seconds that the record is kept.
            values: more of the `Progress`.
        """
        progress = Progress(fraction=fraction, at=self.clock.time(), **values)
        return ProgressUpdate(task_id=task_id, progress=progress, ttl=ttl, reply_to=self._reply_to)

    async def arrived(self) -> None:
        """Return once all that a worker wrote before can be seen by the producer."""
        marker = new_id()
        await self.worker.transition([self.change(marker, TaskState.SUCCEEDED)])
        await self.producer.wait(marker, 20)

    async def seen(self, task_id: str) -> TaskRecord:
        """Return the producer's record, once all that was written has arrived."""
        await self.arrived()
        return await self.record(task_id)

    async def record(self, task_id: str) -> TaskRecord:
        """Return the producer's record, which must be there."""
        record = await self.producer.get(task_id)
        assert record is not None, f"the producer does not know task {task_id}"
        return record

    async def queued(self, **values: Any) -> str:
        """Note a new task as the producer does, and return its id."""
        task_id = new_id()
        change = self.change(task_id, TaskState.QUEUED, **values)
        assert await self.producer.transition([change]) == [True]
        return task_id

    async def group(self, size: int, *, ttl: float = DAY) -> str:
        """Create a group, and return its id."""
        group_id = self.group_id()
        await self.producer.create_group(group_id, size, ttl=ttl)
        return group_id

    def group_id(self) -> str:
        """Return the id of a group that is not created yet."""
        self.groups.append(f"g-{uuid.uuid4().hex[:12]}")
        return self.groups[-1]
