"""The result backend that needs only RabbitMQ: ``rpc://``, the default.

A producer has one exclusive reply queue. Workers publish each change of a task to the queue that
its message names in ``reply_to``. Results are only in the memory of the process that enqueued the
task: another process cannot read them, and they are lost when the process ends. A reply is dropped if
its queue no longer exists, or refuses it for some seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from typing_extensions import override

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
    MemberRecord,
    MemberReport,
    ProgressUpdate,
    ResultBackend,
    TaskRecord,
    Transition,
)
from stem_amqp.results.rpc.groups import GROUP_LIMIT, RpcGroups
from stem_amqp.results.rpc.refusals import Refusals
from stem_amqp.results.rpc.replies import ReplyQueue
from stem_amqp.results.rpc.wire import PROGRESS, TRANSITION, decode, encode
from stem_amqp.results.store import RecordStore
from stem_amqp.results.waiters import Waiters
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.publication import Publication

log = logging.getLogger("stem_amqp.results")

RECORD_LIMIT = 10_000
"""Records that a producer keeps. A producer that enqueues more before it reads the results should read
them as they arrive, or use a backend that stores them."""


class RpcBackend(ResultBackend):
    """Results through RabbitMQ alone.

    Args:
        transport: the broker.
        names: the names on the broker.
        clock: the time that TTLs are measured with.
        limit: records kept at most; the least recently used one is dropped.
    """

    keeps_states = False
    needs_reply = True
    group_limit = GROUP_LIMIT

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
        self.groups = RpcGroups(transport, names, clock)
        self.accepts: Callable[[Transition], bool] | None = None
        """Returns whether a reply is accepted; None accepts all."""
        self._open = False
        self._drop_reported = False

    @override
    async def open(self) -> None:
        """Be ready; the reply queue is declared when a producer first asks for its address."""
        if not self._open:
            self._open = True
            self._waiters = Waiters()
            self._store.listeners[self] = self._waiters.ended

    @override
    async def close(self) -> None:
        """Delete the reply queue, and cancel all waiters."""
        self._open = False
        self._waiters.close()
        await self.groups.close()
        await self._replies.close()

    @override
    async def reply_address(self) -> str:
        """Return the name of this process's reply queue.

        Raises:
            BackendUnavailableError: it cannot be declared now.
        """
        self._check_open()
        return await self._replies.open()

    @override
    async def transition(self, changes: Sequence[Transition]) -> list[bool]:
        """Publish changes to the producers of the tasks, and wait for the broker's confirms.

        A producer's own changes are stored here. Changes without a reply address are dropped.

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

    @override
    async def report_progress(self, updates: Sequence[ProgressUpdate]) -> None:
        """Publish progress to the producers of the tasks."""
        self._check_open()
        now = self._clock.time()
        for update in updates:
            if self._replies.owns(update.reply_to):
                self._store.progress(update, now)
        await self._publish(updates)

    @override
    async def get(self, task_id: str) -> TaskRecord | None:
        """Return the last record that this process received of a task that it enqueued, or None."""
        self._check_open()
        return self._store.get(task_id, self._clock.time())

    @override
    async def wait(self, task_id: str, timeout: float | None = None) -> TaskRecord:
        """Wait until a task that this process enqueued has ended.

        Raises:
            ResultTimeoutError: it did not end in time.
        """
        return await self._waiters.wait(task_id, timeout, lambda: self.get(task_id))

    @override
    async def create_group(
        self, group_id: str, size: int, *, ttl: float, plan: bytes = b"", sealed: bool = True
    ) -> None:
        self._check_open()
        await self.groups.create(group_id, size, ttl=ttl, plan=plan, sealed=sealed)

    @override
    async def expand_group(self, group_id: str, count: int, *, addition: str) -> int:
        self._check_open()
        return await self.groups.expand(group_id, count, addition)

    @override
    async def seal_group(self, group_id: str) -> GroupRecord:
        self._check_open()
        return await self.groups.seal(group_id)

    @override
    async def report_members(self, reports: Sequence[MemberReport]) -> list[GroupRecord | None]:
        self._check_open()
        return await self.groups.report(reports)

    @override
    async def claim_group(self, group_id: str, claimant: str) -> bool:
        self._check_open()
        return await self.groups.claim(group_id, claimant)

    @override
    async def get_group(self, group_id: str) -> GroupRecord | None:
        self._check_open()
        return await self.groups.fetch(group_id)

    @override
    async def group_members(
        self, group_id: str, *, after: int = -1, limit: int = 1000, failed: bool | None = None
    ) -> list[MemberRecord]:
        self._check_open()
        return await self.groups.members(group_id, after=after, limit=limit, failed=failed)

    @override
    async def purge_expired(self) -> int:
        """Forget the records here that are past their TTL; RabbitMQ removes groups automatically."""
        self._check_open()
        return self._store.purge(self._clock.time())

    @override
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
        # Different tasks concurrently, the changes of one task one after the other.
        tasks: dict[tuple[str, str], list[Transition | ProgressUpdate]] = {}
        for change in changes:
            if change.reply_to is not None and not self._replies.owns(change.reply_to):
                tasks.setdefault((change.task_id, change.reply_to), []).append(change)
        sending = (self._reply(address, queued) for (_, address), queued in tasks.items())
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
        # A refusal is raised last: an outage concerns all of them, and is temporary
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
                log.debug(
                    "task %s has no waiter any more: %s does not exist", change.task_id, address
                )
            except (PublishRefusedError, BrokerRefusedError) as error:
                if isinstance(error, PublishRefusedError) and self._refusals.lasting(address):
                    log.debug(
                        "task %s: its end is not delivered: %s is unavailable",
                        change.task_id,
                        address,
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
        elif self.accepts is None or self.accepts(change):
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
