"""Assertions about the tasks that were enqueued in a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from stem_amqp.errors import ConfigurationError
from stem_amqp.task import Task
from stem_amqp.tasks.definition import Registry
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
        recorded: the enqueued tasks, in order.
    """

    def __init__(self, registry: Registry, recorded: list[EnqueuedTask]) -> None:
        self._registry = registry
        self._recorded = recorded
        self._accounted: set[str] = set()

    def enqueued(self, task: AnyTask | None = None) -> list[EnqueuedTask]:
        """Return the enqueued tasks in order, including those that have run.

        A call that was not enqueued because the task is unique is not included.

        Args:
            task: only calls of this task.
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
        """Fail the test unless a task was enqueued with the given values; others may be anything.

        Each value may be a matcher, such as `unittest.mock.ANY` or ``pytest.approx``. Arguments are
        compared as the task receives them, or as JSON values.

        Args:
            task: the task or its name.
            *positional: its arguments in the order of the function.
            times: the exact number of calls; default: at least one.
            queue: the logical queue.
            meta: keys and values that its metadata contains.
            delay: the time from its enqueue until it is due: seconds or a duration such as ``"1h"``.
            eta: when it is due, an aware datetime.
            priority: its priority.
            args: arguments by name, for those with the name of an option of this method.
            **named: arguments by name.

        Returns:
            The first match.

        Raises:
            AssertionError: there is none; the message shows what was enqueued, and how the closest differs.
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
        """Fail the test if a task was enqueued with the given values; without a task, if any was.

        Args:
            task: the task or its name.
            *positional: its arguments in the order of the function.
            args: arguments by name, for those with the name of an option of this method.
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
        """Fail the test if there are enqueued tasks that no `assert_enqueued` has matched so far.

        Raises:
            AssertionError: there are; the message shows them.
        """
        __tracebackhide__ = True
        more = [one for one in self._recorded if one.id not in self._accounted]
        if more:
            lines = "\n".join(listed(more))
            raise AssertionError(f"expected nothing else\nbut this was enqueued, too:\n{lines}")

    def forget_enqueued(self) -> None:
        """Clear the record of enqueued tasks."""
        self._recorded.clear()
        self._accounted.clear()

    def _matching(self, expected: Expectation) -> list[EnqueuedTask]:
        own = records_of(self._recorded, expected.task)
        return [one for one in own if not expected.differences(one)]


def records_of(records: Sequence[R], task: AnyTask | None) -> list[R]:
    """Return the records of a task, or all records without a task."""
    name = None if task is None else name_of(task)
    return [one for one in records if name is None or one.task == name]
