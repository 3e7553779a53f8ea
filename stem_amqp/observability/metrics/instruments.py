"""What a library of metrics must provide to a `MetricsExporter`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stem_amqp.observability.metrics.model import Instrument
from stem_amqp.observability.metrics.tally import Tally


class Counter(Protocol):
    """A counter with its labels."""

    def add(self) -> None:
        """Count one."""
        ...

    def add_many(self, number: int) -> None:
        """Count a number that was collected elsewhere."""
        ...


class Histogram(Protocol):
    """A histogram with its labels."""

    def observe(self, value: float) -> None:
        """Count a value."""
        ...

    def observe_many(self, values: Sequence[float]) -> None:
        """Count values that were collected elsewhere."""
        ...


class Gauge(Protocol):
    """A gauge with its labels."""

    def set(self, value: float) -> object:
        """Set the value; any thread may call it."""
        ...


class Instruments(Protocol):
    """Makes the instruments of the catalogue, with values for their labels."""

    def counter(self, instrument: Instrument, labels: tuple[str, ...]) -> Counter:
        """Return a counter with labels; the same labels count together."""
        ...

    def histogram(self, instrument: Instrument, labels: tuple[str, ...]) -> Histogram:
        """Return a histogram with labels; the same labels count together."""
        ...

    def gauge(self, instrument: Instrument, labels: tuple[str, ...]) -> Gauge:
        """Return a gauge with labels."""
        ...

    def later(self, tally: Tally) -> None:
        """Flush a tally soon, or with the next `flush`; call it in an event loop."""
        ...

    def flush(self) -> None:
        """Pass on everything that was counted; any thread may call it."""
        ...
