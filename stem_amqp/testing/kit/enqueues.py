"""What a test asserts of the tasks that were enqueued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from stem_amqp.definition import Registry
from stem_amqp.errors import ConfigurationError
from stem_amqp.task import Task
from stem_amqp.testing.kit.enqueued import EnqueuedTask
from stem_amqp.testing.kit.expectation import Expectation, expect, listed, name_of, why_not
from stem_amqp.testing.kit.outcome import TaskOutcome

AnyTask: TypeAlias = Task[..., Any] | str
"""A task, or its name."""

R = TypeVar("R", EnqueuedTask, TaskOutcome)


class Enqueues:
    """The tasks that were enqueued in a test.

    Args:
        registry: the tasks of the application.
        recorded: what was enqueued, in order.
    """

    def __init__(self, registry: Registry, recorded: list[EnqueuedTask]) -> None:
        self._registry = registry
        self._recorded = recorded
        self._accounted: set[str] = set()

    def enqueued(self, task: AnyTask | None = None) -> list[EnqueuedTask]:
        """Return what was enqueued, in order; of tasks that ran, too.

        A call that was not enqueued because the task is unique is not among them.

        Args:
            task: only those of this task.
        """
        return records_of(self._recorded, task)

    def assert_enqueued(
        self,
        task: AnyTask,
        /,
        *positional: Any,
        times: int | None = None,
        queue: Any = None,
        meta: Any = None,
        delay: Any = None,
        eta: Any = None,
        priority: Any = None,
        args: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> EnqueuedTask:
        """Fail the test unless a task was enqueued, with what is named here; the rest may be anything.

        Each value may be a matcher, such as `unittest.mock.ANY` or ``pytest.approx``. Arguments are
        compared as the task gets them, or as JSON values.

        Args:
            task: the task or its name.
            *positional: its arguments in the function's order.
            times: exactly so often; default: at least once.
            queue: to this logical queue.
            meta: with these keys and values in its metadata.
            delay: due so long after its enqueue: seconds or a duration such as ``"1h"``.
            eta: due at this time, an aware datetime.
            priority: with this priority.
            args: arguments by name, for those that are called like an option here.
            **named: arguments by name.

        Returns:
            The first one that was enqueued so.

        Raises:
            AssertionError: it was not; the message shows what was, and in what the closest differs.
            ConfigurationError: the task has no such argument.
        """
        __tracebackhide__ = True
        if times == 0:
            raise ConfigurationError("times is 1 or more; expect none with assert_not_enqueued")
        expected = expect(
            self._registry, task, positional, {**named, **(args or {})},
            queue=queue, meta=meta, delay=delay, eta=eta, priority=priority,
        )  # fmt: skip
        found = self._matching(expected)
        if len(found) != times if times is not None else not found:
            message = why_not(expected, self._recorded, len(found), times)
            raise AssertionError(message)
        self._accounted.update(one.id for one in found)
        return found[0]

    def assert_not_enqueued(
        self,
        task: AnyTask | None = None,
        /,
        *positional: Any,
        args: Mapping[str, Any] | None = None,
        queue: Any = None,
        meta: Any = None,
        delay: Any = None,
        eta: Any = None,
        priority: Any = None,
        **named: Any,
    ) -> None:
        """Fail the test if a task was enqueued with what is named here; without a task: if any was.

        Args:
            task: the task or its name.
            *positional: its arguments in the function's order.
            args: arguments by name, for those that are called like an option here.
            queue: as for `assert_enqueued`, and so are the rest.
            meta: see there.
            delay: see there.
            eta: see there.
            priority: see there.
            **named: arguments by name.

        Raises:
            AssertionError: it was; the message shows it.
            ConfigurationError: the task has no such argument.
        """
        __tracebackhide__ = True
        if task is None:
            found, what = self._recorded, "nothing"
        else:
            expected = expect(
                self._registry, task, positional, {**named, **(args or {})},
                queue=queue, meta=meta, delay=delay, eta=eta, priority=priority,
            )  # fmt: skip
            found, what = self._matching(expected), f"not: {expected}"
        if found:
            lines = "\n".join(listed(found))
            raise AssertionError(f"expected {what}\nbut this was enqueued:\n{lines}")

    def assert_nothing_else_enqueued(self) -> None:
        """Fail the test if more was enqueued than what `assert_enqueued` has found so far.

        Raises:
            AssertionError: more was; the message shows it.
        """
        __tracebackhide__ = True
        more = [one for one in self._recorded if one.id not in self._accounted]
        if more:
            lines = "\n".join(listed(more))
            raise AssertionError(f"expected nothing else\nbut this was enqueued, too:\n{lines}")

    def forget_enqueued(self) -> None:
        """Forget what was enqueued so far."""
        self._recorded.clear()
        self._accounted.clear()

    def _matching(self, expected: Expectation) -> list[EnqueuedTask]:
        own = records_of(self._recorded, expected.task)
        return [one for one in own if not expected.differences(one)]


def records_of(records: Sequence[R], task: AnyTask | None) -> list[R]:
    """Return the records of a task; of all, if none is given."""
    name = None if task is None else name_of(task)
    return [one for one in records if name is None or one.task == name]
