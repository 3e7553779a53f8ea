"""Ends this worker on command."""

from __future__ import annotations

from typing import Protocol

from stem_amqp.messages.answers import ShuttingDown
from stem_amqp.messages.commands import ShutDown
from stem_amqp.worker.report.gauges import Gauges
from stem_amqp.worker.steering.orders import Done


class Stop(Protocol):
    """Ends the worker."""

    def __call__(self, reason: str, *, cold: bool) -> None:
        """End it.

        Args:
            reason: why, for its log.
            cold: whether running tasks get no grace period.
        """
        ...


class Shutdowns:
    """Ends the worker after the answer.

    Args:
        gauges: the worker's current values.
        stop: ends it.
        grace: seconds that running tasks have in a warm shutdown.
    """

    def __init__(self, gauges: Gauges, stop: Stop, grace: float) -> None:
        self._gauges = gauges
        self._stop = stop
        self._grace = grace

    def shut_down(self, order: ShutDown) -> Done:
        """Begin to end the worker."""
        running = sum(self._gauges.running.values())
        reason = f"{order.summary()} by {order.issuer!r}"

        def end() -> None:
            self._stop(reason, cold=order.cold)

        return Done(ShuttingDown(running=running, grace=0.0 if order.cold else self._grace), end)
