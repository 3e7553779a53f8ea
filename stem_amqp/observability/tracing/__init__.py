"""Spans of enqueues and runs, for OpenTelemetry; needs the extra ``otel``.

OpenTelemetry is imported when a `TracingExporter` is made, and not before.
"""

from stem_amqp.observability.tracing.automatic import install_tracing, instrument, uninstrument
from stem_amqp.observability.tracing.exporter import TracingExporter

__all__ = ["TracingExporter", "install_tracing", "instrument", "uninstrument"]
