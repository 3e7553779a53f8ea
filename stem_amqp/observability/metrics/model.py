"""An instrument as data, which the libraries of metrics read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

OTHER = "other"
"""The label of a name that the application does not know."""


class Kind(StrEnum):
    """The kind of an instrument."""

    COUNTER = "counter"
    """A number that only grows."""
    GAUGE = "gauge"
    """A number as it is now."""
    HISTOGRAM = "histogram"
    """Counts of values by size, and their sum."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Instrument:
    """One instrument.

    Args:
        name: its name for Prometheus; a counter ends in ``_total``.
        kind: its kind.
        labels: the names of its labels.
        unit: its unit in UCUM.
        otel: its name for OpenTelemetry.
        description: one sentence.
        buckets: the upper bounds of a histogram.
        highest: whether the highest of several processes is shown, and not their sum.
        attributes: attributes for OpenTelemetry that never change.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    unit: str
    otel: str
    description: str
    buckets: tuple[float, ...] = ()
    highest: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)


TASK = ("task", "queue")
"""The labels of most counters."""


def counter(
    name: str, description: str, *labels: str, unit: str = "{task}", otel: str = ""
) -> Instrument:
    """Return a counter ``stem_<name>_total``.

    Args:
        name: its name without prefix and suffix.
        description: one sentence.
        *labels: its labels; task and queue if there are none.
        unit: its unit in UCUM.
        otel: its name for OpenTelemetry without the prefix; default: the name.
    """
    return Instrument(
        name=f"stem_{name}_total",
        kind=Kind.COUNTER,
        labels=labels or TASK,
        unit=unit,
        otel=f"stem.{otel or name}",
        description=description,
    )


def gauge(
    name: str, otel: str, unit: str, description: str, *labels: str, highest: bool = False
) -> Instrument:
    """Return a gauge ``stem_<name>``.

    Args:
        name: its name without prefix.
        otel: its name for OpenTelemetry.
        unit: its unit in UCUM.
        description: one sentence.
        *labels: its labels.
        highest: as in `Instrument`.
    """
    return Instrument(
        name=f"stem_{name}",
        kind=Kind.GAUGE,
        labels=labels,
        unit=unit,
        otel=otel,
        description=description,
        highest=highest,
    )
