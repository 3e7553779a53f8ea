"""The queues on the broker that belong to one logical queue, and their consumers in one worker."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable, Mapping

from stem_amqp.cancellation import end
from stem_amqp.errors import TopologyMissingError
from stem_amqp.provision.versions import status_with_versions
from stem_amqp.topology.names import at_version
from stem_amqp.transport.base import Consumer, Transport
from stem_amqp.transport.delivery import Delivery

log = logging.getLogger("stem_amqp.worker")

OnDelivery = Callable[[Delivery, bool], None]
"""Called with a delivery, and whether it comes from a queue that held a paused task."""


class Sources:
    """Consumes the versions of a work queue that exist, and the queues that held its paused tasks.

    Each has a channel and a prefetch of its own.

    Args:
        queue: the logical queue.
        names: its possible work queues on the broker, by version.
        version: the version in the topology.
        transport: the broker.
        prefetch: the most unsettled deliveries of each consumer.
        tag: the consumer tag.
        on_delivery: called for each delivery.
        on_second: called before a second consumer starts.
    """

    def __init__(
        self,
        queue: str,
        names: Mapping[int, str],
        version: int,
        transport: Transport,
        *,
        prefetch: int,
        tag: str,
        on_delivery: OnDelivery,
        on_second: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._names = names
        self._version = version
        self._transport = transport
        self._prefetch = prefetch
        self._tag = tag
        self._on_delivery = on_delivery
        self._on_second = on_second
        self._works: dict[int, Consumer] = {}
        self._held: dict[str, Consumer] = {}
        self._left: list[Consumer] = []
        self._retiring: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self._closing = False

    @property
    def consuming(self) -> bool:
        """Whether the consumers of all versions are active on the broker."""
        works = self._works.values()
        return bool(works) and all(consumer.consuming for consumer in works)

    @property
    def held(self) -> tuple[str, ...]:
        """The queues of paused tasks that are consumed."""
        return tuple(self._held)

    async def open(self, prefetch: int | None = None) -> None:
        """Consume all versions that exist; a version that is consumed already is left as it is.

        Args:
            prefetch: the most unsettled deliveries of each consumer; default: the usual number.

        Raises:
            BrokerError: one cannot be consumed; then none is.
        """
        async with self._lock:
            try:
                for version in await self._existing() or [self._version]:
                    await self._consume(version, prefetch)
            except BaseException:
                await self._leave()
                raise

    async def renew(self, prefetch: int, jobs: Iterable[asyncio.Task[None]]) -> None:
        """Change the prefetch: AMQP sets it when a consumer starts, so that others take over.

        Args:
            prefetch: the most unsettled deliveries of each consumer.
            jobs: the asyncio tasks of the deliveries that are not settled: the channels of the former
                consumers are closed after them.

        Raises:
            BrokerError: a version cannot be consumed now; everything is as before.
        """
        async with self._lock:
            former, before = dict(self._works), self._prefetch
            self._prefetch = prefetch
            self._works.clear()
            try:
                for version in () if self._closing else former:
                    await self._consume(version)
            except BaseException:
                await self._leave_works()
                self._works, self._prefetch = former, before
                raise
            if self._closing:
                self._works = former
                return
            for consumer in former.values():
                await consumer.stop()
            self._left += former.values()
        task = asyncio.create_task(self._retire(tuple(former.values()), tuple(jobs)))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retire(
        self, consumers: Iterable[Consumer], jobs: tuple[asyncio.Task[None], ...]
    ) -> None:
        if jobs:
            await asyncio.wait(jobs)
        for consumer in consumers:
            if consumer in self._left:
                self._left.remove(consumer)
                await consumer.close()

    async def _leave_works(self) -> None:
        stopped = list(self._works.values())
        self._works.clear()
        # Their deliveries are not settled yet
        self._left += stopped
        for consumer in stopped:
            await consumer.stop()

    async def open_held(self, names: Iterable[str], prefetch: int | None = None) -> None:
        """Consume queues that held paused tasks; one that does not exist is ignored.

        Args:
            names: their names on the broker.
            prefetch: the most unsettled deliveries of each consumer; default: the usual number.

        Raises:
            BrokerError: one cannot be consumed.
        """
        async with self._lock:
            for name in names:
                if name in self._held or self._closing:
                    continue
                if self._works or self._held:
                    self._on_second()
                try:
                    self._held[name] = await self._transport.consume(
                        name,
                        lambda delivery: self._on_delivery(delivery, True),
                        prefetch=prefetch or self._prefetch,
                        tag=f"{self._tag}:held:{len(self._held)}",
                        on_missing=functools.partial(self._gone, name),
                    )
                except TopologyMissingError:
                    log.debug("the queue %s no longer exists", name)

    async def leave_held(self, names: Iterable[str]) -> None:
        """Stop to consume queues that held paused tasks; their deliveries can still be settled."""
        async with self._lock:
            for name in names:
                consumer = self._held.pop(name, None)
                if consumer is not None:
                    self._left.append(consumer)
                    await consumer.stop()

    async def leave(self) -> None:
        """Stop to consume, until `open`; the deliveries can still be settled."""
        async with self._lock:
            await self._leave()

    async def stop(self) -> None:
        """Stop to consume for good; the deliveries can still be settled."""
        self._closing = True
        async with self._lock:
            for consumer in (*self._works.values(), *self._held.values()):
                await consumer.stop()

    async def forget(self) -> None:
        """Close the channels of consumers that were left; their deliveries must be settled."""
        left, self._left = self._left, []
        for consumer in left:
            await consumer.close()

    async def close(self) -> None:
        """Close all channels: the broker requeues deliveries that are not settled."""
        await end(*self._retiring)
        for consumer in (*self._works.values(), *self._held.values(), *self._left):
            await consumer.close()

    async def _leave(self) -> None:
        await self._leave_works()
        stopped = list(self._held.values())
        self._held.clear()
        self._left += stopped
        for consumer in stopped:
            await consumer.stop()

    async def _existing(self) -> list[int]:
        """Return the versions of the queue that exist on the broker."""
        own = self._names[self._version]
        others = [name for name in self._names.values() if name != own]
        status = await status_with_versions(self._transport, (own,), others)
        return [version for version, name in self._names.items() if status[name] is not None]

    async def _consume(self, version: int, prefetch: int | None = None) -> None:
        if version in self._works:
            return
        if self._works or self._held:
            self._on_second()
        self._works[version] = await self._transport.consume(
            self._names[version],
            lambda delivery: self._on_delivery(delivery, False),
            prefetch=prefetch or self._prefetch,
            tag=at_version(self._tag, version),
            on_missing=functools.partial(self._moved, version),
        )

    async def _moved(self, version: int) -> bool:
        """Consume the other versions after one was deleted; return whether there are any."""
        async with self._lock:
            others = [other for other in await self._existing() if other != version]
            if self._closing or not others:
                return False
            for other in others:
                await self._consume(other)
            # Its deliveries are not settled yet
            self._left.append(self._works.pop(version))
        log.info(
            "queue %s: version %d no longer exists, consuming version %d",
            self._queue,
            version,
            max(others),
        )
        return True

    async def _gone(self, name: str) -> bool:
        """Forget a queue that held paused tasks and was deleted."""
        async with self._lock:
            consumer = self._held.pop(name, None)
            if consumer is not None:
                self._left.append(consumer)
        return True
