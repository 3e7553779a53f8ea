"""The context of a batch: the contexts of the messages for which a batch task's function is called."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar, Token
from typing import overload

from typing_extensions import override

from stem_amqp.context.context import TaskContext

_current: ContextVar[BatchContext] = ContextVar("stem_amqp_batch_context")


class BatchContext(Sequence[TaskContext]):
    """The contexts of the messages of a batch, in the order of the items.

    ``ctx[3].id`` is the id of the task whose item is ``items[3]``, and ``ctx[3].attempt`` its attempt.

    Args:
        contexts: the context of each message.
    """

    def __init__(self, contexts: Sequence[TaskContext]) -> None:
        self._contexts = tuple(contexts)

    @overload
    def __getitem__(self, index: int, /) -> TaskContext: ...
    @overload
    def __getitem__(self, index: slice, /) -> Sequence[TaskContext]: ...
    @override
    def __getitem__(self, index: int | slice, /) -> TaskContext | Sequence[TaskContext]:
        return self._contexts[index]

    @override
    def __len__(self) -> int:
        return len(self._contexts)

    def enter_thread(self) -> None:
        """Record that a thread entered the function. Called by the worker."""
        for context in self._contexts:
            context.enter_thread()

    def leave_thread(self) -> None:
        """Record that the thread left the function. Called by the worker."""
        for context in self._contexts:
            context.leave_thread()

    def __repr__(self) -> str:
        task = self._contexts[0].task if self._contexts else ""
        return f"<BatchContext {task} of {len(self)}>"


def batch_or_none() -> BatchContext | None:
    """Return the context of the batch whose function runs here, or None."""
    return _current.get(None)


class entered_batch:  # noqa: N801 - reads as a statement: with entered_batch(context)
    """Make a batch's context the current one for a block.

    Args:
        context: the context.
    """

    __slots__ = ("_context", "_token")

    def __init__(self, context: BatchContext) -> None:
        self._context = context
        self._token: Token[BatchContext] | None = None

    def __enter__(self) -> BatchContext:
        self._token = _current.set(self._context)
        return self._context

    def __exit__(self, *exc_info: object) -> None:
        if self._token is not None:
            _current.reset(self._token)
