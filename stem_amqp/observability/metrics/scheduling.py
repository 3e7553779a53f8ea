"""The instruments of schedulers, and what they count."""

from __future__ import annotations

from stem_amqp.observability.metrics.instruments import Instruments
from stem_amqp.observability.metrics.model import OTHER, Instrument, Kind, counter, gauge
from stem_amqp.observability.reported import SchedulerLook, TicksReport

NAMES = 500
"""The most schedules of a process that have a label of their own. The others, and all that are made at run time, of
which there may be any number, are `OTHER`."""
LATENESS_BUCKETS = (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600)
"""Upper bounds in seconds of the time that a tick is published late."""

TICKS = counter(
    "schedule_ticks",
    "Ticks that schedulers published.",
    "schedule",
    unit="{tick}",
    otel="schedule.ticks",
)
MISSED = counter(
    "schedule_missed_ticks",
    "Ticks that passed while no scheduler published, and that do not run, by the misfire policy.",
    "schedule",
    unit="{tick}",
    otel="schedule.missed",
)
PUBLISH_FAILURES = counter(
    "schedule_publish_failures",
    "Attempts to publish ticks of a schedule that failed, and are repeated.",
    "schedule",
    unit="{attempt}",
    otel="schedule.publish.failures",
)
LATENESS = Instrument(
    name="stem_schedule_lateness_seconds",
    kind=Kind.HISTOGRAM,
    labels=(),
    unit="s",
    otel="stem.schedule.lateness",
    description="Time from when a tick was due until it was published; 0 if it was published ahead.",
    buckets=LATENESS_BUCKETS,
)
FAILURES = Instrument(
    name="stem_scheduler_failures_total",
    kind=Kind.COUNTER,
    labels=(),
    unit="{look}",
    otel="stem.scheduler.failures",
    description="Looks at the schedules that failed, mostly because the broker or the store does not answer.",
)
LEADS = gauge(
    "scheduler_leads",
    "stem.scheduler.leads",
    "1",
    "1 if the scheduler of this process leads, otherwise 0.",
)
SCHEDULES = gauge(
    "scheduler_schedules",
    "stem.scheduler.schedules",
    "{schedule}",
    "Schedules of code and topology file that the scheduler knows.",
    highest=True,
)
NEXT_TICK = gauge(
    "scheduler_next_tick_timestamp_seconds",
    "stem.scheduler.next_tick",
    "s",
    "The earliest tick of code and topology file that is not published, in seconds since the epoch; 0 without one,"
    " and where the scheduler does not lead.",
    highest=True,
)
LAST_LOOK = gauge(
    "scheduler_last_look_timestamp_seconds",
    "stem.scheduler.last_look",
    "s",
    "When the leader last published everything that was due, in seconds since the epoch; 0 where it does not lead.",
    highest=True,
)

INSTRUMENTS = (
    TICKS,
    MISSED,
    PUBLISH_FAILURES,
    LATENESS,
    FAILURES,
    LEADS,
    SCHEDULES,
    NEXT_TICK,
    LAST_LOOK,
)


class ScheduleSeries:
    """Counts what schedulers report.

    Args:
        instruments: the instruments of the library.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._names: set[str] = set()

    def ticks(self, report: TicksReport) -> None:
        """Count the ticks of a schedule."""
        labels = (self._label(report),)
        counts = (
            (TICKS, len(report.lateness)),
            (MISSED, report.missed),
            (PUBLISH_FAILURES, int(report.failed)),
        )
        for instrument, number in counts:
            if number:
                self._instruments.counter(instrument, labels).add_many(number)
        if report.lateness:
            self._instruments.histogram(LATENESS, ()).observe_many(report.lateness)

    def look(self, look: SchedulerLook) -> None:
        """Set the gauges of a scheduler."""
        values = (
            (LEADS, int(look.leads)),
            (SCHEDULES, look.schedules),
            (NEXT_TICK, look.next_tick),
            (LAST_LOOK, look.at),
        )
        for instrument, number in values:
            self._instruments.gauge(instrument, ()).set(number)
        if look.failed:
            self._instruments.counter(FAILURES, ()).add()

    def _label(self, report: TicksReport) -> str:
        name = report.schedule
        if report.stored or (name not in self._names and len(self._names) >= NAMES):
            return OTHER
        self._names.add(name)
        return name
