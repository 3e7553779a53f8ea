"""The schedules of an application: those that its code defines, and those of the topology file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from stem_amqp.errors import ArgumentsError, ConfigurationError
from stem_amqp.schedules.schedule import Schedule
from stem_amqp.tasks.definition import Registry


class DefinedSchedules:
    """The schedules that an application's code defines, by name."""

    def __init__(self) -> None:
        self._schedules: dict[str, Schedule] = {}

    def add(self, schedule: Schedule) -> None:
        """Add a schedule.

        Raises:
            ConfigurationError: the name is taken.
        """
        taken = self._schedules.get(schedule.name)
        if taken is not None:
            raise ConfigurationError(_taken(taken, schedule))
        self._schedules[schedule.name] = schedule

    def __iter__(self) -> Iterator[Schedule]:
        return iter(self._schedules.values())

    def __len__(self) -> int:
        return len(self._schedules)


def joined(
    defined: Iterable[Schedule], of_file: Iterable[Schedule], tasks: Registry
) -> Mapping[str, Schedule]:
    """Return all schedules by name, each checked against its task.

    Args:
        defined: those that code defines.
        of_file: those of the topology file.
        tasks: the tasks of the application.

    Raises:
        ConfigurationError: two schedules have one name, a task is unknown, or its arguments do not fit.
    """
    found: dict[str, Schedule] = {}
    for schedule in [*defined, *of_file]:
        if schedule.name in found:
            raise ConfigurationError(_taken(found[schedule.name], schedule))
        found[schedule.name] = fitted(schedule, tasks)
    return MappingProxyType(found)


def fitted(schedule: Schedule, tasks: Registry) -> Schedule:
    """Return a schedule with its arguments as its task sends them.

    A process without any task, which only schedules, takes every task and its arguments as they are.

    Args:
        schedule: the schedule.
        tasks: the tasks of the application.

    Raises:
        ConfigurationError: the application has tasks, but not this one; or the arguments do not fit.
    """
    if not len(tasks):
        return schedule
    task = tasks.get(schedule.task)
    if task is None:
        close = difflib.get_close_matches(schedule.task, [one.name for one in tasks], n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise ConfigurationError(
            f"schedule {schedule.name}: there is no task {schedule.task}{meant}\n"
            "  Import the module that defines it, or correct the name"
        )
    try:
        args = task.arguments.pack_named(schedule.args)
    except ArgumentsError as error:
        raise ArgumentsError(
            f"schedule {schedule.name}: the arguments do not fit {task.name}{task.arguments}: {error}"
        ) from None
    return replace(schedule, args=args)


def _taken(first: Schedule, second: Schedule) -> str:
    return (
        f"two schedules have the name {first.name}: {first.timing} for {first.task}, and"
        f" {second.timing} for {second.task}\n  Give one of them another name, such as"
        f' name="{second.task}.second"'
    )
