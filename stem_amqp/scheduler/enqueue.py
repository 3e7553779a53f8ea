"""Turn a tick into a call: every copy of it is the same message, of which one runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson

from stem_amqp.blueprint import Blueprint
from stem_amqp.clock import timestamp
from stem_amqp.messages.message import NOT_BEFORE, REPEATED, SCHEDULE
from stem_amqp.scheduler.state import Published
from stem_amqp.schedules import Cron, Every, Schedule
from stem_amqp.tasks.call import Call, Origin


def call_of(blueprint: Blueprint, schedule: Schedule, tick: Published) -> Call[Any]:
    """Return the call of a tick.

    Id, times and marks depend on the tick alone, so workers recognize two copies of it.

    Args:
        blueprint: the application.
        schedule: the schedule.
        tick: the tick.
    """
    definition = blueprint.registry.get(schedule.task)
    options, due = schedule.options, timestamp(tick.due)
    expires = options.expires
    if expires is None and definition is not None:
        expires = definition.options.expires
    if isinstance(expires, int | float):
        # counted from the tick, not from its publish
        expires = datetime.fromtimestamp(tick.due + expires, UTC)
    return Call(
        task=schedule.task,
        args=schedule.args,
        options=replace(
            options,
            task_id=tick.id,
            eta=datetime.fromtimestamp(tick.due, UTC),
            expires=expires,
            headers={
                **options.headers,
                REPEATED: True,
                NOT_BEFORE: due,
                SCHEDULE: _described(schedule),
            },
        ),
        definition=definition,
        # nobody waits for a reply here
        origin=Origin(enqueued_at=due),
    )


def _described(schedule: Schedule) -> str:
    """Return name and timing of a schedule as JSON."""
    timing = schedule.timing
    found: dict[str, Any] = {"name": schedule.name}
    if isinstance(timing, Cron):
        found |= {"cron": timing.text, "tz": timing.tz}
    elif isinstance(timing, Every):
        found["every"] = timing.seconds
    if schedule.jitter:
        found["jitter"] = schedule.jitter
    return orjson.dumps(found).decode()
