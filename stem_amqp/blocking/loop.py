"""An event loop that a forked child can abandon."""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple, Unpack, cast

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class InheritableLoop(asyncio.SelectorEventLoop):
    """An event loop whose copy in a forked child can be abandoned without any effect on the parent.

    It is always the standard library's selector loop, whatever the event loop policy: only there the
    selector is accessible.
    """

    def __init__(self) -> None:
        self._watched = selectors.DefaultSelector()
        self._abandoned = False
        super().__init__(self._watched)

    def abandon(self) -> None:
        """Release the parent's sockets in the child, without sending and without unregistering anything.

        The descriptors are redirected to the null device instead of being closed: socket objects in the
        child still own their numbers, and would close whatever gets the same numbers later.
        """
        self._abandoned = True
        nowhere = os.open(os.devnull, os.O_RDWR)
        try:
            for key in list(self._watched.get_map().values()):
                os.dup2(nowhere, key.fd, inheritable=False)
        finally:
            os.close(nowhere)
        # The epoll instance is shared with the parent: unregistering a socket here would affect the parent
        self._watched.close()

    def is_closed(self) -> bool:
        """Return whether the loop is closed or abandoned."""
        return self._abandoned or super().is_closed()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function in a daemon thread of its own if no executor is given.

        asyncio looks up host names this way. The default executor accepts no work once the main thread has
        ended, while other threads may still enqueue; and the interpreter's exit would wait for a lookup
        that hangs.
        """
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        found: asyncio.Future[T] = self.create_future()

        def set_outcome(result: T | None, error: BaseException | None) -> None:
            if found.done():
                return
            if error is not None:
                found.set_exception(error)
            else:
                found.set_result(cast("T", result))

        def work() -> None:
            result, problem = None, None
            try:
                result = func(*args)
            except BaseException as error:  # noqa: BLE001 - passed on to the waiting caller
                problem = error
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self.call_soon_threadsafe(set_outcome, result, problem)

        threading.Thread(target=work, name="stem-amqp lookup", daemon=True).start()
        return found

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an error, unless the loop is abandoned: then the parent owns what the error is about."""
        if not self._abandoned:
            super().call_exception_handler(context)
