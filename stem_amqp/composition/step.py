"""The steps of a composition as they are written: calls, and groups of branches. They are never changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from stem_amqp.errors import ArgumentsError, ConfigurationError
from stem_amqp.messages.links import DEFAULT_TTL, FAIL_FAST
from stem_amqp.tasks.definition import Registry, TaskDefinition
from stem_amqp.tasks.option_values import by_name, json_object
from stem_amqp.tasks.options import DEFAULT_CALL, CallOptions, check_name

REFUSED = (
    ("task_id", "the id of a link follows from the id of its composition; pass id=… to enqueue"),
    ("unique", "a link always runs; enqueue the task alone"),
    ("unique_key", "a link always runs; enqueue the task alone"),
    ("debounce", "a link always runs; enqueue the task alone"),
    ("debounce_key", "a link always runs; enqueue the task alone"),
    ("throttle", "a link always runs; enqueue the task alone"),
    ("throttle_key", "a link always runs; enqueue the task alone"),
)
"""The options that a link cannot have, and why."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CallStep:
    """One call.

    Args:
        task: the task's name.
        definition: the task, if its code is here.
        alone: the arguments by name, if they are all given.
        rest: the arguments by name without the piped one, if the call can take a result.
        piped: the parameter that takes the result of the step before.
        fixed: whether it takes no result.
        keywords: the options as they were given.
        options: the options, checked.
        on_success: calls that are enqueued when it has succeeded.
        on_failure: calls that are enqueued when it has ended otherwise.
        watched: whether graphs that are enqueued later may depend on it.
    """

    task: str
    definition: TaskDefinition | None = None
    alone: Mapping[str, Any] | None = None
    rest: Mapping[str, Any] | None = None
    piped: str | None = None
    fixed: bool = False
    keywords: Mapping[str, Any] = field(default_factory=dict)
    options: CallOptions = DEFAULT_CALL
    on_success: tuple[CallStep, ...] = ()
    on_failure: tuple[CallStep, ...] = ()
    watched: bool = False

    @property
    def takes(self) -> bool:
        """Whether it takes the result of the step before."""
        return self.rest is not None and not self.fixed

    @property
    def needs(self) -> bool:
        """Whether it cannot be the first."""
        return self.alone is None

    def with_options(self, keywords: Mapping[str, Any]) -> CallStep:
        """Return the call with further options.

        Raises:
            ConfigurationError: an option is unknown, not valid, or not one of a link.
        """
        for name, why in REFUSED:
            if keywords.get(name) is not None:
                raise ConfigurationError(f"{self.task}: a link has no option {name}: {why}")
        merged: Any = {**self.keywords, **keywords}
        return replace(self, keywords=merged, options=CallOptions.build(merged))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ForkStep:
    """A group: branches side by side, each a chain of steps.

    Args:
        branches: the members.
        policy: what a failed member means for the next step.
        ttl: seconds for which the group is kept.
        results: how the next step gets the results; None: as a list, if it takes them.
        of: the step has no branches, is the first one of a branch, and waits for other branches of the group
            around it: their indexes.
        on: the ids of tasks for which it waits after these.
    """

    branches: tuple[tuple[Step, ...], ...]
    policy: str = FAIL_FAST
    ttl: float = DEFAULT_TTL
    results: str | None = None
    of: tuple[int, ...] = ()
    on: tuple[str, ...] = ()

    @property
    def needs(self) -> bool:
        """Whether it cannot be the first."""
        return any(branch[0].needs for branch in self.branches)


Step: TypeAlias = CallStep | ForkStep
Steps: TypeAlias = tuple[Step, ...]


def call_step(
    definition: TaskDefinition,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    fixed: bool = False,
) -> CallStep:
    """Check the arguments of a call, complete or without the first one.

    Args:
        definition: the task.
        args: positional arguments.
        kwargs: the same by name.
        fixed: whether the call takes no result, so that it needs all arguments.

    Raises:
        ArgumentsError: they fit neither way.
    """
    arguments = definition.arguments
    alone: Mapping[str, Any] | None = None
    problem: ArgumentsError | None = None
    try:
        alone = arguments.pack(args, kwargs)
    except ArgumentsError as error:
        problem = error
    step = CallStep(task=definition.name, definition=definition, alone=alone, fixed=fixed)
    piped = next(iter(arguments.positional), None)
    if fixed or piped is None:
        if alone is None:
            raise ArgumentsError(f"{definition.name}: {problem}")
        return step
    try:
        return replace(step, rest=arguments.rest.pack(args, kwargs), piped=piped)
    except ArgumentsError as error:
        if alone is None:
            raise ArgumentsError(
                f"{definition.name}: {problem}\n  As a link that gets the result before it as {piped!r}:"
                f" {error}"
            ) from error
    return step


def named_step(
    registry: Registry, task: str, args: Mapping[str, Any] | None, takes: str | None
) -> CallStep:
    """Return a call of a task by its name.

    Args:
        registry: the tasks whose code is here.
        task: the task's name.
        args: its arguments by name, JSON values.
        takes: the argument that takes the result of the step before; None: it takes none.

    Raises:
        ConfigurationError: the name or the arguments cannot be used.
        ArgumentsError: the task is known here, and the arguments do not fit it.
    """
    definition = registry.get(check_name("task", task))
    packed = by_name(args)
    if takes is not None and takes in packed:
        raise ConfigurationError(
            f"{task}: {takes!r} takes the result of the link before, so it cannot be given too"
        )
    if definition is None:
        packed = json_object("args", packed)
    elif takes is None:
        packed = definition.arguments.pack_named(packed)
    elif takes != next(iter(definition.arguments.positional), None):
        raise ConfigurationError(
            f"{task}{definition.arguments}: the first argument takes the result of the link before, and"
            f" not {takes!r}"
        )
    else:
        packed = definition.arguments.rest.pack_named(packed)
    if takes is None:
        return CallStep(task=task, definition=definition, alone=packed, fixed=True)
    return CallStep(task=task, definition=definition, rest=packed, piped=takes)


def depth_of(steps: Sequence[Step]) -> int:
    """Return how deep steps are nested: 1 for calls without links of their own.

    Raises:
        ConfigurationError: a step contains itself.
    """
    return _depth(steps, set())


def _depth(steps: Sequence[Step], inside: set[int]) -> int:
    deepest = 0
    for step in steps:
        if id(step) in inside:
            raise ConfigurationError(
                "a composition contains itself, so it would never end.\n"
                "  Build each part from parts that are built before it; to repeat work, enqueue again at"
                " its end."
            )
        inside.add(id(step))
        nested = (
            [*step.on_success, *step.on_failure]
            if isinstance(step, CallStep)
            else [one for branch in step.branches for one in branch]
        )
        deepest = max(deepest, 1 + _depth(nested, inside) if nested else 1)
        inside.discard(id(step))
    return deepest
