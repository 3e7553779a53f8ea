"""The unsettled deliveries of queues, as the management API reports them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsettled:
    """The number of unsettled deliveries of each queue.

    Args:
        counts: by the queue's broker name; RabbitMQ refreshes them every 5 seconds. None if they are
            not known.
        reason: why they are not known.
    """

    counts: Mapping[str, int] | None
    reason: str = ""
