"""An event loop that the child of a fork can leave behind."""

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
    """An event loop whose copy in a forked child can be abandoned without a trace.

    It is the standard library's whatever the policy, since only of that one the selector is known.
    """

    def __init__(self) -> None:
        self._watched = selectors.DefaultSelector()
        self._abandoned = False
        super().__init__(self._watched)

    def abandon(self) -> None:
        """Let go of what the parent uses, in the child: nothing is sent, and nothing unregistered.

        The descriptors lead nowhere afterwards instead of being closed: their numbers still belong to
        socket objects here, which would close what has got the same number by then.
        """
        self._abandoned = True
        nowhere = os.open(os.devnull, os.O_RDWR)
        try:
            for key in list(self._watched.get_map().values()):
                os.dup2(nowhere, key.fd, inheritable=False)
        finally:
            os.close(nowhere)
        # The epoll is shared with the parent: to unregister a socket here would deafen it there
        self._watched.close()

    def is_closed(self) -> bool:
        """Return whether it is of no use any more."""
        return self._abandoned or super().is_closed()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function in a daemon thread of its own where no executor is given.

        Host names are looked up so. The usual threads take no work any more when the main thread has
        ended, while others still enqueue; and the interpreter's exit would wait for a lookup that hangs.
        """
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        found: asyncio.Future[T] = self.create_future()

        def tell(result: T | None, error: BaseException | None) -> None:
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
            except BaseException as error:  # noqa: BLE001 - for whoever waits
                problem = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self.call_soon_threadsafe(tell, result, problem)

        threading.Thread(target=work, name="stem-amqp lookup", daemon=True).start()
        return found

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an error, unless it is about what the parent goes on with."""
        if not self._abandoned:
            super().call_exception_handler(context)
