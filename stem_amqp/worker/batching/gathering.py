"""One batch of messages: it is collected, its function is called once, and each message gets its own end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any

from stem_amqp.context.context import TaskContext
from stem_amqp.errors import ResultError
from stem_amqp.task_control import BatchFailed
from stem_amqp.worker.classify import UnwritableResultError
from stem_amqp.worker.running.interruption import comes_from_outside
from stem_amqp.worker.slots import Slot


class Part:
    """The place of one message in a batch.

    Args:
        gathering: the batch.

    Attributes:
        item: the message's item; set once its own checks and middleware let it run.
        context: the context of its run.
    """

    __slots__ = (
        "_ended",
        "_error",
        "_gathering",
        "_traceback",
        "_value",
        "context",
        "item",
        "left",
        "ready",
    )

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._value: Any = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self.item: Any = None
        self.context: TaskContext
        self.ready = self.left = False

    async def begun(self) -> None:
        """Wait until the batch is complete and may run."""
        try:
            await self._gathering.begun.wait()
        except asyncio.CancelledError:
            self.leave()
            raise

    async def outcome(self, item: Any, context: TaskContext) -> Any:
        """Hand the item to the batch, wait for the end of its run, and return this message's own result.

        A second call, of a middleware, returns the same result again.

        Args:
            item: the item.
            context: the context of its run.

        Raises:
            BaseException: this message has failed.
        """
        if not self.ready:
            self.item, self.context = item, context
            self.ready = True
            self._gathering.became_ready()
        try:
            await asyncio.shield(self._ended)
        except asyncio.CancelledError:
            self.leave()
            await self._gathering.stopped()
            raise
        if self._error is not None:
            # The same exception may be raised for many messages, each with the function's traceback only
            raise self._error.with_traceback(self._traceback)
        return self._value

    def end(self, value: Any = None, error: BaseException | None = None) -> None:
        """Set how this message ended.

        Args:
            value: its result.
            error: the exception that it failed with.
        """
        if not self._ended.done():
            self._value, self._error = value, error
            self._traceback = None if error is None else error.__traceback__
            self._ended.set_result(None)

    def leave(self) -> None:
        """Take the message out of the batch: it is not run, or nobody needs its result."""
        if not self.left:
            self.left = True
            self._gathering.became_less(self)


class Gathering:
    """One batch.

    Args:
        task: the task's name.
        call: calls the function for parts that are ready.
        slot: the slot that the run holds; None if its queue has none.
        on_empty: called if all messages leave while it is collected.

    Attributes:
        begun: set once it is complete and has its slot.
        parts: its messages, in the order of their items.
    """

    def __init__(
        self,
        task: str,
        call: Callable[[Sequence[Part]], Coroutine[Any, Any, Any]],
        *,
        slot: Slot | None,
        on_empty: Callable[[Gathering], None],
    ) -> None:
        self.begun = asyncio.Event()
        self.parts: dict[Part, None] = {}
        self._task = task
        self._call = call
        self._slot = slot
        self._on_empty = on_empty
        self._assembled = asyncio.Event()
        self._awaited = self._present = 0
        self._run: asyncio.Task[None] | None = None
        self._over = False

    def add(self) -> Part:
        """Add a message."""
        part = Part(self)
        self.parts[part] = None
        return part

    def close(self) -> asyncio.Task[None]:
        """Add no more messages, and run: as soon as there is a slot, and every message may run or has left."""
        self._awaited = self._present = len(self.parts)
        self._run = asyncio.create_task(self._perform(), name=f"batch of {self._task}")
        return self._run

    def became_ready(self) -> None:
        """Note that a message may run."""
        self._awaited -= 1
        if not self._awaited:
            self._assembled.set()

    def became_less(self, part: Part) -> None:
        """Note that a message has left; without messages there is no run."""
        if self._over:
            return
        if self._run is None:
            del self.parts[part]
            if not self.parts:
                self._on_empty(self)
            return
        self._present -= 1
        if not part.ready:
            self.became_ready()
        if not self._present:
            self._run.cancel()

    async def stopped(self) -> None:
        """Wait until the run has ended, if all of its messages are cancelled at the same time."""
        await asyncio.sleep(0)
        if self._run is not None and not self._present and not self._over:
            await asyncio.wait({self._run})

    async def _perform(self) -> None:
        try:
            if self._slot is not None:
                await self._slot.take()
            self.begun.set()
            await self._assembled.wait()
            ready = [part for part in self.parts if not part.left]
            if ready:
                self._share(ready, await self._called(ready))
        finally:
            self._over = True
            self.begun.set()
            for part in self.parts:
                part.end(error=asyncio.CancelledError("the batch has not run"))
            if self._slot is not None:
                self._slot.give_back()

    async def _called(self, ready: Sequence[Part]) -> Any:
        """Call the function; an exception that fails all or some messages is returned."""
        try:
            return await self._call(ready)
        except BaseException as error:
            if comes_from_outside(error, asyncio.current_task()):
                raise
            return _Raised(error)

    def _share(self, ready: Sequence[Part], value: Any) -> None:
        """End each message with its own result or exception."""
        error: BaseException | None = None
        if isinstance(value, _Raised):
            error, value = value.error, None
        errors: dict[int, BaseException] = {}
        if isinstance(error, BatchFailed):
            errors, value, error = error.errors, error.results, None
        if error is None:
            error = self._mistake(len(ready), errors, value)
        for index, part in enumerate(ready):
            own = error or errors.get(index)
            part.end(value if value is None or own is not None else value[index], own)

    def _mistake(
        self, count: int, errors: dict[int, BaseException], value: Any
    ) -> BaseException | None:
        """Return why the results do not fit the items; None if they do."""
        beyond = [index for index in errors if not 0 <= index < count]
        if beyond:
            why = f"BatchFailed names item {beyond[0]}, and the batch has {count} items, from 0"
        elif value is not None and not isinstance(value, list | tuple):
            why = f"it returned {type(value).__name__}, and not None or a list of {count} results"
        elif value is not None and len(value) != count:
            why = f"it returned {len(value)} results for {count} items"
        else:
            return None
        error = UnwritableResultError(self._task)
        error.__cause__ = ResultError(
            f"{why}: a batch task returns None, or a list with one result for each item in the order of"
            " the items"
        )
        return error


class _Raised:
    """An exception that a batch's function raised."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error
