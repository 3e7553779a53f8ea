"""Wait for the end of a group, and read the results of its members in pages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from stem_amqp.composition.compile import end_id
from stem_amqp.composition.step import CallStep, ForkStep, Step, Steps
from stem_amqp.durations import format_seconds
from stem_amqp.errors import ResultTimeoutError, ResultUnavailableError, TaskFailedError
from stem_amqp.messages.links import COLLECT, FAIL_FAST, IGNORE
from stem_amqp.results.base import GroupRecord, MemberRecord, ResultBackend
from stem_amqp.states import TaskState
from stem_amqp.tasks.failed import FailedMember

PAGE = 1000
"""Members that are read at once."""
SHORTEST, LONGEST = 0.01, 0.5
"""Seconds between two looks at a group."""
QUIET_AFTER, QUIET = 2.0, 2.0
"""Seconds without the end of a member after which the looks become rarer, and seconds between them then. The
testing kit notices within such a time that no worker runs."""


class GroupEnding:
    """The end of a group.

    Args:
        group_id: the group.
        fork: its members.
        backend: returns the backend to use, for each request.
    """

    def __init__(self, group_id: str, fork: ForkStep, backend: Callable[[], ResultBackend]) -> None:
        self._id = group_id
        self._fork = fork
        self._backend = backend

    async def record(self) -> GroupRecord | None:
        """Return the group's counts; None if it has not begun, or is no longer kept."""
        if not self._fork.branches:
            return GroupRecord(group_id=self._id, size=0)
        return await self._backend().get_group(self._id)

    async def ended(self) -> bool | None:
        """Return whether the group has succeeded as its policy says; None if it has not ended."""
        group = await self.record()
        if group is None:
            task = await self._backend().get(self._id)
            return None if task is None or not task.state.final else False
        if group.failed and self._fork.policy == FAIL_FAST:
            return False
        return True if group.complete else None

    async def wait(self, timeout: float | None) -> None:
        """Wait until all members have ended, or the policy lets the group fail.

        Args:
            timeout: seconds; None waits for ever.

        Raises:
            TaskFailedError: a member failed under ``fail_fast``, or a link before the group.
            ResultTimeoutError: it did not end in time.
        """
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        pause, began, done, news = SHORTEST, False, -1, loop.time()
        while True:
            group = await self.record()
            if group is None:
                await self._check_missing(began=began)
            elif group.done != done:
                done, news = group.done, loop.time()
            began = began or group is not None
            if group is not None and group.failed and self._fork.policy == FAIL_FAST:
                raise await self._first_failure(group)
            if group is not None and group.complete:
                return
            longest = QUIET if loop.time() - news >= QUIET_AFTER else LONGEST
            left = longest if end is None else end - loop.time()
            if left <= 0:
                raise self._timed_out(timeout or 0.0, group)
            await self._pause(min(pause, left))
            pause = min(pause * 1.5, longest)

    async def result(self, timeout: float | None) -> list[Any]:
        """Wait for the end, and return the results as the policy says."""
        await self.wait(timeout)
        return [value async for value in self.values()]

    async def values(self) -> AsyncIterator[Any]:
        """Yield the results of the members that have ended, by their index, read in pages.

        A failed member is a `FailedMember`, unless the policy leaves it out.
        """
        after: int | None = -1
        while after is not None:
            values, after = await self.page(after)
            for value in values:
                yield value

    async def page(self, after: int) -> tuple[list[Any], int | None]:
        """Return the next results of `values`, and the index after which those that follow begin.

        Args:
            after: begin with the member after this index.

        Returns:
            The results, and None instead of an index if there are no more so far.
        """
        if not self._fork.branches:
            return [], None
        wanted = False if self._fork.policy == IGNORE else None
        page = await self._backend().group_members(self._id, after=after, limit=PAGE, failed=wanted)
        last = page[-1].index if len(page) == PAGE else None
        return [self._value(member) for member in page], last

    def _value(self, member: MemberRecord) -> Any:
        if member.value is None and member.state is not TaskState.SUCCEEDED:
            return failed_member(member)
        branches = self._fork.branches
        branch: Steps = branches[member.index] if member.index < len(branches) else ()
        return _decoded(branch[-1] if branch else None, member.value or b"null")

    async def _first_failure(self, group: GroupRecord) -> TaskFailedError:
        for member in await self._backend().group_members(self._id, limit=1, failed=True):
            return failure_of(member)
        return TaskFailedError(self._id, TaskState.FAILED.value, error=group.first_error)

    async def _check_missing(self, *, began: bool) -> None:
        """Raise why there is no group, unless it may still begin.

        Args:
            began: whether there was one before.

        Raises:
            TaskFailedError: a link before it failed.
            ResultUnavailableError: it is no longer kept.
        """
        if began:
            raise ResultUnavailableError(
                f"group {self._id} is no longer kept: its ttl has passed.\n"
                "  Give the group a longer one: group(…, ttl='7d')."
            )
        task = await self._backend().get(self._id)
        if task is not None and task.state.final:
            raise TaskFailedError(
                self._id,
                task.state.value,
                reason=task.reason,
                error=task.error,
                traceback=task.traceback,
            )

    async def _pause(self, limit: float) -> None:
        """Wait for the last member's end, which the backend announces, or for a time."""
        last = len(self._fork.branches) - 1
        member = end_id(f"{self._id}.{last}", self._fork.branches[last], member=True)
        began = asyncio.get_running_loop().time()
        try:
            await self._backend().wait(member, limit)
        except ResultTimeoutError:
            return
        left = limit - (asyncio.get_running_loop().time() - began)
        await asyncio.sleep(max(0.0, min(left, limit)))

    def _timed_out(self, limit: float, group: GroupRecord | None) -> ResultTimeoutError:
        state = (
            "it has not begun" if group is None else f"{group.done} of {group.size} members have"
        )
        return ResultTimeoutError(
            f"group {self._id} did not end within {format_seconds(limit)}: {state}.\n"
            "  Its members continue. Are workers running that consume their queues?"
        )


def failed_member(member: MemberRecord) -> FailedMember:
    """Return what is in the place of a failed member's result, as a continuation gets it too."""
    return FailedMember(
        id=member.task_id, index=member.index, state=member.state.value, error=member.error
    )


def failure_of(member: MemberRecord) -> TaskFailedError:
    """Return the failure of a member as an error."""
    return TaskFailedError(member.task_id, member.state.value, error=member.error)


def _decoded(step: Step | None, value: bytes) -> Any:
    """Read the result of a member: of a group inside of the group, a list."""
    if isinstance(step, CallStep) and step.definition is not None:
        return step.definition.arguments.returns.read(value)
    found = json.loads(value)
    if not isinstance(step, ForkStep) or not isinstance(found, list):
        return found
    if step.policy == COLLECT or len(found) != len(step.branches):
        return found
    return [
        _decoded(branch[-1], json.dumps(one).encode())
        for branch, one in zip(step.branches, found, strict=True)
    ]
