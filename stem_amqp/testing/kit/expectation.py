"""Expectations about enqueued tasks, and their differences from what was enqueued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from stem_amqp.durations import format_seconds, seconds
from stem_amqp.errors import ConfigurationError
from stem_amqp.task import Task
from stem_amqp.tasks.definition import Registry, TaskDefinition
from stem_amqp.testing.kit.enqueued import EnqueuedTask
from stem_amqp.topology.spec.mistake import did_you_mean

TOLERANCE = 0.001
"""Seconds by which two delays may differ: messages contain times in milliseconds."""
_SHOWN = 10
"""Tasks of each kind that a message shows, at most."""
_MISSING = object()


@dataclass(frozen=True, kw_only=True, slots=True)
class Expectation:
    """A task that a test expects. Values that are not given may be anything.

    Args:
        task: the task's name.
        args: argument name to value, or to a matcher such as `unittest.mock.ANY`.
        queue: the logical queue.
        meta: keys and values that the metadata contains.
        delay: a duration, or a matcher of seconds.
        eta: an aware datetime, or a matcher.
        priority: the priority.
    """

    task: str
    args: Mapping[str, Any] = field(default_factory=dict)
    queue: Any = None
    meta: Any = None
    delay: Any = None
    eta: Any = None
    priority: Any = None

    def differences(self, found: EnqueuedTask) -> list[str]:
        """Return the differences of a task, one line each; empty if it matches."""
        lines = []
        for name, value in self.args.items():
            typed, packed = found.args.get(name, _MISSING), found.packed.get(name, _MISSING)
            if not (_equal(value, typed) or _equal(value, packed)):
                lines.append(_line(name, value, typed))
        meta = self.meta if isinstance(self.meta, Mapping) else {}
        for name, value in meta.items():
            if not _equal(value, found.meta.get(name, _MISSING)):
                lines.append(_line(f"meta {name!r}", value, found.meta.get(name, _MISSING)))
        if self.meta is not None and not meta and not _equal(self.meta, found.meta):
            lines.append(_line("meta", self.meta, dict(found.meta)))
        for name in ("queue", "eta", "priority"):
            value = getattr(self, name)
            if value is not None and not _equal(value, getattr(found, name)):
                lines.append(_line(name, value, getattr(found, name)))
        if self.delay is not None and not self._delayed(found):
            lines.append(f"delay: expected {self._shown_delay()}, got {_shown_due(found)}")
        return lines

    def _delayed(self, found: EnqueuedTask) -> bool:
        if not isinstance(self.delay, (int, float, str, timedelta)):
            return _equal(self.delay, found.delay)
        return abs(seconds(self.delay) - found.delay) <= TOLERANCE

    def _shown_delay(self) -> str:
        if isinstance(self.delay, (int, float, str, timedelta)):
            return format_seconds(seconds(self.delay))
        return repr(self.delay)

    def __str__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.args.items())
        parts = [f"{self.task}({values or '…'})"]
        parts += [] if self.queue is None else [f"to queue {self.queue}"]
        parts += [] if self.delay is None else [f"due in {self._shown_delay()}"]
        parts += [] if self.eta is None else [f"due at {self.eta}"]
        parts += [] if self.priority is None else [f"priority {self.priority}"]
        parts += [] if self.meta is None else [f"meta {self.meta!r}"]
        return ", ".join(parts)


def expect(
    registry: Registry,
    task: Task[..., Any] | str,
    positional: Sequence[Any],
    named: Mapping[str, Any],
    **options: Any,
) -> Expectation:
    """Make an expectation from the arguments of an assertion.

    Args:
        registry: the tasks of the application.
        task: the task or its name.
        positional: arguments in the order of the function.
        named: arguments by name.
        **options: further expected values, see `Expectation`.

    Raises:
        ConfigurationError: it could never match: the task has no such argument.
    """
    name = name_of(task)
    definition = registry.get(name)
    args = {**_by_name(name, definition, positional), **named}
    if definition is not None:
        _check_names(name, definition, args)
    return Expectation(task=name, args=args, **options)


def name_of(task: Task[..., Any] | str) -> str:
    """Return a task's name.

    Raises:
        ConfigurationError: it is not a task.
    """
    if isinstance(task, str):
        return task
    if isinstance(task, Task):
        return task.name
    raise ConfigurationError(
        f"{task!r} is not a task.\n  Give the function with @stem.task, or the task's name as text;"
        " expect options as queue=…, delay=…, meta=…."
    )


def why_not(
    expected: Expectation, recorded: Sequence[EnqueuedTask], matching: int, times: int | None
) -> str:
    """Return a message with the expectation, the enqueued tasks and the differences."""
    often = "" if times is None else f" {_count(times)}"
    found = "no such task was enqueued" if not matching else f"it was {_count(matching)}"
    lines = [f"expected{often}: {expected}", f"but {found}."]
    own = [one for one in recorded if one.task == expected.task]
    if own:
        lines.append(f"Enqueued of {expected.task}, the closest first:")
        lines += _with_differences(expected, own)
    others = [one for one in recorded if one.task != expected.task]
    if others:
        lines.append(f"Enqueued {'besides' if own else 'instead'}:")
        lines += listed(others)
    if not recorded:
        lines.append("Nothing at all was enqueued.")
    return "\n".join(lines)


def listed(tasks: Sequence[EnqueuedTask]) -> list[str]:
    """Return a line for each task, up to a limit."""
    more = len(tasks) - _SHOWN
    rest = [f"  … and {more} more"] if more > 0 else []
    return [f"  - {one}" for one in tasks[:_SHOWN]] + rest


def _with_differences(expected: Expectation, own: Sequence[EnqueuedTask]) -> list[str]:
    compared = sorted(((expected.differences(one), one) for one in own), key=lambda p: len(p[0]))
    lines = []
    for differences, one in compared[:_SHOWN]:
        lines.append(f"  - {one}")
        lines += [f"      {line}" for line in differences or ["as expected"]]
    more = len(own) - _SHOWN
    return [*lines, f"  … and {more} more"] if more > 0 else lines


def _by_name(
    task: str, definition: TaskDefinition | None, positional: Sequence[Any]
) -> dict[str, Any]:
    if not positional:
        return {}
    if definition is None:
        raise ConfigurationError(
            f"{task} is not registered here, so its arguments have no order.\n  Name each of them."
        )
    names = definition.arguments.names
    if len(positional) > len(names):
        raise ConfigurationError(
            f"{task}{definition.arguments} takes {len(names)} arguments, not {len(positional)}"
        )
    return dict(zip(names, positional, strict=False))


def _check_names(task: str, definition: TaskDefinition, args: Mapping[str, Any]) -> None:
    arguments = definition.arguments
    unknown = [name for name in args if name not in arguments.names]
    if unknown and not arguments.takes_any:
        raise ConfigurationError(
            f"{task}{arguments} has no argument {unknown[0]!r}"
            f"{did_you_mean(unknown[0], arguments.names)}"
        )


def _equal(expected: Any, found: Any) -> bool:
    # The expected value first: it may be a matcher such as mock.ANY or pytest.approx
    return found is not _MISSING and bool(expected == found)


def _line(name: str, expected: Any, found: Any) -> str:
    got = "it was left out" if found is _MISSING else f"got {found!r}"
    return f"{name}: expected {expected!r}, {got}"


def _shown_due(found: EnqueuedTask) -> str:
    return format_seconds(found.delay) if found.eta is not None else "none"


def _count(times: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(times, f"{times} times")
