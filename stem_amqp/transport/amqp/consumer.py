"""A supervised consumer: when it ends, it consumes again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState
from typing_extensions import override

from stem_amqp.cancellation import end
from stem_amqp.errors import StemError, TopologyMissingError
from stem_amqp.transport.amqp.connection import BACK_OFF, SupervisedConnection, attempt_level
from stem_amqp.transport.amqp.failures import QueueLockedError
from stem_amqp.transport.amqp.session import Session, Subscription
from stem_amqp.transport.base import ConnectionChange, Consumer, OnConnectionChange, OnMissing

logger = logging.getLogger("stem_amqp.transport")

PAUSE = 0.25
"""Seconds to wait before consuming again after the broker cancelled the consumer. A quorum queue cancels
its consumers just before it is deleted; consuming it in that moment closes the whole connection with
error 541."""
LOCKED = 5.0
"""Seconds before an exclusive queue that remains locked gets another name. In a cluster on RabbitMQ 4.3,
the exclusive queues of a failed node remain locked until it is back, which may be never."""
Restore = Callable[[], Awaitable[bool]]
"""Declares missing entities, and returns whether a function for it is set."""


class AmqpConsumer(Consumer):
    """A consumer on one queue.

    After the broker cancelled it, its old channel remains open until its deliveries are settled, so that
    running tasks finish and are not repeated. The next session has its own channel, so that an error for a
    late settlement on the old one affects nothing else.

    Args:
        connection: the consuming connection.
        subscription: the queue and how to consume it.
        restore: called when the queue is missing.
        on_change: called when it is interrupted while the connection is up, and when it is restored.
        on_close: called when it is closed.
        on_missing: called when the queue is permanently gone; True ends the consumer.
    """

    def __init__(
        self,
        connection: SupervisedConnection,
        subscription: Subscription,
        *,
        restore: Restore,
        on_change: OnConnectionChange,
        on_close: Callable[[AmqpConsumer], None],
        on_missing: OnMissing | None = None,
    ) -> None:
        self.queue = subscription.queue
        self.prefetch = subscription.prefetch
        self._connection = connection
        self._subscription = subscription
        self._restore = restore
        self._on_change = on_change
        self._on_close = on_close
        self._on_missing = on_missing
        self._session: Session | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._retired: dict[asyncio.Task[None], Session] = {}
        self._locked_since: float | None = None

    @property
    @override
    def consuming(self) -> bool:
        return self._session is not None and self._session.consuming

    async def start(self) -> None:
        """Start to consume, and consume again after every interruption.

        Raises:
            TopologyMissingError: there is no such queue, and it could not be restored.
            BrokerRefusedError: it is in exclusive use, or the user may not read it.
            BrokerUnavailableError: the broker does not answer.
        """
        self._session = await self._open()
        self._supervisor = asyncio.create_task(
            self._supervise(self._session), name=f"stem-amqp consume {self.queue}"
        )

    @override
    async def stop(self) -> None:
        await end(self._supervisor)
        if self._session is not None:
            await self._session.stop()

    @override
    async def close(self, *, delete: bool = False) -> None:
        """Stop and close its channel: the broker requeues unsettled deliveries.

        Args:
            delete: delete the queue too.
        """
        await self.stop()
        for task, session in list(self._retired.items()):
            await end(task)
            await session.close()
        if self._session is not None:
            if delete:
                await self._session.delete_queue()
            await self._session.close()
        self._on_close(self)

    async def _open(self) -> Session:
        try:
            return await Session.open(self._connection, self._subscription)
        except TopologyMissingError as missing:
            if not await self._restored(missing):
                raise
            return await Session.open(self._connection, self._subscription)
        except QueueLockedError:
            self._rename_if_locked_for_long()
            raise

    def _rename_if_locked_for_long(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._locked_since is None:
            self._locked_since = now
        renamed = self._subscription.renamed
        if renamed is None or now - self._locked_since < LOCKED:
            return
        before, self._subscription = self.queue, renamed()
        self.queue, self._locked_since = self._subscription.queue, None
        logger.warning(
            "queue %s remains locked by a lost connection: consuming %s instead", before, self.queue
        )

    async def _restored(self, missing: TopologyMissingError) -> bool:
        try:
            return await self._restore()
        except StemError as error:
            raise TopologyMissingError(f"{missing}\n  Declaring it failed: {error}") from error

    async def _supervise(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        while True:
            error = await session.ended()
            began = loop.time()
            connected = session.connected
            lost = ConnectionChange(restored=False, role="consuming", error=error, consumer=True)
            self._report(lost, connected)
            self._retire(session)
            if session.cancelled:
                await asyncio.sleep(PAUSE)
            opened = await self._open_again()
            self._session, self._locked_since = opened, None
            change = ConnectionChange(
                restored=True,
                role="consuming",
                error=error,
                downtime=loop.time() - began,
                consumer=True,
            )
            if opened is None:
                # its messages are consumed elsewhere, so do not wait for this queue
                logger.info("queue %s no longer exists; its consumer has ended", self.queue)
                if connected:
                    self._on_change(change)
                return
            self._report(change, connected)
            session = opened

    async def _open_again(self) -> Session | None:
        retrying = AsyncRetrying(wait=BACK_OFF, before_sleep=self._log_attempt)
        return await retrying(self._open_or_leave)

    async def _open_or_leave(self) -> Session | None:
        try:
            return await self._open()
        except TopologyMissingError:
            if self._on_missing is None or not await self._on_missing():
                raise
            return None

    def _retire(self, session: Session) -> None:
        task = asyncio.create_task(
            self._close_when_settled(session), name=f"stem-amqp retire {self.queue}"
        )
        self._retired[task] = session
        task.add_done_callback(self._retired.pop)

    async def _close_when_settled(self, session: Session) -> None:
        await session.settled()
        await session.close()

    def _report(self, change: ConnectionChange, connected: bool) -> None:
        """Log a change, and report it unless the connection reports the same change."""
        if change.restored:
            logger.info("consuming %s again after %.1f s", self.queue, change.downtime)
        elif connected:
            logger.warning("consumer of %s interrupted: %s", self.queue, change.error)
        if connected:
            self._on_change(change)

    def _log_attempt(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        logger.log(
            attempt_level(state.attempt_number),
            "still not consuming %s, attempt %d: %s",
            self.queue,
            state.attempt_number,
            error,
        )
