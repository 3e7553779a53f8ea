"""Health checks of an application: broker, queues, workers and certificates."""

from stem_amqp.health.examination import DEFAULT_TIMEOUT, check_health
from stem_amqp.health.pauses import HeldLine, read_pauses
from stem_amqp.health.queues import QueueLine, QueueReport, queue_report
from stem_amqp.health.report import HealthReport

__all__ = [
    "DEFAULT_TIMEOUT",
    "HealthReport",
    "HeldLine",
    "QueueLine",
    "QueueReport",
    "check_health",
    "queue_report",
    "read_pauses",
]
