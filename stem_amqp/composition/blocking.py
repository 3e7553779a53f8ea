"""Handles of compositions for code without an event loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

from typing_extensions import Unpack

from stem_amqp.blocking.ask import Asks
from stem_amqp.composition.handle import CompositionProgress
from stem_amqp.composition.tree import Tree
from stem_amqp.connected import Connected
from stem_amqp.directives.issue import Issued
from stem_amqp.directives.revocation import RevokeKeywords
from stem_amqp.durations import Duration

R = TypeVar("R")
T = TypeVar("T")


class BlockingChainHandle(Generic[R]):
    """An enqueued composition for code that cannot await; see `ChainHandle`.

    Args:
        producer: the producer whose connections the handle uses.
        make: makes the asynchronous handle for given connections.
        id: the id of the composition.
        revoke: revokes all tasks that match.
        task_id: the id of its last link, or of the group at its end.
    """

    def __init__(
        self,
        producer: Asks,
        make: Callable[[Connected], Any],
        id: str,  # noqa: A002 - it is the attribute's name
        revoke: Callable[..., Issued],
        task_id: str,
    ) -> None:
        self.id = id
        self.task_id = task_id
        self._producer = producer
        self._make = make
        self._revoke = revoke

    def result(self, timeout: Duration | None = None) -> R:
        """Wait for the end, and return the last result; see `ChainHandle.result`.

        Args:
            timeout: seconds or a duration such as ``"30s"``; None waits for ever.

        Raises:
            TaskFailedError: as for `ChainHandle.result`.
            StemError: as for `ChainHandle.result`, or an event loop runs in this thread.
        """
        found: R = self._ask(lambda handle: handle.result(timeout), "await handle.result(…)")
        return found

    def progress(self) -> CompositionProgress:
        """Return how many steps or members have ended; see `ChainHandle.progress`."""
        found: CompositionProgress = self._ask(
            lambda handle: handle.progress(), "await handle.progress()"
        )
        return found

    def cancel(self, **options: Unpack[RevokeKeywords]) -> Issued:
        """Revoke all tasks of the composition; see `ChainHandle.cancel`.

        Args:
            **options: see `stem_amqp.directives.revocation.RevokeKeywords`.
        """
        return self._revoke(composition=self.id, **options)

    def retry_failed(self) -> int:
        """Replay the dead letters of the composition, and return their number; see `ChainHandle.retry_failed`."""
        replayed: int = self._ask(
            lambda handle: handle.retry_failed(), "await handle.retry_failed()"
        )
        return replayed

    def tree(self) -> Tree:
        """Return what has become of its links and groups; see `ChainHandle.tree`."""
        tree: Tree = self._ask(lambda handle: handle.tree(), "await handle.tree()")
        return tree

    def _ask(self, question: Callable[[Any], Coroutine[Any, Any, T]], instead: str) -> T:
        def work(connected: Connected) -> Coroutine[Any, Any, T]:
            return question(self._make(connected))

        return self._producer.ask(work, instead=instead, unclear="the composition continues")


class BlockingGroupHandle(BlockingChainHandle[list[R]], Generic[R]):
    """An enqueued group for code that cannot await; see `GroupHandle`."""

    def results(self, *, wait: bool = True) -> Iterator[R]:
        """Yield the members' results by their index, read in pages; see `GroupHandle.results`.

        Args:
            wait: whether to wait for the end of the group first. False yields the results that there are.

        Raises:
            TaskFailedError: a member failed under ``fail_fast``, and `wait` is set.
            StemError: the group is no longer kept, or an event loop runs in this thread.
        """
        instead = "async for result in handle.results()"
        if wait:
            self._ask(lambda handle: handle.ending(0).wait(None), instead)
        after: int | None = -1
        while after is not None:
            values, after = self._page(after, instead)
            yield from values

    def _page(self, after: int, instead: str) -> tuple[list[R], int | None]:
        found: tuple[list[R], int | None] = self._ask(
            lambda handle: handle.ending(0).page(after), instead
        )
        return found
