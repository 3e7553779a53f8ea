"""Calls of the testing kit that had no effect, because they were neither entered nor awaited."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ContextDecorator
from types import TracebackType
from typing import Any, TypeVar
from warnings import warn

from stem_amqp.errors import StemError

T = TypeVar("T")


class Block(ContextDecorator, AbstractContextManager[T]):
    """A block that warns if it is never entered, since such a test would pass without testing.

    Args:
        make: creates the context manager.
        call: the call, for the warning.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[T]], call: str) -> None:
        self._make = make
        self._call = call
        self._entered = False
        self._stack: list[AbstractContextManager[T]] = []

    def __enter__(self) -> T:
        self._entered = True
        self._stack.append(self._make())
        return self._stack[-1].__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._stack.pop().__exit__(kind, error, traceback)

    def __del__(self) -> None:
        if not getattr(self, "_entered", True):
            warn(
                f"{self._call} was called and never entered, so it did nothing: write"
                f" `with {self._call}:`",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )


class AsyncBlock(AbstractAsyncContextManager[T]):
    """A block that fails its test if it is never entered; see `Unused`.

    Args:
        manager: the context manager.
    """

    def __init__(self, manager: AbstractAsyncContextManager[T]) -> None:
        self._manager = manager
        self.entered = False

    async def __aenter__(self) -> T:
        self.entered = True
        return await self._manager.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._manager.__aexit__(kind, error, traceback)


class Unused:
    """Records the calls that a test must enter or await, and fails the test if it did not."""

    def __init__(self) -> None:
        self._blocks: list[tuple[AsyncBlock[Any], str]] = []
        self._coroutines: list[tuple[Coroutine[Any, Any, Any], str]] = []

    def block(self, manager: AbstractAsyncContextManager[T], instead: str) -> AsyncBlock[T]:
        """Return a block that must be entered.

        Args:
            manager: its context manager.
            instead: what to write.
        """
        block = AsyncBlock(manager)
        self._blocks.append((block, instead))
        return block

    def coroutine(self, coroutine: Coroutine[Any, Any, T], instead: str) -> Coroutine[Any, Any, T]:
        """Return a coroutine that must be awaited.

        Args:
            coroutine: the coroutine.
            instead: what to write.
        """
        self._coroutines.append((coroutine, instead))
        return coroutine

    def check(self) -> None:
        """Fail a test at its end if it left calls without effect.

        Raises:
            StemError: a call was neither entered nor awaited.
        """
        forgotten = [instead for block, instead in self._blocks if not block.entered]
        for coroutine, instead in self._coroutines:
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                coroutine.close()
                forgotten.append(instead)
        self._blocks.clear()
        self._coroutines.clear()
        if forgotten:
            raise StemError(
                "the test makes calls that do nothing until they are entered or awaited:\n  "
                + "\n  ".join(f"write `{instead}`" for instead in forgotten)
            )
