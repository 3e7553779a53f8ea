"""What a scheduler reports to exporters, such as metrics; it costs nothing where none listens."""

from __future__ import annotations

from collections.abc import Iterable

from stem_amqp.observability import SchedulerLook, Telemetry, TicksReport
from stem_amqp.scheduler.decide import Decision
from stem_amqp.scheduler.followed import Followed


def report_ticks(
    telemetry: Telemetry, own: Followed, decision: Decision, done: int, now: float
) -> None:
    """Report the ticks of a schedule in one look, if there were any.

    Args:
        telemetry: the application's exporters.
        own: the schedule.
        decision: what had to be done.
        done: the number of ticks that were published.
        now: when they were published, seconds since the epoch.
    """
    if not telemetry.ticked or not (decision.publish or decision.missed):
        return
    report = TicksReport(
        schedule=own.schedule.name,
        stored=own.record.definition is not None,
        lateness=tuple(max(0.0, now - tick.due) for tick in decision.publish[:done]),
        missed=decision.missed,
        failed=done < len(decision.publish),
    )
    for listen in telemetry.ticked:
        listen(report)


def report_unreadable(telemetry: Telemetry, name: str) -> None:
    """Report a stored schedule that cannot be published.

    Args:
        telemetry: the application's exporters.
        name: its name.
    """
    for listen in telemetry.ticked:
        listen(TicksReport(schedule=name, stored=True, failed=True))


class LookReports:
    """Reports the looks of one scheduler.

    Args:
        telemetry: the application's exporters.
        name: the scheduler's host and process id.
    """

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self._telemetry = telemetry
        self._name = name
        self._at = 0.0

    def waits(self, schedules: int) -> None:
        """Report that the scheduler does not lead.

        Args:
            schedules: the number of schedules of code and file.
        """
        self._at = 0.0
        self._report(SchedulerLook(scheduler=self._name, leads=False, schedules=schedules))

    def leads(
        self,
        followed: Iterable[Followed],
        schedules: int,
        *,
        at: float | None = None,
        failed: bool = False,
    ) -> None:
        """Report that the scheduler leads, and its last look.

        Args:
            followed: the schedules of code and file that it follows.
            schedules: their number.
            at: when it looked, seconds since the epoch; None if it has not, or if that failed.
            failed: whether a look failed.
        """
        if not self._telemetry.scheduler_looked:
            return
        self._at = self._at if at is None else at
        ahead = (own.next for own in followed if own.next is not None)
        look = SchedulerLook(
            scheduler=self._name,
            leads=True,
            schedules=schedules,
            at=self._at,
            next_tick=min(ahead, default=0.0),
            failed=failed,
        )
        self._report(look)

    def _report(self, look: SchedulerLook) -> None:
        for listen in self._telemetry.scheduler_looked:
            listen(look)
