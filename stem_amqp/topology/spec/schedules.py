"""Schedules in a topology file: which task is enqueued when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    WithJsonSchema,
    model_validator,
)

from stem_amqp.errors import ConfigurationError
from stem_amqp.schedules import (
    LONGEST_INTERVAL,
    MOST_MISSED,
    SHORTEST_INTERVAL,
    Schedule,
    aware,
    build_schedule,
    check_line,
    check_schedule_name,
    check_zone,
)
from stem_amqp.settings import NAME, NAME_LIMIT
from stem_amqp.tasks.options import CallOptions, check_name
from stem_amqp.topology.spec.base import Spec
from stem_amqp.topology.spec.mistake import did_you_mean, shown, wrong
from stem_amqp.topology.spec.values import Wait, count

_OPTIONS = (
    "queue", "expires", "max_age", "priority", "meta", "headers", "max_retries", "retry", "time_limit",
    "soft_time_limit", "ignore_result", "result_ttl", "unique", "throttle",
)  # fmt: skip
"""The call options of a schedule in a file."""
_TIMINGS = ("every", "cron", "at")
_REMEDY = "See docs/schedules.md."


def _checked(check: Callable[[Any], Any], remedy: str) -> BeforeValidator:
    """Return a check that raises a configuration error as a mistake in the file."""

    def checked(value: object) -> Any:
        try:
            return check(value)
        except ConfigurationError as error:
            problem, _, own = str(error).partition("\n")
            raise wrong(problem, f"{own.strip()}." if own else remedy) from None

    return BeforeValidator(checked)


def _interval(value: float) -> float:
    if not SHORTEST_INTERVAL <= value <= LONGEST_INTERVAL:
        raise wrong(
            f"must be from 100ms to ten years, not {value:g} seconds", "Write for example 5m or 1d."
        )
    return value


def _options(value: object) -> object:
    if not isinstance(value, dict):
        raise wrong(
            f"must be a mapping of call options, not {shown(value)}",
            "Write for example {queue: reports, expires: 1h}.",
        )
    for name in value:
        if name not in _OPTIONS:
            raise wrong(
                f"there is no option {name} of a scheduled call{did_you_mean(name, _OPTIONS)}",
                f"The options are {', '.join(_OPTIONS)}.",
            )
    CallOptions.build(value)  # type: ignore[arg-type] # its keys are those of CallKeywords
    return value


def _moment(name: str) -> Any:
    return Annotated[
        datetime,
        _checked(lambda value: aware(name, value), "Write for example 2027-03-01T09:00:00+01:00."),
        WithJsonSchema({"type": "string", "examples": ["2027-03-01T09:00:00+01:00"]}),
    ]


ScheduleName = Annotated[
    StrictStr,
    _checked(check_schedule_name, "Write for example orders.nightly."),
]
TaskName = Annotated[
    StrictStr,
    _checked(lambda value: check_name("task", value), "Write the name that @stem.task(…) has."),
    Field(json_schema_extra={"pattern": f"^{NAME.pattern}$", "maxLength": NAME_LIMIT}),
]
Line = Annotated[
    StrictStr,
    _checked(check_line, 'Write for example "0 9 * * mon-fri".'),
    Field(json_schema_extra={"examples": ["0 9 * * mon-fri", "*/15 * * * *"]}),
]
Zone = Annotated[StrictStr, _checked(check_zone, "Write for example Europe/Berlin.")]
Interval = Annotated[Wait, AfterValidator(_interval)]
Options = Annotated[
    dict[str, JsonValue],
    _checked(_options, _REMEDY),
    WithJsonSchema(
        {
            "type": "object",
            "properties": {name: {} for name in _OPTIONS},
            "additionalProperties": False,
        }
    ),
]
Policy = Literal["skip", "once", "all"]


class MisfireSpec(Spec):
    """What happens with ticks that passed while no scheduler ran."""

    policy: Policy = Field(
        default="once",
        description="skip: none of them runs; once: the latest one runs; all: each runs.",
    )
    limit: Annotated[
        StrictInt,
        count(1, MOST_MISSED, "Write skip to run none of them."),
        Field(json_schema_extra={"minimum": 1, "maximum": MOST_MISSED}),
    ] = Field(default=100, description="With all: at most so many run, the latest ones.")
    grace: Wait = Field(
        default=60.0,
        description="A tick is missed when it is later than this; a younger one runs in any case.",
    )


def _kind(value: object) -> str:
    # the brackets distinguish these tags from keys of the file, see `explain.place_of`
    return "[name]" if isinstance(value, str) else "[mapping]"


def _policy(value: object) -> object:
    if value not in ("skip", "once", "all"):
        raise wrong(f"must be skip, once or all, not {shown(value)}", "Write one of them.")
    return value


def _misfire_keys(value: object) -> object:
    if not isinstance(value, (dict, MisfireSpec)):
        raise wrong(
            f"must be skip, once, all or a mapping, not {shown(value)}",
            "Write for example once or {policy: all, limit: 10}.",
        )
    return value


class ScheduleSpec(Spec):
    """A task that is enqueued at certain times."""

    task: TaskName = Field(description="The name of the task.")
    every: Interval | None = Field(
        default=None,
        description="An interval of elapsed time, whatever clocks show: 5m, 1h, 1d.",
    )
    anchor: _moment("anchor") | None = Field(  # type: ignore[valid-type] # made above
        default=None,
        description="One of the ticks of every, with an offset from UTC. Default: start, else the full"
        " interval of UTC, such as each full hour.",
    )
    cron: Line | None = Field(
        default=None,
        description="A cron line in quotes: minute, hour, day of the month, month, day of the week; or with"
        " the second in front.",
    )
    tz: Zone | None = Field(
        default=None, description="The time zone of cron, such as Europe/Berlin. Default: UTC."
    )
    at: _moment("at") | None = Field(  # type: ignore[valid-type] # made above
        default=None, description="The one tick, with an offset from UTC."
    )
    args: dict[StrictStr, JsonValue] = Field(
        default={}, description="The task's arguments by name."
    )
    options: Options = Field(
        default={},
        description="Options of each call: {queue: reports, expires: 1h}.",
    )
    jitter: Wait = Field(
        default=0.0,
        description="Each run is later by up to this; the same tick always by the same time.",
    )
    start: _moment("start") | None = Field(  # type: ignore[valid-type] # made above
        default=None, description="No tick is earlier."
    )
    end: _moment("end") | None = Field(  # type: ignore[valid-type] # made above
        default=None, description="No tick is later."
    )
    misfire: Annotated[
        Annotated[Policy, BeforeValidator(_policy), Tag("[name]")]
        | Annotated[MisfireSpec, BeforeValidator(_misfire_keys), Tag("[mapping]")],
        Discriminator(_kind),
    ] = Field(
        default="once",
        description="What happens with ticks that passed while no scheduler ran: skip, once (the latest one"
        " runs), all, or the keys of it.",
    )
    enabled: StrictBool = Field(default=True, description="Whether it ticks.")
    description: StrictStr = Field(default="", description="For people and tools.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        try:
            self.schedule("of-this-section")
        except ConfigurationError as error:
            text = str(error).removeprefix("schedule of-this-section: ")
            problem, _, remedy = text.partition("\n")
            raise wrong(problem, f"{remedy.strip()}." if remedy else _REMEDY) from None
        return self

    def schedule(self, name: str) -> Schedule:
        """Return the schedule that these keys describe.

        Args:
            name: its name.

        Raises:
            ConfigurationError: the keys contradict each other.
        """
        keywords: dict[str, Any] = {
            key: getattr(self, key) for key in self.model_fields_set - {"task"}
        }
        if isinstance(self.misfire, MisfireSpec):
            keywords["misfire"] = self.misfire.model_dump()
        return build_schedule(name, self.task, keywords)
