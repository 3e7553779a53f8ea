"""Reply queues that refuse replies because their node is down, perhaps permanently."""

from __future__ import annotations

import logging

from stem_amqp.clock import Clock

log = logging.getLogger("stem_amqp.results")

PATIENCE = 5.0
"""Seconds during which a reply is repeated: a node that only restarts may be back by then."""
REMEMBERED = 1000
"""Queues that are remembered, at most."""


class Refusals:
    """Remembers since when a queue refuses replies.

    In a cluster on RabbitMQ 4.3 an exclusive queue outlives its node: the broker nacks
    messages for it until that node is back. Waiting for that would block every worker.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}

    def lasting(self, address: str) -> bool:
        """Record a refusal, and return whether the queue has refused for long enough to give up."""
        now = self._clock.time()
        since = self._since.get(address)
        if since is None:
            if len(self._since) >= REMEMBERED:
                del self._since[next(iter(self._since))]
            self._since[address] = now
            log.warning("reply queue %s refuses replies: its node may be down", address)
            return False
        return now - since >= PATIENCE

    def over(self, address: str) -> None:
        """Record that the queue accepts replies again, or no longer exists."""
        self._since.pop(address, None)
