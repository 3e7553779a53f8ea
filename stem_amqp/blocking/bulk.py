"""Many calls, a window at a time, read in the thread of their caller."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import cast

from stem_amqp.errors import EnqueueManyError
from stem_amqp.producer import Call, Enqueued

Publish = Callable[[list[Call], int], list[Enqueued]]


def enqueue_in_parts(
    calls: Iterable[Call], window: int, publish: Publish
) -> list[tuple[Call, Enqueued]]:
    """Publish many calls, a window at a time.

    The calls are read here and not in the event loop's thread: a generator may ask a database, whose
    connection belongs to the thread of its caller.

    Args:
        calls: what to enqueue.
        window: calls at a time.
        publish: publishes one window, given the position of its first call.

    Returns:
        Each call with what became of it, in their order.

    Raises:
        EnqueueManyError: some were not taken; it says which.
    """
    done: dict[int, tuple[Call, Enqueued]] = {}
    failed: dict[int, Exception] = {}
    taken: dict[int, Enqueued] = {}
    waiting, begin = iter(calls), 0
    while part := list(islice(waiting, window)):
        try:
            taken = dict(enumerate(publish(part, begin)))
        except EnqueueManyError as error:
            taken = cast("dict[int, Enqueued]", error.done)
            failed.update({begin + index: one for index, one in error.failed.items()})
        done.update({begin + index: (part[index], one) for index, one in taken.items()})
        begin += len(part)
        if not taken:
            break
    if failed:
        problem = EnqueueManyError({index: one for index, (_, one) in done.items()}, failed)
        if not taken:
            problem.add_note(f"stem-amqp: calls from position {begin} on were not tried")
        raise problem
    return [done[index] for index in sorted(done)]
