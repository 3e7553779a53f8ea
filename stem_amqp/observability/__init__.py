"""What an application reports about its tasks, and the exporters that receive it.

Producers and workers report to one `Telemetry`; an `Exporter` gets the reports that it overrides.
Where no exporter listens, a report costs a look at an empty tuple.
"""

from stem_amqp.observability.exporter import Exporter
from stem_amqp.observability.installed import (
    application_telemetry,
    install_exporter,
    uninstall_exporter,
)
from stem_amqp.observability.reported import (
    Bulk,
    Delivered,
    End,
    Publishing,
    SchedulerLook,
    TicksReport,
    WorkerView,
)
from stem_amqp.observability.telemetry import Telemetry, finish

__all__ = [
    "Bulk",
    "Delivered",
    "End",
    "Exporter",
    "Publishing",
    "SchedulerLook",
    "Telemetry",
    "TicksReport",
    "WorkerView",
    "application_telemetry",
    "finish",
    "install_exporter",
    "uninstall_exporter",
]
