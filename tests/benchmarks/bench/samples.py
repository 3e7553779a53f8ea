"""What was measured: raw samples, and the medians and ratios made of them."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bench.cases.base import Case, Metric


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One measurement, or why there is none.

    Args:
        case: the case's name.
        contender: the contender's name.
        round: which round, from 0.
        size: tasks.
        values: metric key to value.
        blank: why the contender is left out of the case.
        error: what went wrong.
    """

    case: str
    contender: str
    round: int
    size: int
    values: Mapping[str, float] = field(default_factory=dict)
    blank: str | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A contender's answer in one metric.

    Args:
        contender: its name.
        median: of the rounds, or None.
        low: the smallest.
        high: the largest.
        ratio: how many times better the base is; None without both medians.
        missing: why there is no figure.
    """

    contender: str
    median: float | None = None
    low: float | None = None
    high: float | None = None
    ratio: float | None = None
    missing: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One metric of one case, with every contender's answer.

    Args:
        case: the case.
        metric: the metric.
        size: tasks in each measurement.
        cells: in the order of the contenders.
    """

    case: Case
    metric: Metric
    size: int
    cells: tuple[Cell, ...]


def rows(
    samples: Iterable[Sample], cases: Iterable[Case], contenders: Iterable[str], base: str
) -> list[Row]:
    """Make the table.

    Args:
        samples: in any order.
        cases: in the order of the table.
        contenders: in the order of the table.
        base: the contender that the others are compared with.
    """
    kept, names = list(samples), list(contenders)
    table = []
    for case in cases:
        own = [sample for sample in kept if sample.case == case.name]
        for metric in case.metrics if own else ():
            cells = [_cell(own, name, metric) for name in names]
            reference = next((cell.median for cell in cells if cell.contender == base), None)
            compared = tuple(_compared(cell, reference, metric) for cell in cells)
            table.append(Row(case=case, metric=metric, size=own[0].size, cells=compared))
    return table


def _cell(samples: list[Sample], contender: str, metric: Metric) -> Cell:
    own = [sample for sample in samples if sample.contender == contender]
    values = [sample.values[metric.key] for sample in own if metric.key in sample.values]
    if not values:
        reasons = [sample.blank or sample.error for sample in own]
        missing = next((reason for reason in reasons if reason), "not measured")
        return Cell(contender=contender, missing=missing)
    return Cell(
        contender=contender,
        median=statistics.median(values),
        low=min(values),
        high=max(values),
    )


def _compared(cell: Cell, reference: float | None, metric: Metric) -> Cell:
    if not cell.median or not reference or cell.median < 0 or reference < 0:
        return cell
    better = reference / cell.median if metric.more_is_better else cell.median / reference
    return dataclasses.replace(cell, ratio=better)
