"""The handle of an enqueued composition: its last result, its progress, its tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from typing_extensions import Unpack

from stem_amqp.composition.application import Operates
from stem_amqp.composition.compile import end_id, ignores, step_id
from stem_amqp.composition.ending import GroupEnding
from stem_amqp.composition.step import CallStep, ForkStep, Step, Steps
from stem_amqp.composition.tree import Tree, read_tree
from stem_amqp.directives.issue import Issued
from stem_amqp.directives.revocation import RevokeKeywords
from stem_amqp.durations import Duration, seconds
from stem_amqp.errors import StemError
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.handle import TaskHandle
from stem_amqp.states import TaskState

R = TypeVar("R")


class CompositionProgress(NamedTuple):
    """How much of a composition has ended.

    Args:
        done: steps of a chain, or members of a group, that have ended.
        failed: those that ended otherwise than succeeded.
        size: all of them.
    """

    done: int
    failed: int
    size: int


class ChainHandle(Generic[R]):
    """An enqueued composition; its result is that of its last link.

    Args:
        id: the id of the composition.
        steps: its steps.
        backend: returns the backend to use, for each request.
        operations: revokes and replays the composition.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - it is the attribute's name
        steps: Steps,
        backend: Callable[[], ResultBackend],
        operations: Operates | None = None,
    ) -> None:
        self.id = id
        self._steps = steps
        self._backend = backend
        self._operations = operations

    async def result(self, timeout: Duration | None = None) -> R:
        """Wait for the end of the composition, and return the result of its last link.

        Of a group at the end it is the list of the members' results in their order. After a failed member,
        ``fail_fast`` raises at once; with ``collect`` a `FailedMember` is in its place, and with
        ``ignore`` it is left out.

        Args:
            timeout: seconds or a duration such as ``"30s"``; None waits for ever.

        Raises:
            TaskFailedError: the last link did not succeed, or does not run: its reason is then ``link-failed``,
                and the error names the link that failed.
            ResultTimeoutError: it did not end in time; the composition continues.
            ResultUnavailableError: the last link was enqueued with ``ignore_result``, or the group is no longer
                kept.
            DecodeError: the result does not fit the return type here.
            BackendUnavailableError: the backend cannot be reached.
        """
        last = self._steps[-1]
        if isinstance(last, CallStep):
            handle: TaskHandle[R] = self._task(self.task_id, last)
            return await handle.result(timeout)
        limit = None if timeout is None else seconds(timeout)
        found: Any = await self.ending(len(self._steps) - 1).result(limit)
        return found  # type: ignore[no-any-return] # decoded by the members' annotations

    @property
    def task_id(self) -> str:
        """The id of the last link, or of the group at the end."""
        return end_id(self.id, self._steps)

    @property
    def links(self) -> list[TaskHandle[Any]]:
        """The handles of the chain's own links, in their order; without the members of its groups."""
        return [
            self._task(step_id(self.id, self._steps, at), step)
            for at, step in enumerate(self._steps)
            if isinstance(step, CallStep)
        ]

    async def progress(self) -> CompositionProgress:
        """Return how many steps of the chain have ended; a group is one step.

        Raises:
            BackendUnavailableError: the backend cannot be reached.
        """
        ended = [await self._ended(at, step) for at, step in enumerate(self._steps)]
        done = [one for one in ended if one is not None]
        return CompositionProgress(len(done), done.count(False), len(self._steps))

    async def cancel(self, **options: Unpack[RevokeKeywords]) -> Issued:
        """Revoke all tasks of the composition: those that wait, and those that would be enqueued later.

        Running tasks end as they are, unless ``terminate=True``.

        Args:
            **options: see `stem_amqp.directives.revocation.RevokeKeywords`.

        Returns:
            The directive, where it is stored, and whether a worker runs that was told at once.

        Raises:
            StemError: as for `Stem.revoke`.
        """
        return await self._operate().revoke(self.id, options)

    async def retry_failed(self) -> int:
        """Replay the dead letters of the composition; it goes on when their tasks succeed.

        Returns:
            The number of dead letters that are in their work queues again.

        Raises:
            BrokerError: the broker does not answer, or refuses.
        """
        return await self._operate().replay(self.id)

    async def tree(self) -> Tree:
        """Return what has become of its links and groups; of a large group the failed members and the counts.

        Raises:
            ResultUnavailableError: the backend does not store it, or its time has passed.
        """
        return await read_tree(self._backend(), self.id)

    def _operate(self) -> Operates:
        if self._operations is None:
            raise StemError(
                "this handle can only read: use that of enqueue, or"
                " stem-amqp control revoke --composition and stem-amqp dlq replay --composition"
            )
        return self._operations

    async def _ended(self, at: int, step: Step) -> bool | None:
        """Return whether a step has succeeded; None if it has not ended."""
        own = step_id(self.id, self._steps, at)
        if isinstance(step, ForkStep):
            return await self.ending(at).ended()
        record = await self._backend().get(own)
        if record is None or not record.state.final:
            return None
        return record.state is TaskState.SUCCEEDED

    def ending(self, at: int) -> GroupEnding:
        """Return the end of a group of the chain.

        Args:
            at: the position of the group in the chain.
        """
        step = self._steps[at]
        assert isinstance(step, ForkStep)  # noqa: S101 - the caller has looked
        return GroupEnding(step_id(self.id, self._steps, at), step, self._backend)

    def _task(self, task_id: str, step: CallStep) -> TaskHandle[Any]:
        definition = step.definition
        return TaskHandle(
            task_id,
            backend=self._backend,
            task=step.task,
            queue=step.options.queue,
            decode=None if definition is None else definition.arguments.returns.read,
            ignore_result=ignores(step),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} of {len(self._steps)} steps>"
