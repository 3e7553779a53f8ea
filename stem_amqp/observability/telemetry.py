"""Passes each report of an application to the exporters that override its method."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable

from stem_amqp.errors import ConfigurationError
from stem_amqp.observability.exporter import Exporter
from stem_amqp.observability.guard import guarded, name_of
from stem_amqp.observability.reported import (
    BreakerChange,
    Bulk,
    Delivered,
    End,
    Publishing,
    SchedulerLook,
    TicksReport,
    WorkerView,
)
from stem_amqp.outcome import Dead, Outcome
from stem_amqp.results.base import Progress
from stem_amqp.settings import Tracing
from stem_amqp.states import TaskState
from stem_amqp.transport.base import ConnectionChange

log = logging.getLogger("stem_amqp.observability")


class Telemetry:
    """The exporters of an application, by the method that they override.

    Each attribute is a tuple of functions: ``for report in telemetry.received: report(job)``.

    Attributes:
        exporters: the exporters, in the order in which they were added.
        tracing: the application's setting; None until it connects.
    """

    publishing: tuple[Callable[[Publishing], End | None], ...]
    publishing_many: tuple[Callable[[Bulk], End | None], ...]
    received: tuple[Callable[[Delivered], object], ...]
    rate_limited: tuple[Callable[[Delivered, float], object], ...]
    not_limited: tuple[Callable[[Delivered], object], ...]
    unknown_task: tuple[Callable[[Delivered, float], object], ...]
    started: tuple[Callable[[Delivered], object], ...]
    sent_to_child: tuple[Callable[[Delivered], object], ...]
    run_in_child: tuple[Callable[[Delivered], object], ...]
    progressed: tuple[Callable[[Delivered, Progress], object], ...]
    ended: tuple[Callable[[Delivered, Outcome], object], ...]
    not_run: tuple[Callable[[Delivered, Dead], object], ...]
    followed: tuple[Callable[[Delivered], object], ...]
    settled: tuple[Callable[[Delivered, Outcome, float], object], ...]
    dead_letter_refused: tuple[Callable[[Delivered, Dead, str], object], ...]
    settle_refused: tuple[Callable[[Delivered, str], object], ...]
    reply_given_up: tuple[Callable[[Delivered, TaskState, str], object], ...]
    worker_failed: tuple[Callable[[Delivered, BaseException], object], ...]
    connection_changed: tuple[Callable[[ConnectionChange], object], ...]
    commanded: tuple[Callable[[str, str], object], ...]
    breaker_changed: tuple[Callable[[BreakerChange], object], ...]
    ticked: tuple[Callable[[TicksReport], object], ...]
    scheduler_looked: tuple[Callable[[SchedulerLook], object], ...]
    worker_started: tuple[Callable[[WorkerView], object], ...]
    worker_stopped: tuple[Callable[[WorkerView], object], ...]
    exiting: tuple[Callable[[], object], ...]

    def __init__(self) -> None:
        self.exporters: tuple[Exporter, ...] = ()
        self.tracing: Tracing | None = None
        self._listen()

    def add(self, exporter: Exporter) -> None:
        """Add an exporter; it receives every report from now on.

        Args:
            exporter: the exporter; one that is there already is not added again.

        Raises:
            ConfigurationError: the object is not an exporter.
        """
        given: object = exporter
        if not isinstance(given, Exporter):
            hint = f"{given.__name__}()" if inspect.isclass(given) else "a class of your own"
            raise ConfigurationError(
                f"{given!r:.80} is not an exporter: pass an instance of a class that inherits from"
                f" stem_amqp.observability.Exporter, such as {hint}"
            )
        if exporter not in self.exporters:
            self.exporters += (exporter,)
            self._listen()

    def remove(self, exporter: Exporter) -> None:
        """Remove an exporter; does nothing if it is not there."""
        self.exporters = tuple(one for one in self.exporters if one is not exporter)
        self._listen()

    def _listen(self) -> None:
        for name, parameters in REPORTS.items():
            listening = tuple(
                guarded(getattr(exporter, name), parameters)
                for exporter in self.exporters
                if getattr(type(exporter), name) is not getattr(Exporter, name)
            )
            setattr(self, name, listening)

    def begin(self, publishing: Publishing) -> list[End]:
        """Report a publish, and return the functions to call at its end."""
        return [end for begin in self.publishing if (end := begin(publishing)) is not None]

    def begin_many(self, bulk: Bulk) -> list[End]:
        """Report a bulk publish, and return the functions to call at its end."""
        return [end for begin in self.publishing_many if (end := begin(bulk)) is not None]


REPORTS = {
    name: len(inspect.signature(getattr(Exporter, name)).parameters) - 1  # without `self`
    for name in Telemetry.__annotations__
    if hasattr(Exporter, name)
}
"""The methods of `Exporter`, with the number of their parameters."""


def finish(ends: list[End], error: BaseException | None) -> None:
    """Call the functions that wait for the end of a publish.

    Args:
        ends: the functions.
        error: the exception that the publish raised; None if it was confirmed.
    """
    for end in ends:
        try:
            end(error)
        except Exception:
            log.exception("an exporter failed: %s", name_of(end))
