"""A schedule: which task, with which arguments, when; and its ticks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, get_args

from stem_amqp.clock import timestamp
from stem_amqp.durations import format_seconds, shown
from stem_amqp.errors import ConfigurationError
from stem_amqp.schedules.timing import Cron, Every, Timing
from stem_amqp.settings import NAME, NAME_LIMIT
from stem_amqp.tasks.options import DEFAULT_CALL, CallOptions

Policy: TypeAlias = Literal["skip", "once", "all"]
REFUSED_OPTIONS = ("task_id", "eta", "delay", "debounce", "debounce_key")
"""Call options that a schedule cannot have: the tick sets the id and the time of the run."""
MOST_MISSED = 10_000
"""The highest limit of a misfire policy, in ticks."""


@dataclass(frozen=True, slots=True)
class Misfire:
    """What happens with ticks that passed while no scheduler ran.

    Args:
        policy: ``"skip"``: none of them runs; ``"once"``: the latest one runs; ``"all"``: each runs.
        limit: with ``"all"``: at most so many run, the latest ones.
        grace: a tick is missed when it is later than this, in seconds; a younger one runs in any case.

    Raises:
        ConfigurationError: a value is not valid.
    """

    policy: Policy = "once"
    limit: int = 100
    grace: float = 60.0

    def __post_init__(self) -> None:
        if self.policy not in get_args(Policy):
            raise ConfigurationError(
                f"misfire must be 'skip', 'once' or 'all', not {shown(self.policy)}"
            )
        if type(self.limit) is not int or not 1 <= self.limit <= MOST_MISSED:
            raise ConfigurationError(
                f"misfire: the limit must be an integer from 1 to {MOST_MISSED}, not"
                f" {shown(self.limit)}"
            )
        if not 0 <= self.grace <= 366 * 86400.0:
            raise ConfigurationError(
                f"misfire: the grace must be from 0s to 366d, not {shown(self.grace)} seconds"
            )


DEFAULT_MISFIRE = Misfire()


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """One run of a schedule.

    Args:
        schedule: the schedule's name.
        at: the time that the schedule names, in seconds since the epoch.
        due: the time of the run: ``at`` and the jitter.
    """

    schedule: str
    at: float
    due: float

    @property
    def id(self) -> str:
        """The id of the tick and of its task: ``report@2027-03-01T08:00:00.000Z``."""
        return tick_id(self.schedule, self.at)

    @property
    def moment(self) -> datetime:
        """The time that the schedule names, in UTC."""
        return datetime.fromtimestamp(self.at, UTC)


def tick_id(schedule: str, at: float) -> str:
    """Return the id of a tick and of its task.

    Args:
        schedule: the schedule's name.
        at: the time that the schedule names, in seconds since the epoch.
    """
    return f"{schedule}@{timestamp(at)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """A task that is enqueued at certain times.

    Args:
        name: its name, unique in the application.
        task: the task's name.
        timing: `Every`, `Cron` or `At`.
        args: the task's arguments by name, JSON values.
        options: the options of each call.
        jitter: each run is later by up to so many seconds; the same tick always by the same time.
        start: no tick is earlier.
        end: no tick is later.
        misfire: what happens with ticks that passed while no scheduler ran.
        enabled: whether it ticks.
        description: for people.

    Raises:
        ConfigurationError: a value is not valid, or the values contradict each other.
    """

    name: str
    task: str
    timing: Timing
    args: Mapping[str, Any] = field(default_factory=dict)
    options: CallOptions = DEFAULT_CALL
    jitter: float = 0.0
    start: datetime | None = None
    end: datetime | None = None
    misfire: Misfire = DEFAULT_MISFIRE
    enabled: bool = True
    description: str = ""

    def __post_init__(self) -> None:
        check_schedule_name(self.name)
        _check_options(self)
        _check_period(self)
        _check_jitter(self)

    def tick(self, at: float) -> Tick:
        """Return the tick at a time that the timing names, in seconds since the epoch."""
        late = 0.0
        if self.jitter:
            digest = hashlib.sha256(tick_id(self.name, at).encode()).digest()
            late = round(int.from_bytes(digest[:8], "big") / 2**64 * self.jitter, 3)
        return Tick(schedule=self.name, at=at, due=at + late)


def check_schedule_name(name: object) -> str:
    """Return the name of a schedule, checked.

    Raises:
        ConfigurationError: it is not a valid name.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > NAME_LIMIT:
        raise ConfigurationError(
            f"{shown(name)} is not a valid name of a schedule: use dotted words of letters, digits, '_' and"
            f" '-', such as 'orders.nightly', at most {NAME_LIMIT} characters"
        )
    return name


def _check_options(schedule: Schedule) -> None:
    options = schedule.options
    for name in REFUSED_OPTIONS:
        if getattr(options, name) is not None:
            raise ConfigurationError(
                f"schedule {schedule.name}: the option {name} is not possible, since the tick sets the id and"
                " the time of the run; remove it"
            )
    if isinstance(options.expires, datetime):
        raise ConfigurationError(
            f"schedule {schedule.name}: expires must be a duration, counted from each tick, not a time"
        )


def _check_period(schedule: Schedule) -> None:
    start, end = schedule.start, schedule.end
    if start is not None and end is not None and end < start:
        raise ConfigurationError(
            f"schedule {schedule.name}: the end {_text(end)} is before the start {_text(start)}"
        )
    after = _before(start) if start is not None else None
    first = schedule.timing.after(after) if after is not None else None
    if after is not None and (first is None or (end is not None and first > end.timestamp())):
        raise ConfigurationError(
            f"schedule {schedule.name}: {schedule.timing} has no tick from {_text(start)} to"
            f" {_text(end) if end else 'the end of the calendar'}"
        )


def _check_jitter(schedule: Schedule) -> None:
    if not 0 <= schedule.jitter <= 7 * 86400.0:
        raise ConfigurationError(
            f"schedule {schedule.name}: the jitter must be from 0s to 7d, not"
            f" {shown(schedule.jitter)} seconds"
        )
    timing = schedule.timing
    if isinstance(timing, Every) and schedule.jitter > timing.seconds:
        raise ConfigurationError(
            f"schedule {schedule.name}: the jitter of {format_seconds(schedule.jitter)} is longer than the"
            f" interval of {format_seconds(timing.seconds)}, so that runs would change their order"
        )


def _text(moment: datetime | None) -> str:
    return "" if moment is None else timestamp(moment.timestamp())


def _before(moment: datetime) -> float:
    """Return a time just before a moment, in seconds since the epoch: ticks have milliseconds."""
    return moment.timestamp() - 0.0005


def zone_of(schedule: Schedule) -> str:
    """Return the time zone in which people read the schedule's ticks."""
    return schedule.timing.tz if isinstance(schedule.timing, Cron) else "UTC"
