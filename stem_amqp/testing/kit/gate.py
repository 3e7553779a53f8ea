"""A gate that suspends a worker's tasks, as if its machine had stopped."""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")

_POLL = 0.02
"""Seconds after which a waiting thread can be interrupted."""


class Gate:
    """A gate: while it is shut, no code behind it continues.

    Args:
        on_freeze: called when it shuts; in a plain function's thread if its run shuts it.

    Attributes:
        shuts_after_run: returns for a task's name whether the gate shuts when its run ends.
        on_thaw: called when it opens.
    """

    def __init__(self, on_freeze: Callable[[], None]) -> None:
        self.shuts_after_run: Callable[[str], bool] = _never
        self._on_freeze = on_freeze
        self.on_thaw: list[Callable[[], None]] = []
        self._open = threading.Event()
        self._open.set()
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def shut(self) -> bool:
        """Whether it is shut."""
        return not self._open.is_set()

    def freeze(self) -> None:
        """Shut it; shutting it twice is not an error."""
        if not self.shut:
            self._open.clear()
            self._on_freeze()

    def thaw(self) -> None:
        """Open it and resume everything behind it; call it in the event loop."""
        self.shuts_after_run = _never
        self._open.set()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        for callback in self.on_thaw:
            callback()

    async def passed(self) -> None:
        """Wait until it is open."""
        while self.shut:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    def passed_in_thread(self) -> None:
        """Wait until it is open, in a thread."""
        while not self._open.wait(_POLL):
            pass

    def run_ended(self, task: str) -> None:
        """Shut it if it shuts after a run of this task."""
        if self.shuts_after_run(task):
            self.shuts_after_run = _never
            self.freeze()

    async def drive(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine, which is suspended at its next await while the gate is shut."""
        return await _driven(coroutine, self)


def _never(_task: str) -> bool:
    return False


@types.coroutine
def _driven(coroutine: Coroutine[Any, Any, T], gate: Gate) -> Generator[Any, Any, T]:
    """Drive a coroutine; each of its steps passes the gate."""
    error: BaseException | None = None
    value: Any = None
    while True:
        while gate.shut:
            try:
                yield from gate.passed().__await__()
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as thrown:  # noqa: BLE001 - it is delivered when the gate opens
                error = thrown
        try:
            waiting_for = coroutine.send(value) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            result: T = stop.value
            return result
        error, value = None, None
        try:
            value = yield waiting_for
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as thrown:  # noqa: BLE001 - it is thrown into the coroutine
            error = thrown
