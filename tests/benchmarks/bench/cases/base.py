"""What a case is: its sizes, what it measures, and how."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.bench import Bench

Measure = Callable[[Bench], Coroutine[Any, Any, Mapping[str, float]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A figure that a case gives.

    Args:
        key: its name in the results.
        title: for people.
        unit: such as ``tasks/s``.
        more_is_better: what an advantage is.
        digits: decimals in the report.
    """

    key: str
    title: str
    unit: str
    more_is_better: bool = False
    digits: int = 1


RATE = Metric(key="rate", title="rate", unit="tasks/s", more_is_better=True, digits=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A question to every contender.

    Args:
        name: for the command line.
        title: for the report.
        size: tasks at scale 1.
        measure: answers it, once.
        metrics: what the answer consists of.
        task: the task of `bench.work` that the workers run.
        concurrency: tasks at once in a process.
        processes: that run tasks.
        backend: where results go.
        rounds: at most so many, for what takes long.
        floor: the smallest size that still says something.
        asked: measured only where it is named.
    """

    name: str
    title: str
    size: int
    measure: Measure
    metrics: tuple[Metric, ...] = field(default=(RATE,))
    task: str = "noop"
    concurrency: int = 100
    processes: int = 1
    backend: str = "none"
    rounds: int | None = None
    floor: int = 100
    asked: bool = False

    def scaled(self, scale: float) -> int:
        """Return the number of tasks at a scale."""
        return min(self.size, max(self.floor, round(self.size * scale)))
