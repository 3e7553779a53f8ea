"""The leases that the running tasks of a worker hold: renewed together, and released together."""

from __future__ import annotations

import asyncio
import logging

from stem_amqp.cancellation import end
from stem_amqp.errors import BackendError
from stem_amqp.limits.base import Lease, LimitStore

log = logging.getLogger("stem_amqp.worker")

RENEWALS = 3
"""Renewals of a lease within its ttl."""


class Leases:
    """The leases of one worker. All are renewed in one round trip, and so are those released.

    Args:
        store: holds the leases.
        ttl: seconds after which the lease of a worker that was killed ends.
    """

    def __init__(self, store: LimitStore, *, ttl: float) -> None:
        self._store = store
        self._ttl = ttl
        self._held: dict[str, Lease] = {}
        self._ended: dict[str, Lease] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._held)

    def add(self, lease: Lease) -> None:
        """Renew a lease from now on."""
        self._held[lease.token] = lease
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="worker leases")

    def release(self, lease: Lease) -> None:
        """Release a lease soon; this does not wait."""
        self._held.pop(lease.token, None)
        self._ended[lease.token] = lease
        self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="worker leases")

    async def close(self) -> None:
        """Release all leases."""
        await end(self._task)
        self._task = None
        self._ended |= self._held
        self._held.clear()
        await self._release()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        interval = self._ttl / RENEWALS
        due = loop.time() + interval
        while True:
            try:
                async with asyncio.timeout(max(0.0, due - loop.time())):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            if self._ended and not await self._release():
                await asyncio.sleep(min(1.0, interval))
                self._wake.set()
            if loop.time() >= due:
                due = loop.time() + interval
                await self._renew()

    async def _release(self) -> bool:
        """Release what has ended; return False if the store is away."""
        ended, self._ended = self._ended, {}
        if not ended:
            return True
        try:
            await self._store.release(list(ended.values()))
        except BackendError as error:
            log.debug("leases of limits could not be released yet: %s", error)
            self._ended = ended | self._ended
            return False
        return True

    async def _renew(self) -> None:
        held = list(self._held.values())
        if not held:
            return
        try:
            kept = await self._store.renew(held, ttl=self._ttl)
        except BackendError as error:
            log.warning(
                "%d leases of limits could not be renewed; without a renewal they end, and more tasks may"
                " run at once: %s",
                len(held),
                error,
            )
            return
        lost = [lease for lease, still in zip(held, kept, strict=True) if not still]
        if lost:
            log.warning(
                "%d leases of limits had ended while their tasks ran, so more tasks may have run at once",
                len(lost),
            )
