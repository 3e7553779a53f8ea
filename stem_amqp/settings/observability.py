"""The settings of what a process reports about itself."""

from __future__ import annotations

from pydantic import BaseModel, Field

from stem_amqp.settings.choices import Metrics, Tracing


class ObservabilitySettings(BaseModel):
    """The settings of metrics, probes and traces; `Settings` has them."""

    metrics: Metrics = Field(
        default=Metrics.AUTO,
        description="Metrics: auto (OpenTelemetry, if a MeterProvider is configured), prometheus"
        " (prometheus_client's registry, also in producers) or off. A metrics port works with each.",
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="TCP port on which a worker serves its metrics to Prometheus; 0: none.",
    )
    health_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="TCP port on which a worker answers probes (/livez, /readyz, /startupz); 0: none."
        " It may be the metrics port.",
    )
    tracing: Tracing = Field(
        default=Tracing.AUTO,
        description="OpenTelemetry spans: auto (if an SDK is configured), on (a log line says what"
        " prevents it) or off.",
    )
    http_address: str = Field(
        default="0.0.0.0",  # noqa: S104 - probes and scrapes come from other hosts
        description="Address of a worker's metrics and health ports; 0.0.0.0: all IPv4 interfaces,"
        " '::': IPv6 too.",
    )
