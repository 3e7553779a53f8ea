"""A consumer that heals: whatever ends it, it consumes again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState

from stem_amqp.errors import StemError, TopologyMissingError
from stem_amqp.transport.amqp.connection import BACK_OFF, Connection, attempt_level
from stem_amqp.transport.amqp.failures import QueueLockedError
from stem_amqp.transport.amqp.session import Session, Subscription
from stem_amqp.transport.amqp.tasks import end
from stem_amqp.transport.base import ConnectionChange, Consumer, OnConnectionChange, OnMissing

logger = logging.getLogger("stem_amqp.transport")

PAUSE = 0.25
"""Seconds before consuming again what the broker cancelled. A quorum queue that is being deleted
cancels its consumers a moment before it is gone; to consume it in that moment closes the whole
connection with 541."""
LOCKED = 5.0
"""Seconds before an exclusive queue that stays locked gets another name. In a cluster on RabbitMQ 4.3
a node that died keeps its exclusive queues locked until it is back, which may be never."""
Restore = Callable[[], Awaitable[bool]]
"""Declares what is missing, and returns whether anybody could be asked to."""


class AmqpConsumer(Consumer):
    """A consumer on one queue.

    After the broker cancelled it, its old channel stays open until all that came on it is settled,
    so that running tasks finish and are not repeated. What consumes again has a channel of its own:
    should a late settlement on the old one be an error to the broker, it hits nothing else.

    Args:
        connection: the consuming connection.
        subscription: what to consume.
        restore: called when the queue is missing.
        on_change: called when it is interrupted by more than a lost connection, and restored.
        on_close: called when it is closed.
        on_missing: asked when the queue is gone for good; True lets the consumer end.
    """

    def __init__(
        self,
        connection: Connection,
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
    def consuming(self) -> bool:
        """Whether the broker currently delivers to it."""
        return self._session is not None and self._session.consuming

    async def start(self) -> None:
        """Consume, and from then on again after whatever broke.

        Raises:
            TopologyMissingError: there is no such queue, and it could not be restored.
            BrokerRefusedError: it is in exclusive use, or the user may not read it.
            BrokerUnavailableError: the broker does not answer.
        """
        self._session = await self._open()
        self._supervisor = asyncio.create_task(
            self._supervise(self._session), name=f"stem-amqp consume {self.queue}"
        )

    async def stop(self) -> None:
        """Cancel the consumer, for good. What was delivered can still be settled."""
        await end(self._supervisor)
        if self._session is not None:
            await self._session.stop()

    async def close(self, *, delete: bool = False) -> None:
        """Stop, and close its channel: the broker takes back what is not settled.

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
            "queue %s stays locked by a lost connection: consuming %s instead", before, self.queue
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
            self._report(ConnectionChange(restored=False, role="consuming", error=error), connected)
            self._retire(session)
            if session.cancelled:
                await asyncio.sleep(PAUSE)
            opened = await self._open_again()
            self._session, self._locked_since = opened, None
            change = ConnectionChange(
                restored=True, role="consuming", error=error, downtime=loop.time() - began
            )
            if opened is None:
                # what it was for is consumed elsewhere: nobody is to wait for this queue
                logger.info("the queue %s is gone, and so is its consumer", self.queue)
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
        task = asyncio.create_task(self._outlive(session), name=f"stem-amqp retire {self.queue}")
        self._retired[task] = session
        task.add_done_callback(self._retired.pop)

    async def _outlive(self, session: Session) -> None:
        await session.settled()
        await session.close()

    def _report(self, change: ConnectionChange, connected: bool) -> None:
        """Log it, and tell of it unless the connection does: one change, told once."""
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
