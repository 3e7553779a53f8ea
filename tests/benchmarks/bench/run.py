"""What one measurement works with: its names, sizes and places, handed down to every process."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from typing import Self

VARIABLE = "BENCH_RUN"
REDIS_URL = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/0")
POSTGRES_URL = os.environ.get("BENCH_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One measurement.

    Args:
        url: the broker's.
        name: the queue's name, or the prefix of the names where a contender needs several.
        folder: for files that live as long as the measurement.
        size: tasks; the marks have two slots for each.
        task: which task of `bench.work` the workers run.
        concurrency: tasks at once in a process; also the unsettled deliveries it may hold.
        processes: that run tasks.
        backend: where results go: ``none``, or the scheme of a backend.
    """

    url: str
    name: str
    folder: str
    size: int
    task: str = "noop"
    concurrency: int = 100
    processes: int = 1
    backend: str = "none"

    @property
    def marks(self) -> str:
        """The file of the marks."""
        return f"{self.folder}/marks"

    def environment(self) -> dict[str, str]:
        """Return the variables that hand this run to another process."""
        return {VARIABLE: json.dumps(dataclasses.asdict(self))}

    @classmethod
    def current(cls) -> Self:
        """Return the run that this process belongs to.

        Raises:
            KeyError: it belongs to none.
        """
        return cls(**json.loads(os.environ[VARIABLE]))
