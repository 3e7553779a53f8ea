"""What is stored about a batch: its counts, and its members that have ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from typing_extensions import override

from stem_amqp.composition.compile import end_id, ignores
from stem_amqp.composition.step import CallStep, Steps
from stem_amqp.errors import ResultUnavailableError
from stem_amqp.producer.linking.batches import OPENER
from stem_amqp.results.base import GroupRecord, MemberRecord, ResultBackend
from stem_amqp.results.handle import TaskHandle

PAGE = 1000
"""Members that are added, or read, at once."""


class BatchProgress(NamedTuple):
    """How much of a batch has ended; as text ``37,412 of 100,000``.

    Args:
        done: members that have ended.
        failed: those that ended otherwise than succeeded.
        size: all members so far.
        sealed: whether the block that opened it has ended: only members add more.
    """

    done: int
    failed: int
    size: int
    sealed: bool

    @override
    def __str__(self) -> str:
        return f"{self.done:,} of {self.size:,}"


def group_of(batch: str) -> str:
    """Return the id of the group of a batch."""
    return f"{batch}.0"


def handle_of(
    batch: str, index: int, steps: Steps, backend: Callable[[], ResultBackend]
) -> TaskHandle[Any]:
    """Return a handle of the last link of a member.

    Args:
        batch: the id of the batch.
        index: the index of the member.
        steps: its steps.
        backend: returns the backend to use, for each request.
    """
    last = steps[-1]
    if not isinstance(last, CallStep):
        raise TypeError("a member ends with a link")
    definition = last.definition
    return TaskHandle(
        end_id(f"{group_of(batch)}.{index}", steps, member=True),
        backend=backend,
        task=last.task,
        queue=last.options.queue,
        decode=None if definition is None else definition.arguments.returns.read,
        ignore_result=ignores(last),
    )


async def progress_of(backend: ResultBackend, batch: str) -> BatchProgress:
    """Return how much of a batch has ended.

    Raises:
        ResultUnavailableError: there is no such batch (any more).
        BackendUnavailableError: the backend cannot be reached.
    """
    group: GroupRecord | None = await backend.get_group(group_of(batch))
    if group is None:
        raise unknown_batch(batch)
    # Before the counts are read again: the opener must not be missing in them
    opener = await backend.group_members(group_of(batch), limit=1)
    group = await backend.get_group(group_of(batch)) or group
    sealed = bool(opener) and opener[0].index == OPENER
    return BatchProgress(group.done - sealed, group.failed, group.size - 1, sealed)


async def members_of_batch(
    backend: ResultBackend, batch: str, failed: bool | None
) -> AsyncIterator[MemberRecord]:
    """Yield the members that have ended so far, by their index, read in pages.

    Args:
        backend: the backend.
        batch: the id.
        failed: True for those that failed, False for those that succeeded, None for both.
    """
    after = OPENER
    while True:
        page = await backend.group_members(group_of(batch), after=after, limit=PAGE, failed=failed)
        for member in page:
            yield member
        if len(page) < PAGE:
            return
        after = page[-1].index


def unknown_batch(batch: str) -> ResultUnavailableError:
    """Return the error for a batch that does not exist."""
    return ResultUnavailableError(
        f"there is no batch {batch}: it was never opened, or its ttl has passed.\n"
        "  Open it with async with stem.batch(id=…), with a ttl longer than its members take."
    )
