"""Metrics of an application's queues for Prometheus, measured once per namespace."""

from stem_amqp.observability.queues.catalogue import METRICS, QueueMetric
from stem_amqp.observability.queues.dead import NOT_READ, DeadReader
from stem_amqp.observability.queues.measure import Measurement, Measurer, QueueNumbers
from stem_amqp.observability.queues.plan import Plan, make_plan
from stem_amqp.observability.queues.server import DEFAULT_INTERVAL, DEFAULT_TIMEOUT, serve_queues

__all__ = [
    "DEFAULT_INTERVAL",
    "DEFAULT_TIMEOUT",
    "METRICS",
    "NOT_READ",
    "DeadReader",
    "Measurement",
    "Measurer",
    "Plan",
    "QueueMetric",
    "QueueNumbers",
    "make_plan",
    "serve_queues",
]
