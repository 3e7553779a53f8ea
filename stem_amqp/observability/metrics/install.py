"""Adds the exporters of metrics that the settings ask for."""

from __future__ import annotations

import logging

from stem_amqp.errors import ConfigurationError
from stem_amqp.observability.metrics.meter import MeterExporter, has_provider
from stem_amqp.observability.metrics.prometheus import PrometheusExporter, load_client
from stem_amqp.observability.telemetry import Telemetry
from stem_amqp.settings import Metrics

log = logging.getLogger("stem_amqp.observability")


def install_metrics(setting: Metrics, telemetry: Telemetry) -> None:
    """Add the exporter that a setting asks for, unless there is one of its kind.

    If the package that it needs is not installed, this is logged, and the application goes on without metrics.

    Args:
        setting: the setting.
        telemetry: the application's exporters.

    Raises:
        ConfigurationError: the registry has a metric of the same name.
    """
    if setting is Metrics.PROMETHEUS:
        try:
            load_client()
        except ConfigurationError as error:
            reason = " ".join(str(error).split())
            log.error("STEM_METRICS=%s: no metrics: %s", setting.value, reason)  # noqa: TRY400
            return
        add_prometheus(telemetry)
        return
    there = any(isinstance(one, MeterExporter) for one in telemetry.exporters)
    if setting is Metrics.AUTO and not there and has_provider():
        telemetry.add(MeterExporter())


def add_prometheus(telemetry: Telemetry) -> PrometheusExporter:
    """Add an exporter to the default registry of Prometheus, and return it or the one that is there.

    Args:
        telemetry: the application's exporters.

    Raises:
        ConfigurationError: ``prometheus_client`` is not installed.
    """
    for one in telemetry.exporters:
        if isinstance(one, PrometheusExporter):
            return one
    exporter = PrometheusExporter()
    telemetry.add(exporter)
    return exporter
