"""Metrics for Prometheus, in a registry of ``prometheus_client`` (extra ``prometheus``)."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from stem_amqp.errors import ConfigurationError
from stem_amqp.observability.metrics.catalogue import CATALOGUE
from stem_amqp.observability.metrics.exporter import MetricsExporter
from stem_amqp.observability.metrics.instruments import Gauge
from stem_amqp.observability.metrics.model import Instrument, Kind
from stem_amqp.observability.metrics.tally import (
    Batch,
    Count,
    Tally,
    Values,
    count_buckets,
)

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class PrometheusExporter(MetricsExporter):
    """Counts in a registry of ``prometheus_client``, beside the application's own metrics.

    ::

        stem = Stem(exporters=[PrometheusExporter()])

    ``stem-amqp worker --metrics-port`` adds one by itself. Exporters with the same registry count together.

    Args:
        registry: the registry; None: the default one of ``prometheus_client``.

    Raises:
        ConfigurationError: ``prometheus_client`` is not installed, or the registry has a metric of the
            same name.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        client = load_client()
        self.registry: CollectorRegistry = client.REGISTRY if registry is None else registry
        instruments = _INSTRUMENTS.get(self.registry)
        if instruments is None:
            instruments = _INSTRUMENTS[self.registry] = PrometheusInstruments(self.registry)
        super().__init__(instruments)


def load_client() -> Any:
    """Return the module ``prometheus_client``.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import prometheus_client  # noqa: PLC0415 an extra
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "metrics for Prometheus need prometheus-client, which is not installed.\n"
            "  pip install 'stem-amqp[prometheus]'"
        ) from error
    return prometheus_client


class PrometheusInstruments:
    """The instruments of the catalogue in one registry.

    Args:
        registry: the registry.

    Raises:
        ConfigurationError: the registry has a metric of the same name.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        client = load_client()
        kinds = {
            Kind.COUNTER: client.Counter,
            Kind.GAUGE: client.Gauge,
            Kind.HISTOGRAM: client.Histogram,
        }
        self._batch = Batch()
        self._tallies: dict[tuple[str, ...], Any] = {}
        self._metrics: dict[str, Any] = {}
        for one in CATALOGUE:
            try:
                self._metrics[one.name] = kinds[one.kind](
                    one.name, one.description, one.labels, registry=registry, **_options(one)
                )
            except ValueError as error:
                raise ConfigurationError(
                    f"the registry has a metric {one.name} that is not of stem-amqp: {error}\n"
                    "  Rename it, or pass another registry: PrometheusExporter(registry=…)"
                ) from error

    def counter(self, instrument: Instrument, labels: tuple[str, ...]) -> Count:
        """Return a counter with labels."""
        key = (instrument.name, *labels)
        if key not in self._tallies:
            self._tallies[key] = Count(self._batch.add, self._child(instrument, labels).inc)
        tally: Count = self._tallies[key]
        return tally

    def histogram(self, instrument: Instrument, labels: tuple[str, ...]) -> Values:
        """Return a histogram with labels."""
        key = (instrument.name, *labels)
        if key not in self._tallies:
            pass_on = partial(_observe, self._child(instrument, labels), instrument.buckets)
            self._tallies[key] = Values(self._batch.add, pass_on)
        tally: Values = self._tallies[key]
        return tally

    def gauge(self, instrument: Instrument, labels: tuple[str, ...]) -> Gauge:
        """Return a gauge with labels."""
        gauge: Gauge = self._child(instrument, labels)
        return gauge

    def _child(self, instrument: Instrument, labels: tuple[str, ...]) -> Any:
        metric = self._metrics[instrument.name]
        return metric.labels(*labels) if labels else metric

    def later(self, tally: Tally) -> None:
        """Flush a tally soon, or with the next `flush`; call it in an event loop."""
        self._batch.add(tally)

    def flush(self) -> None:
        """Pass on everything that was counted; any thread may call it."""
        self._batch.flush()


_INSTRUMENTS: weakref.WeakKeyDictionary[CollectorRegistry, PrometheusInstruments] = (
    weakref.WeakKeyDictionary()
)
"""The instruments of each registry: a registry takes a name only once."""


def _options(instrument: Instrument) -> dict[str, Any]:
    if instrument.kind is Kind.HISTOGRAM:
        return {"buckets": instrument.buckets}
    if instrument.kind is Kind.GAUGE:
        return {"multiprocess_mode": "livemax" if instrument.highest else "livesum"}
    return {}


def _observe(child: Any, bounds: Sequence[float], values: Sequence[float]) -> None:
    """Add many values to a histogram at once, for which the library has no function."""
    for index, number in enumerate(count_buckets(bounds, values)):
        if number:
            child._buckets[index].inc(number)  # noqa: SLF001 - hence the ceiling in pyproject.toml
    child._sum.inc(sum(values))  # noqa: SLF001
