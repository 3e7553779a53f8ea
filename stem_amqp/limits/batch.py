"""Collects the asks of a worker, so that any number of them takes one round trip at a time."""

from __future__ import annotations

import asyncio

from stem_amqp.cancellation import end
from stem_amqp.limits.base import LEASE_TTL, Ask, LimitStore, Verdict

BATCH_LIMIT = 500
"""Asks in one round trip: the store serves nobody else meanwhile, for a few milliseconds."""


class LimitBatcher:
    """Puts the asks of one turn of the event loop, and of one round trip, into the next round trip.

    Args:
        store: decides the asks; it must be open.
        lease_ttl: seconds for which leases are granted.
    """

    def __init__(self, store: LimitStore, *, lease_ttl: float = LEASE_TTL) -> None:
        self._store = store
        self._lease_ttl = lease_ttl
        self._asks: dict[str, tuple[Ask, asyncio.Future[Verdict]]] = {}
        self._running: asyncio.Task[None] | None = None

    async def ask(self, ask: Ask) -> Verdict:
        """Ask, together with everybody who asks at the same time.

        An ask with the token of another one that is waiting for the same round trip gets its verdict.

        Raises:
            BackendUnavailableError: the store cannot be reached; asking again is safe.
        """
        _, answer = self._asks.get(ask.token, (ask, None))
        if answer is None:
            answer = asyncio.get_running_loop().create_future()
            self._asks[ask.token] = (ask, answer)
            if self._running is None:
                self._running = asyncio.create_task(self._run(), name="stem-amqp limits")
        return await asyncio.shield(answer)

    async def close(self) -> None:
        """Cancel the asks that wait."""
        running, self._running = self._running, None
        await end(running)
        asks, self._asks = self._asks, {}
        for _, answer in asks.values():
            answer.cancel()

    async def _run(self) -> None:
        try:
            while self._asks:
                some = dict(list(self._asks.items())[:BATCH_LIMIT])
                for token in some:
                    del self._asks[token]
                await self._decide(list(some.values()))
        finally:
            self._running = None

    async def _decide(self, asks: list[tuple[Ask, asyncio.Future[Verdict]]]) -> None:
        try:
            verdicts = await self._store.ask([ask for ask, _ in asks], lease_ttl=self._lease_ttl)
        except asyncio.CancelledError:
            for _, answer in asks:
                answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - each caller gets it
            for _, answer in asks:
                if not answer.done():
                    answer.set_exception(error)
                    answer.exception()  # a caller that was cancelled leaves nobody to retrieve it
            return
        for (_, answer), verdict in zip(asks, verdicts, strict=True):
            if not answer.done():
                answer.set_result(verdict)
