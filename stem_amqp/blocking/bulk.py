"""Enqueue many calls from blocking code, one window at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeVar

from stem_amqp.errors import EnqueueManyError
from stem_amqp.tasks.call import Call, Enqueued

Publish = Callable[[list[Call], int], list[Enqueued]]
T = TypeVar("T")


def enqueue_in_parts(
    calls: Iterable[Call], window: int, publish: Publish, handle: Callable[[Call, Enqueued], T]
) -> list[T]:
    """Publish many calls, one window at a time.

    The calls are read in the caller's thread and not in that of the event loop: a generator may query
    a database, and database connections belong to the thread that opened them.

    Args:
        calls: the calls.
        window: the number of calls in a window.
        publish: publishes one window, given the position of its first call.
        handle: makes the handle of an enqueued call.

    Returns:
        A handle for each call, in the order of the calls.

    Raises:
        EnqueueManyError: the broker did not accept some calls; the error says which.
    """
    done: dict[int, T] = {}
    failed: dict[int, Exception] = {}
    taken: dict[int, Any] = {}
    waiting, begin = iter(calls), 0
    while part := list(islice(waiting, window)):
        try:
            taken = dict(enumerate(publish(part, begin)))
        except EnqueueManyError as error:
            taken = dict(error.done)
            failed.update({begin + index: one for index, one in error.failed.items()})
        done.update({begin + index: handle(part[index], one) for index, one in taken.items()})
        begin += len(part)
        if not taken:
            break
    if failed:
        problem = EnqueueManyError(done, failed)
        if not taken:
            problem.add_note(f"stem-amqp: calls from position {begin} on were not tried")
        raise problem
    return [done[index] for index in sorted(done)]
