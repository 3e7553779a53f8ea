"""Define schedules in code: decorators above a task, and by names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TypeVar

from typing_extensions import Unpack

from stem_amqp.durations import Duration, shown
from stem_amqp.errors import ConfigurationError
from stem_amqp.schedules.build import build_schedule
from stem_amqp.schedules.keywords import DefinitionKeywords, ScheduleKeywords
from stem_amqp.schedules.registry import DefinedSchedules, fitted
from stem_amqp.schedules.schedule import Schedule
from stem_amqp.tasks.call import Call
from stem_amqp.tasks.definition import Registry, TaskDefinition


class _Task(Protocol):
    """A task of an application."""

    definition: TaskDefinition


class _Composed(Protocol):
    """A part of a composition, such as ``task.s(1, 2)``."""

    @property
    def steps(self) -> tuple[Any, ...]:
        """Its steps."""
        ...


class _Blueprint(Protocol):
    """What schedules need of an application."""

    @property
    def registry(self) -> Registry:
        """Its tasks."""
        ...

    @property
    def defined_schedules(self) -> DefinedSchedules:
        """The schedules that its code defines."""
        ...


T = TypeVar("T", bound=_Task)
_NAMELESS = "without-a-name"


class DefinesSchedules:
    """The part of an application that defines schedules."""

    @property
    def blueprint(self) -> _Blueprint:
        """What the application is made of now."""
        raise NotImplementedError

    def every(
        self,
        interval: Duration,
        *,
        name: str | None = None,
        anchor: datetime | str | None = None,
        **options: Unpack[ScheduleKeywords],
    ) -> Callable[[T], T]:
        """Enqueue a task at an interval: ``@stem.every("5m")`` above ``@stem.task(…)``.

        Args:
            interval: seconds or a duration such as ``"5m"``, from 100ms to ten years; it is elapsed time,
                whatever clocks show.
            name: the schedule's name; default: the task's.
            anchor: one of the ticks, an aware datetime or an ISO 8601 text with an offset; default:
                ``start``, else 1970-01-01T00:00Z, so that ``"1h"`` ticks at each full hour of UTC.
            **options: see `stem_amqp.schedules.keywords.ScheduleKeywords`.

        Returns:
            A decorator that returns the task.

        Raises:
            ConfigurationError: an option cannot be used; the decorator raises it too: for a function that
                is no task, or a name that is taken.
            ArgumentsError: the decorator: the arguments do not fit the task.
        """
        return self._decorator(name, {"every": interval, "anchor": anchor, **options})

    def cron(
        self,
        line: str,
        *,
        tz: str = "UTC",
        name: str | None = None,
        **options: Unpack[ScheduleKeywords],
    ) -> Callable[[T], T]:
        """Enqueue a task by a cron line: ``@stem.cron("0 9 * * mon-fri", tz="Europe/Berlin")``.

        Args:
            line: minute, hour, day of the month, month, day of the week; or with the second in front.
            tz: the time zone whose clock the line is about.
            name: the schedule's name; default: the task's.
            **options: see `stem_amqp.schedules.keywords.ScheduleKeywords`.

        Returns:
            A decorator that returns the task.

        Raises:
            ConfigurationError: as for `every`.
            ArgumentsError: as for `every`.
        """
        return self._decorator(name, {"cron": line, "tz": tz, **options})

    def at(
        self,
        moment: datetime | str,
        *,
        name: str | None = None,
        **options: Unpack[ScheduleKeywords],
    ) -> Callable[[T], T]:
        """Enqueue a task once: ``@stem.at("2027-03-01T09:00:00+01:00")``.

        Args:
            moment: an aware datetime, or an ISO 8601 text with an offset.
            name: the schedule's name; default: the task's.
            **options: see `stem_amqp.schedules.keywords.ScheduleKeywords`.

        Returns:
            A decorator that returns the task.

        Raises:
            ConfigurationError: as for `every`.
            ArgumentsError: as for `every`.
        """
        return self._decorator(name, {"at": moment, **options})

    def schedule(
        self,
        name: str,
        task: _Task | Call[Any] | _Composed | str,
        **options: Unpack[DefinitionKeywords],
    ) -> Schedule:
        """Define a schedule: ``stem.schedule("reports.de", report, cron="0 9 * * *", args={"country": "de"})``.

        Args:
            name: its name, unique in the application.
            task: a task; a call with its arguments and options, such as ``report.s("de")`` or
                ``report.prepare("de")``; or the name of a task, which may be defined later.
            **options: its timing and its other options; see
                `stem_amqp.schedules.keywords.DefinitionKeywords`.

        Returns:
            The schedule.

        Raises:
            ConfigurationError: an option cannot be used, or the name is taken.
            ArgumentsError: the arguments do not fit the task.
        """
        steps = getattr(task, "steps", None)
        if isinstance(task, Call):
            made = self._of_call(name, task, dict(options))
        elif isinstance(steps, tuple):
            made = self._of_call(name, _only_call(name, steps), dict(options))
        elif isinstance(task, str):
            made = build_schedule(name, task, options)
        else:
            made = build_schedule(name, self._checked(task, "stem.schedule(…)").name, options)
        blueprint = self.blueprint
        if blueprint.registry.get(made.task) is not None:
            made = fitted(made, blueprint.registry)
        blueprint.defined_schedules.add(made)
        return made

    def _of_call(self, name: str, call: Call[Any], options: dict[str, Any]) -> Schedule:
        twice = [key for key in ("args", "options") if options.get(key) is not None]
        if twice:
            raise ConfigurationError(
                f"schedule {name}: the call has its {twice[0]} already; give them in one place"
            )
        return build_schedule(name, call.task, options | {"args": call.args}, call=call.options)

    def _decorator(self, name: str | None, options: dict[str, Any]) -> Callable[[T], T]:
        # What can be checked without the task is an error in the line of the decorator
        try:
            build_schedule(name or _NAMELESS, "task", options)
        except ConfigurationError as error:
            raise ConfigurationError(str(error).removeprefix(f"schedule {_NAMELESS}: ")) from None

        def define(task: T) -> T:
            definition = self._checked(task, "@stem.every(…), @stem.cron(…) or @stem.at(…)")
            self.schedule(name or definition.name, task, **options)
            return task

        return define

    def _checked(self, task: object, where: str) -> TaskDefinition:
        """Return the definition of a task of this application."""
        definition = getattr(task, "definition", None)
        if not isinstance(definition, TaskDefinition):
            what = getattr(task, "__name__", None) or shown(task)
            raise ConfigurationError(
                f"{what} is not a task: a schedule needs one, and it is made first\n"
                f"  Write {where} above @stem.task(…), not below it"
            )
        if self.blueprint.registry.get(definition.name) is not definition:
            raise ConfigurationError(
                f"the task {definition.name} belongs to another application; define its schedule there, or pass"
                " its name"
            )
        return definition


def _only_call(name: str, steps: tuple[Any, ...]) -> Call[Any]:
    """Return the call of a composition that is one call with all its arguments."""
    step: Any = steps[0] if len(steps) == 1 else None
    if getattr(step, "alone", None) is None or step.on_success or step.on_failure:
        raise ConfigurationError(
            f"schedule {name}: a schedule enqueues one call with all its arguments, not a composition\n"
            "  Write a task that enqueues the chain or group, and schedule that task"
        )
    return Call(task=step.task, args=step.alone, options=step.options, definition=step.definition)
