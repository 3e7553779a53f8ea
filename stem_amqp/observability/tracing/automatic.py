"""Adds tracing to an application when it connects, if an OpenTelemetry SDK is configured."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from stem_amqp.errors import ConfigurationError
from stem_amqp.observability.installed import applications
from stem_amqp.observability.telemetry import Telemetry
from stem_amqp.observability.tracing.exporter import TracingExporter
from stem_amqp.settings import Tracing

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

log = logging.getLogger("stem_amqp.observability")

DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
"""OpenTelemetry's variable with the names of entry points to leave out."""
NAME = "stem_amqp"
"""The name of the entry point."""


class _Automatic(TracingExporter):
    """The exporter that stem-amqp adds itself, and removes again."""


class _Switch:
    """What `instrument` and `uninstrument` have set for this process.

    Attributes:
        provider: the provider that `instrument` was given.
        off: whether `uninstrument` was called last.
    """

    def __init__(self) -> None:
        self.provider: TracerProvider | None = None
        self.off = False


_SWITCH = _Switch()


def install_tracing(mode: Tracing, telemetry: Telemetry) -> None:
    """Add or remove tracing, for an application that connects.

    It never fails: what prevents tracing is logged in one line, and tasks go on.

    Args:
        mode: the setting.
        telemetry: the application's exporters.
    """
    telemetry.tracing = mode
    if mode is Tracing.OFF:
        _remove(telemetry, TracingExporter)
    elif mode is Tracing.ON or _wanted():
        _add(telemetry, mode)


def instrument(tracer_provider: TracerProvider | None = None) -> None:
    """Trace all applications of this process, also those that are connected, unless their setting is off.

    Args:
        tracer_provider: makes the tracer; None: the one that is configured in this process.
    """
    _SWITCH.off, _SWITCH.provider = False, tracer_provider
    for telemetry in applications():
        if telemetry.tracing is not None:
            install_tracing(telemetry.tracing, telemetry)


def uninstrument() -> None:
    """Stop tracing that was not added by an application itself, in all applications of this process."""
    _SWITCH.off, _SWITCH.provider = True, None
    for telemetry in applications():
        _remove(telemetry, _Automatic)


def _wanted() -> bool:
    """Return whether tracing is wanted by default; this imports nothing."""
    if _SWITCH.off:
        return False
    disabled = os.environ.get(DISABLED, "").replace(" ", "").split(",")
    if NAME in disabled or "*" in disabled:
        return False
    return _SWITCH.provider is not None or "opentelemetry.trace" in sys.modules


def _add(telemetry: Telemetry, mode: Tracing) -> None:
    if any(isinstance(one, TracingExporter) for one in telemetry.exporters):
        return
    try:
        exporter = _Automatic(_SWITCH.provider)
    except ConfigurationError as error:
        log.warning("STEM_TRACING=%s: %s", mode.value, error)
        return
    if exporter.configured:
        telemetry.add(exporter)
    elif mode is Tracing.ON:
        log.warning(
            "STEM_TRACING=on: no OpenTelemetry SDK is configured in this process, so there are no spans."
            " Configure one before the application connects, or start it with opentelemetry-instrument"
        )


def _remove(telemetry: Telemetry, kind: type[TracingExporter]) -> None:
    for exporter in telemetry.exporters:
        if isinstance(exporter, kind):
            telemetry.remove(exporter)
