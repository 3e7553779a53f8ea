"""Metrics of producers and workers: one catalogue of instruments, for Prometheus and OpenTelemetry."""

from stem_amqp.observability.metrics.catalogue import CATALOGUE
from stem_amqp.observability.metrics.exporter import MetricsExporter
from stem_amqp.observability.metrics.install import add_prometheus, install_metrics
from stem_amqp.observability.metrics.meter import MeterExporter
from stem_amqp.observability.metrics.model import OTHER, Instrument, Kind
from stem_amqp.observability.metrics.page import page_of, page_of_folder
from stem_amqp.observability.metrics.prometheus import PrometheusExporter
from stem_amqp.observability.metrics.shared import (
    FOLDER_VARIABLE,
    forget_children,
    forget_gauges,
    share_metrics,
)

__all__ = [
    "CATALOGUE",
    "FOLDER_VARIABLE",
    "OTHER",
    "Instrument",
    "Kind",
    "MeterExporter",
    "MetricsExporter",
    "PrometheusExporter",
    "add_prometheus",
    "forget_children",
    "forget_gauges",
    "install_metrics",
    "page_of",
    "page_of_folder",
    "share_metrics",
]
