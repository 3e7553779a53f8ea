"""The integration that is given to ``sentry_sdk.init``."""

from __future__ import annotations

from collections.abc import Callable

from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.logging import ignore_logger
from typing_extensions import override

from stem_amqp.errors import ConfigurationError
from stem_amqp.integrations.sentry.exporter import SentryExporter
from stem_amqp.integrations.sentry.tracing import IDENTIFIER
from stem_amqp.observability import install_exporter
from stem_amqp.worker.report.failure_log import log as failures


class StemIntegration(Integration):
    """Reports tasks of every application of the process to Sentry.

    ``sentry_sdk.init(dsn=…, integrations=[StemIntegration()])``. A task that failed for good is one event;
    retries are breadcrumbs of it; expected ends are none. With ``traces_sample_rate`` or
    ``traces_sampler`` each run is a transaction, in the trace of the code that enqueued the task.

    Args:
        propagate_traces: whether published messages have the headers of the trace, so that tasks
            continue the trace of their producer.
        monitors: whether tasks of schedules check in at a monitor of Sentry's crons, which is created if it does not
            exist: its slug is the schedule's name. A function returns the slug for the name of a schedule, or None
            for no monitor. Sentry bills monitors by their number.
        monitor_margin: minutes after a tick, and after its jitter, within which its run must have started.

    Raises:
        ConfigurationError: the margin is not a whole number from 1 on.
    """

    identifier = IDENTIFIER

    def __init__(
        self,
        *,
        propagate_traces: bool = True,
        monitors: bool | Callable[[str], str | None] = True,
        monitor_margin: int = 5,
    ) -> None:
        given: object = monitor_margin
        if not isinstance(given, int) or given < 1:
            raise ConfigurationError(
                f"monitor_margin is a whole number of minutes from 1 on, not {given!r:.40}"
            )
        self.propagate_traces = propagate_traces
        self.monitors = monitors
        self.monitor_margin = monitor_margin

    @staticmethod
    @override
    def setup_once() -> None:
        """Install the exporter in every application; called by ``sentry_sdk.init``."""
        install_exporter(_exporter)
        # Its lines are about the failures that the exporter sends: each would be a second event
        ignore_logger(failures.name)


_exporter = SentryExporter()
