"""Keep the order of a queue whose head is browsed."""

from __future__ import annotations

from collections.abc import AsyncIterator

from stem_amqp.transport.delivery import Delivery

MAX_RETURNED = 10_000
"""Maximum messages, returned by earlier browsing, that a browse which ends early fetches too."""


async def fetch_returned(deliveries: AsyncIterator[Delivery], last: Delivery | None) -> None:
    """Fetch the following messages that earlier browsing returned, so that all keep their order.

    RabbitMQ puts a returned message behind those returned before it, and in front of all others.

    Args:
        deliveries: the rest of a browse.
        last: the last message that was fetched; None if there was none.
    """
    for _ in range(MAX_RETURNED):
        if last is None or not last.redelivered:
            return
        last = await anext(deliveries, None)
