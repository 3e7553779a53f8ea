"""Answers the commands that only ask: ping and statistics; `inspection` answers inspect."""

from __future__ import annotations

from stem_amqp.messages.answers import Pong, Statistics
from stem_amqp.messages.commands import AskStatistics, Ping
from stem_amqp.worker.report.gauges import Gauges
from stem_amqp.worker.report.presence import Presence
from stem_amqp.worker.steering.orders import Done


class Questions:
    """Answers pings and requests for statistics.

    Args:
        gauges: the worker's current values.
        presence: its heartbeat.
    """

    def __init__(self, gauges: Gauges, presence: Presence) -> None:
        self._gauges = gauges
        self._presence = presence

    def ping(self, _: Ping) -> Done:
        """Give a sign of life."""
        now = self._presence.heartbeat()
        return Done(Pong(version=now.version, state=now.state, started=now.started, at=now.at))

    def statistics(self, _: AskStatistics) -> Done:
        """Return the counters."""
        now, counted = self._presence.heartbeat(), self._gauges.statistics()
        return Done(
            Statistics(
                started=now.started,
                done=counted.done,
                running=counted.running,
                waiting=sum(1 for job in self._gauges.unsettled if not job.started),
                worker_failures=counted.worker_failures,
                signature_invalid=counted.signature_invalid,
                settle_refused=counted.settle_refused,
                replies_given_up=counted.replies_given_up,
                abandoned_threads=counted.abandoned_threads,
                lag=now.lag,
                memory=now.memory,
                cpu=now.cpu,
                threads=now.threads,
            )
        )
