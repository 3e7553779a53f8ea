"""The handle of an enqueued group."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

from typing_extensions import override

from stem_amqp.composition.compile import end_id
from stem_amqp.composition.handle import ChainHandle, CompositionProgress
from stem_amqp.composition.step import CallStep, ForkStep
from stem_amqp.results.handle import TaskHandle

R = TypeVar("R")


class GroupHandle(ChainHandle[list[R]], Generic[R]):
    """An enqueued group; its result is the list of its members' results, in their order."""

    @property
    def members(self) -> list[TaskHandle[Any]]:
        """A handle for each member that ends with a link: the handle of that link."""
        fork = self._steps[0]
        assert isinstance(fork, ForkStep)  # noqa: S101 - a group has one step
        return [
            self._task(end_id(f"{self.id}.0.{index}", branch, member=True), branch[-1])
            for index, branch in enumerate(fork.branches)
            if isinstance(branch[-1], CallStep)
        ]

    async def results(self, *, wait: bool = True) -> AsyncIterator[R]:
        """Yield the members' results by their index, read in pages: ``async for one in handle.results():``.

        So the results of a large group need not be in memory at once. A failed member is a `FailedMember`,
        unless the group's policy is ``ignore``.

        Args:
            wait: whether to wait for the end of the group first. False yields the results that there are.

        Raises:
            TaskFailedError: a member failed under ``fail_fast``, and `wait` is set.
            ResultUnavailableError: the group is no longer kept.
        """
        ending = self.ending(0)
        if wait:
            await ending.wait(None)
        async for value in ending.values():
            yield value

    @override
    async def progress(self) -> CompositionProgress:
        """Return how many members have ended."""
        group = await self.ending(0).record()
        if group is None:
            fork = self._steps[0]
            size = len(fork.branches) if isinstance(fork, ForkStep) else 0
            return CompositionProgress(0, 0, size)
        return CompositionProgress(group.done, group.failed, group.size)
