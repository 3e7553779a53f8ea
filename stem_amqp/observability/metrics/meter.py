"""Metrics through OpenTelemetry's meter (extra ``otel``)."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from stem_amqp.errors import ConfigurationError
from stem_amqp.observability.metrics.exporter import MetricsExporter
from stem_amqp.observability.metrics.model import Instrument
from stem_amqp.observability.metrics.tally import Batch, Count, Tally

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

ATTRIBUTES: Mapping[str, str] = {
    "task": "stem.task",
    "queue": "messaging.destination.name",
    "exception": "error.type",
    "reason": "stem.reason",
    "role": "stem.connection.role",
    "file": "stem.certificate.file",
    "kind": "stem.breaker.kind",
    "name": "stem.breaker.name",
    "schedule": "stem.schedule",
}
"""The attribute of each label; ``messaging.`` and ``error.`` are of the semantic conventions."""
PROVIDER_VARIABLE = "OTEL_PYTHON_METER_PROVIDER"


class MeterExporter(MetricsExporter):
    """Counts with a meter of OpenTelemetry.

    An application with a configured ``MeterProvider`` gets one when it connects, unless
    ``STEM_METRICS=off``.

    Args:
        provider: the meter's provider; None: the global one.

    Raises:
        ConfigurationError: ``opentelemetry-api`` is not installed.
    """

    def __init__(self, provider: MeterProvider | None = None) -> None:
        try:
            from opentelemetry import metrics  # noqa: PLC0415 an extra
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "metrics for OpenTelemetry need opentelemetry-api, which is not installed.\n"
                "  pip install 'stem-amqp[otel]'"
            ) from error
        chosen = metrics.get_meter_provider() if provider is None else provider
        super().__init__(MeterInstruments(chosen.get_meter("stem_amqp", version("stem-amqp"))))


class MeterInstruments:
    """The instruments of the catalogue from one meter.

    Args:
        meter: the meter.
    """

    def __init__(self, meter: Any) -> None:
        self._meter = meter
        self._batch = Batch()
        self._made: dict[str, Any] = {}
        self._tallies: dict[tuple[str, ...], Count] = {}

    def counter(self, instrument: Instrument, labels: tuple[str, ...]) -> Count:
        """Return a counter with labels."""
        key = (instrument.name, *labels)
        if key not in self._tallies:
            add = self._make(instrument, self._meter.create_counter).add
            attributes = _attributes(instrument, labels)
            pass_on = functools.partial(add, attributes=attributes)
            self._tallies[key] = Count(self._batch.add, pass_on)
        return self._tallies[key]

    def histogram(self, instrument: Instrument, labels: tuple[str, ...]) -> _Recorder:
        """Return a histogram with labels."""
        create = functools.partial(
            self._meter.create_histogram,
            explicit_bucket_boundaries_advisory=instrument.buckets,
        )
        record = self._make(instrument, create).record
        return _Recorder(record, _attributes(instrument, labels))

    def gauge(self, instrument: Instrument, labels: tuple[str, ...]) -> _Setter:
        """Return a gauge with labels."""
        gauge = self._make(instrument, self._meter.create_gauge)
        return _Setter(gauge.set, _attributes(instrument, labels))

    def later(self, tally: Tally) -> None:
        """Flush a tally soon, or with the next `flush`; call it in an event loop."""
        self._batch.add(tally)

    def flush(self) -> None:
        """Pass on everything that was counted; any thread may call it."""
        self._batch.flush()

    def _make(self, instrument: Instrument, create: Callable[..., Any]) -> Any:
        made = self._made.get(instrument.name)
        if made is None:
            made = create(instrument.otel, unit=instrument.unit, description=instrument.description)
            self._made[instrument.name] = made
        return made


class _Recorder:
    """A histogram with its attributes."""

    __slots__ = ("_attributes", "_record")

    def __init__(self, record: Callable[..., object], attributes: dict[str, str]) -> None:
        self._record = record
        self._attributes = attributes

    def observe(self, value: float) -> None:
        self._record(value, self._attributes)

    def observe_many(self, values: Sequence[float]) -> None:
        for value in values:
            self._record(value, self._attributes)


class _Setter:
    """A gauge with its attributes."""

    __slots__ = ("_attributes", "_set")

    def __init__(self, set_value: Callable[..., object], attributes: dict[str, str]) -> None:
        self._set = set_value
        self._attributes = attributes

    def set(self, value: float) -> None:
        self._set(value, self._attributes)


def _attributes(instrument: Instrument, labels: tuple[str, ...]) -> dict[str, str]:
    pairs = zip(instrument.labels, labels, strict=True)
    return {**instrument.attributes, **{ATTRIBUTES[name]: value for name, value in pairs}}


def has_provider() -> bool:
    """Return whether a MeterProvider is configured in this process.

    It is looked for only where the process has imported OpenTelemetry, or a variable names a provider.
    """
    if "opentelemetry.metrics" not in sys.modules and PROVIDER_VARIABLE not in os.environ:
        return False
    try:
        from opentelemetry import metrics  # noqa: PLC0415 an extra
    except ModuleNotFoundError:
        return False
    kind = type(metrics.get_meter_provider()).__name__
    return kind not in {"_ProxyMeterProvider", "NoOpMeterProvider"}
