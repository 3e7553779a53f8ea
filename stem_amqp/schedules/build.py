"""A schedule from its options, and its form as JSON."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from stem_amqp.clock import timestamp
from stem_amqp.durations import seconds, shown
from stem_amqp.errors import ConfigurationError
from stem_amqp.schedules.keywords import DefinitionKeywords
from stem_amqp.schedules.schedule import DEFAULT_MISFIRE, Misfire, Schedule
from stem_amqp.schedules.timing import At, Cron, Every, Timing, aware
from stem_amqp.tasks import option_values as option
from stem_amqp.tasks.equal_calls.throttle import Throttle
from stem_amqp.tasks.options import DEFAULT_CALL, CallOptions
from stem_amqp.tasks.unique import Unique

_TIMINGS = ("every", "cron", "at")
_KEYS = tuple(DefinitionKeywords.__annotations__)


def build_schedule(
    name: str, task: str, keywords: Mapping[str, Any], *, call: CallOptions | None = None
) -> Schedule:
    """Make a schedule from its options.

    Args:
        name: its name.
        task: the task's name.
        keywords: see `DefinitionKeywords`; None means not given.
        call: the options of each call; None: those of the keyword ``options``.

    Raises:
        ConfigurationError: an option is unknown, missing or not valid.
    """
    given = {key: value for key, value in keywords.items() if value is not None}
    unknown = next((key for key in keywords if key not in _KEYS), None)
    if unknown is not None:
        close = difflib.get_close_matches(unknown, _KEYS, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise ConfigurationError(
            f"schedule {name}: there is no option {unknown}{meant}\n  The options are {', '.join(_KEYS)}"
        )
    try:
        start, end = (aware(key, given[key]) if key in given else None for key in ("start", "end"))
        return Schedule(
            name=name,
            task=task,
            timing=timing_of(given, start),
            args=option.json_object("args", given.get("args", {})),
            options=CallOptions.build(given.get("options", {})) if call is None else call,
            jitter=seconds(given.get("jitter", 0.0)),
            start=start,
            end=end,
            misfire=misfire_of(given.get("misfire", DEFAULT_MISFIRE)),
            enabled=option.flag("enabled", given.get("enabled", True)),
            description=given.get("description", ""),
        )
    except ConfigurationError as error:
        if str(error).startswith(f"schedule {name}: "):
            raise
        raise type(error)(f"schedule {name}: {error}") from None


def timing_of(given: Mapping[str, Any], start: datetime | None) -> Timing:
    """Return the timing of a schedule from its options.

    Args:
        given: see `TimingKeywords`; only those that are given.
        start: the anchor of an interval that has none.

    Raises:
        ConfigurationError: none or several timings are given, or one is not valid.
    """
    timings = [key for key in _TIMINGS if key in given]
    if len(timings) != 1:
        have = f"it has {' and '.join(timings)}" if timings else "it has none of them"
        raise ConfigurationError(
            f"a schedule has one of every, cron and at; {have}\n"
            '  Write for example every="5m", cron="0 9 * * mon-fri" or at="2027-03-01T09:00:00+01:00"'
        )
    for key, of in (("tz", "cron"), ("anchor", "every")):
        if key in given and of not in given:
            raise ConfigurationError(
                f"{key} belongs to {of}, and this schedule has {timings[0]}; remove it"
            )
    if "cron" in given:
        return Cron(given["cron"], given.get("tz", "UTC"))
    if "at" in given:
        return At(given["at"])
    anchor = aware("anchor", given["anchor"]) if "anchor" in given else start
    return Every(seconds(given["every"]), 0.0 if anchor is None else anchor.timestamp())


def misfire_of(value: object) -> Misfire:
    """Return a misfire policy from its short forms: a policy's name, or a mapping.

    Raises:
        ConfigurationError: it is not such a policy.
    """
    if isinstance(value, Misfire):
        return value
    if isinstance(value, str):
        return Misfire(value)  # type: ignore[arg-type] # the constructor checks it
    if isinstance(value, Mapping) and value.keys() <= {"policy", "limit", "grace"}:
        given = dict(value)
        if "grace" in given:
            given["grace"] = seconds(given["grace"])
        return Misfire(**given)
    raise ConfigurationError(
        f"misfire must be 'skip', 'once', 'all' or a mapping of policy, limit and grace, not {shown(value)}"
    )


def to_document(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule as JSON values, without its name; equal schedules have equal documents.

    `from_document` reads them.
    """
    timing = schedule.timing
    document: dict[str, Any] = {"task": schedule.task}
    if isinstance(timing, Every):
        document |= {"every": timing.seconds, "anchor": timestamp(timing.anchor)}
    elif isinstance(timing, Cron):
        document |= {"cron": timing.text, "tz": timing.tz}
    else:
        document["at"] = timestamp(timing.moment.timestamp())
    document |= {
        key: timestamp(moment.timestamp())
        for key, moment in (("start", schedule.start), ("end", schedule.end))
        if moment is not None
    }
    if schedule.misfire != DEFAULT_MISFIRE:
        document["misfire"] = asdict(schedule.misfire)
    if not schedule.enabled:
        document["enabled"] = False
    others = {
        "args": dict(schedule.args),
        "options": _options_document(schedule.options),
        "jitter": schedule.jitter,
        "description": schedule.description,
    }
    return document | {key: value for key, value in others.items() if value}


def from_document(name: str, document: Any) -> Schedule:
    """Return the schedule that `to_document` has written.

    Args:
        name: its name.
        document: the JSON values.

    Raises:
        ConfigurationError: it is not such a document.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("task"), str):
        raise ConfigurationError(f"schedule {name}: the stored document has no task")
    keywords = {key: value for key, value in document.items() if key != "task"}
    options = dict(keywords.get("options") or {})
    for key, kind in (("unique", Unique), ("throttle", Throttle)):
        if isinstance(options.get(key), Mapping):
            options[key] = kind(**options[key])
    return build_schedule(name, document["task"], keywords | {"options": options})


def _options_document(options: CallOptions) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for one in fields(options):
        value = getattr(options, one.name)
        if value == getattr(DEFAULT_CALL, one.name):
            continue
        if one.name == "retry":
            value = value.short_form()
        elif isinstance(value, (Unique, Throttle)):
            value = {key: part for key, part in asdict(value).items() if part is not None}
        document[one.name] = dict(value) if isinstance(value, Mapping) else value
    return document
