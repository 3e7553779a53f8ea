"""Schedules: which task is enqueued when. All of it is pure; the scheduler publishes the ticks."""

from stem_amqp.schedules.build import build_schedule, from_document, misfire_of, to_document
from stem_amqp.schedules.cron_line import check_line
from stem_amqp.schedules.define import DefinesSchedules
from stem_amqp.schedules.keywords import DefinitionKeywords
from stem_amqp.schedules.registry import DefinedSchedules, fitted, joined
from stem_amqp.schedules.schedule import (
    MOST_MISSED,
    Misfire,
    Schedule,
    Tick,
    check_schedule_name,
    tick_id,
    zone_of,
)
from stem_amqp.schedules.ticks import latest_ticks, missed_ticks, next_ticks, ticks
from stem_amqp.schedules.timing import (
    LONGEST_INTERVAL,
    SHORTEST_INTERVAL,
    At,
    Cron,
    Every,
    Timing,
    aware,
)
from stem_amqp.schedules.zone import check_zone

__all__ = [
    "LONGEST_INTERVAL",
    "MOST_MISSED",
    "SHORTEST_INTERVAL",
    "At",
    "Cron",
    "DefinedSchedules",
    "DefinesSchedules",
    "DefinitionKeywords",
    "Every",
    "Misfire",
    "Schedule",
    "Tick",
    "Timing",
    "aware",
    "build_schedule",
    "check_line",
    "check_schedule_name",
    "check_zone",
    "fitted",
    "from_document",
    "joined",
    "latest_ticks",
    "misfire_of",
    "missed_ticks",
    "next_ticks",
    "tick_id",
    "ticks",
    "to_document",
    "zone_of",
]
