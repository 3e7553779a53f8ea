"""The state of a worker as probes see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from typing_extensions import override

from stem_amqp.observability.exporter import Exporter
from stem_amqp.observability.loop_lag import LoopLag
from stem_amqp.observability.reported import WorkerView

BLOCKED_AFTER = 5.0
"""Seconds without an iteration of the event loop after which it counts as blocked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What probes ask about one worker process.

    Args:
        blocked: seconds for which its event loop has been blocked; 0 if it runs.
        consuming: whether the broker delivers to it, by queue; empty before it consumes.
        started: whether it has consumed all of its queues once, except paused ones.
        paused: the queues that are paused on purpose: that they are not consumed is no fault.
    """

    blocked: float = 0.0
    consuming: Mapping[str, bool] = field(default_factory=dict)
    started: bool = False
    paused: frozenset[str] = frozenset()

    @property
    def not_alive(self) -> list[str]:
        """Why the process is not alive."""
        if self.blocked < BLOCKED_AFTER:
            return []
        return [f"the event loop has been blocked for {self.blocked:.0f} s"]

    @property
    def not_ready(self) -> list[str]:
        """Why the process is not ready."""
        if not self.consuming:
            return [*self.not_alive, "it does not consume yet"]
        missing = [
            queue
            for queue, active in self.consuming.items()
            if not active and queue not in self.paused
        ]
        return [*self.not_alive, *(f"queue {queue} is not consumed" for queue in missing)]

    @property
    def not_started(self) -> list[str]:
        """Why the process has not started."""
        return [] if self.started else self.not_ready or ["it is starting"]


class Probed(Protocol):
    """One process or several that probes ask about; any thread may read it."""

    @property
    def not_alive(self) -> list[str]:
        """Causes for which it is to be restarted."""
        ...

    @property
    def not_ready(self) -> list[str]:
        """Causes for which it does not do its work."""
        ...

    @property
    def not_started(self) -> list[str]:
        """Causes for which its start is not complete."""
        ...


class Probe(Exporter):
    """Observes the worker of this process for probes.

    Call `start` in the event loop.
    """

    def __init__(self) -> None:
        self._lag: LoopLag | None = None
        self._worker: WorkerView | None = None
        self._started = False

    def start(self) -> None:
        """Start to measure the event loop."""
        self._lag = LoopLag.here()
        self._lag.start()

    def stop(self) -> None:
        """Stop to measure."""
        if self._lag is not None:
            self._lag.stop()

    @override
    def worker_started(self, worker: WorkerView) -> None:
        self._worker = worker

    def state(self) -> State:
        """Return the current state; any thread may call it."""
        worker = self._worker
        consuming = {} if worker is None else dict(worker.consuming)
        paused = frozenset() if worker is None else frozenset(worker.paused)
        self._started = self._started or (
            bool(consuming) and all(on or queue in paused for queue, on in consuming.items())
        )
        blocked = 0.0 if self._lag is None else self._lag.overdue
        return State(blocked=blocked, consuming=consuming, started=self._started, paused=paused)

    @property
    def not_alive(self) -> list[str]:
        """Why the process is not alive."""
        return self.state().not_alive

    @property
    def not_ready(self) -> list[str]:
        """Why the process is not ready."""
        return self.state().not_ready

    @property
    def not_started(self) -> list[str]:
        """Why the process has not started."""
        return self.state().not_started
