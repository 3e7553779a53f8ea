"""The result backend that needs nothing but RabbitMQ: ``rpc://``, the default.

A producer has one exclusive reply queue. Workers publish each change of a task to the queue that
its message names in ``reply_to``. Results are in the memory of the process that enqueued the task,
and nowhere else: another process cannot ask for them, and they end with it. A reply for which no
queue is there any more is forgotten, and so is one that its queue refuses for seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from stem_amqp.clock import Clock
from stem_amqp.errors import (
    BackendUnavailableError,
    BrokerError,
    BrokerRefusedError,
    DecodeError,
    PublishRefusedError,
    ReplyRefusedError,
    UnroutableError,
)
from stem_amqp.results.base import (
    GroupRecord,
    ProgressUpdate,
    ResultBackend,
    TaskRecord,
    Transition,
)
from stem_amqp.results.rpc_groups import RpcGroups
from stem_amqp.results.rpc_refusals import Refusals
from stem_amqp.results.rpc_replies import ReplyQueue
from stem_amqp.results.store import RecordStore
from stem_amqp.results.waiters import Waiters
from stem_amqp.results.wire import PROGRESS, TRANSITION, decode, encode
from stem_amqp.states import TaskState
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Delivery, Publication, Transport

log = logging.getLogger("stem_amqp.results")

RECORD_LIMIT = 10_000
"""Records that a producer keeps: who enqueues more than this before it asks for the results should
wait for each as it goes, or use a backend that stores them."""


class RpcBackend(ResultBackend):
    """Results through RabbitMQ alone.

    Args:
        transport: the broker.
        names: the names on the broker.
        clock: the time that TTLs are measured with.
        limit: records kept at most; the one that was not used for longest makes room.
    """

    keeps_states = False
    needs_reply = True

    def __init__(
        self, transport: Transport, names: Names, clock: Clock, *, limit: int = RECORD_LIMIT
    ) -> None:
        self._transport = transport
        self._names = names
        self._clock = clock
        self._limit = limit
        self._waiters = Waiters()
        self._store = RecordStore(limit, self._dropped)
        self._replies = ReplyQueue(transport, names, self._on_reply)
        self._refusals = Refusals(clock)
        self._groups = RpcGroups(transport, names, clock)
        self._open = False
        self._drop_reported = False

    async def open(self) -> None:
        """Be ready; the reply queue is declared when a producer first asks for its address."""
        if not self._open:
            self._open = True
            self._waiters = Waiters()
            self._store.listeners[self] = self._waiters.ended

    async def close(self) -> None:
        """Remove the reply queue, and cancel who waits."""
        self._open = False
        self._waiters.close()
        await self._groups.close()
        await self._replies.close()

    async def reply_address(self) -> str:
        """Return the name of this process's reply queue.

        Raises:
            BackendUnavailableError: it cannot be declared now.
        """
        self._check_open()
        return await self._replies.open()

    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Publish changes to those who wait for them, and wait for the broker's confirms.

        A producer's own changes are stored here. What nobody waits for is forgotten.

        Returns:
            For each whether it was accepted, as far as that is known here: a producer may still
            refuse a change that it is sent.
        """
        self._check_open()
        now, owns = self._clock.time(), self._replies.owns
        accepted = [
            not owns(change.reply_to) or self._store.apply(change, now) for change in changes
        ]
        await self._publish(changes)
        return accepted

    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        """Publish progress to those who wait for the tasks."""
        self._check_open()
        now = self._clock.time()
        for update in updates:
            if self._replies.owns(update.reply_to):
                self._store.progress(update, now)
        await self._publish(updates)

    async def get(self, task_id: str) -> TaskRecord | None:
        """Return what this process was told of a task that it enqueued, or None."""
        self._check_open()
        return self._store.get(task_id, self._clock.time())

    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        """Wait until a task that this process enqueued has ended.

        Raises:
            ResultTimeoutError: it did not end in time.
        """
        return await self._waiters.wait(task_id, timeout, lambda: self.get(task_id))

    async def create_group(self, group_id: str, size: int, *, ttl: float) -> None:
        """Create a group; see `RpcGroups`."""
        self._check_open()
        await self._groups.create(group_id, size, ttl)

    async def report_member(self, group_id: str, task_id: str, state: TaskState) -> GroupRecord:
        """Report that a member has ended; see `RpcGroups`."""
        self._check_open()
        return await self._groups.report(group_id, task_id, state)

    async def claim_group(self, group_id: str, claimant: str) -> bool:
        """Claim a complete group; see `RpcGroups`."""
        self._check_open()
        return await self._groups.claim(group_id, claimant)

    async def get_group(self, group_id: str) -> GroupRecord | None:
        """Return the group, or None if there is none (any more)."""
        self._check_open()
        return await self._groups.fetch(group_id)

    async def purge_expired(self) -> int:
        """Forget the records here that are past their TTL; RabbitMQ removes groups by itself."""
        self._check_open()
        return self._store.purge(self._clock.time())

    async def ping(self) -> None:
        """Make sure that the broker answers.

        Raises:
            BackendUnavailableError: it does not.
        """
        self._check_open()
        try:
            await self._transport.status([self._names.unroutable])
        except BrokerError as error:
            raise BackendUnavailableError(f"the broker does not answer: {error}") from error

    async def _publish(self, changes: Sequence[Transition] | Sequence[ProgressUpdate]) -> None:
        # Different tasks at once, the changes of one task one after the other.
        tasks: dict[tuple[str, str], list[Transition | ProgressUpdate]] = {}
        for change in changes:
            if change.reply_to is not None and not self._replies.owns(change.reply_to):
                tasks.setdefault((change.task_id, change.reply_to), []).append(change)
        sending = (self._reply(address, queued) for (_, address), queued in tasks.items())
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
        # A refusal comes last: an outage concerns all of them, and passes
        for outcome in sorted(outcomes, key=lambda one: isinstance(one, ReplyRefusedError)):
            if isinstance(outcome, BrokerError):
                raise BackendUnavailableError(
                    f"replies could not be published: {outcome}"
                ) from outcome
            if outcome is not None:
                raise outcome

    async def _reply(self, address: str, changes: Iterable[Transition | ProgressUpdate]) -> None:
        for change in changes:
            publication = Publication(
                exchange="",
                routing_key=address,
                body=encode(change),
                type=TRANSITION if isinstance(change, Transition) else PROGRESS,
                correlation_id=change.task_id,
                app_id=self._names.namespace,
            )
            try:
                await self._transport.publish(publication)
            except UnroutableError:
                self._refusals.over(address)
                log.debug("nobody waits for task %s any more: %s is gone", change.task_id, address)
            except (PublishRefusedError, BrokerRefusedError) as error:
                if isinstance(error, PublishRefusedError) and self._refusals.lasting(address):
                    log.debug(
                        "task %s: nobody hears of its end: %s is away", change.task_id, address
                    )
                    continue
                raise ReplyRefusedError(
                    f"the reply to queue {address!r} is refused: {error}\n"
                    "  If the queue is full, empty it; rpc:// needs the permission to write to"
                    " amq.default."
                ) from error
            else:
                self._refusals.over(address)

    def _on_reply(self, delivery: Delivery) -> None:
        try:
            change = decode(delivery.type, delivery.body)
        except DecodeError as error:
            log.warning("ignored a message on reply queue %s: %s", delivery.routing_key, error)
            return
        now = self._clock.time()
        if isinstance(change, ProgressUpdate):
            self._store.progress(change, now)
        else:
            self._store.apply(change, now)

    def _dropped(self, record: TaskRecord) -> None:
        if record.state.final and not self._drop_reported:
            self._drop_reported = True
            log.warning(
                "rpc:// keeps the last %d records: the result of task %s and maybe more are"
                " dropped. Ask for results as they arrive, or use a backend that stores them.",
                self._limit,
                record.task_id,
            )

    def _check_open(self) -> None:
        if not self._open:
            raise BackendUnavailableError("the rpc result backend is not open")
