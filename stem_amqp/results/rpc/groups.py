"""Groups of tasks through RabbitMQ alone.

The state of a group is a message, the token, in a durable queue for the group. A process that changes
it consumes the queue as its single active consumer, publishes the new token, and then acknowledges
the old one. After a crash in between there are two tokens; the next process merges them. The results of
members are messages in a second queue, published before the token that counts them.

A claim is a third, empty queue with the claimant in its arguments. The first declaration fixes the
arguments, and RabbitMQ refuses every other one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace

from stem_amqp.cancellation import end
from stem_amqp.clock import Clock
from stem_amqp.errors import (
    BackendError,
    BackendUnavailableError,
    BrokerError,
    ResultUnavailableError,
    TopologyMismatchError,
)
from stem_amqp.results.groups.checks import (
    check_count,
    check_page,
    check_same_size,
    check_size,
    sealed_group,
    unknown_group,
)
from stem_amqp.results.groups.counts import after_each
from stem_amqp.results.groups.model import GroupRecord, MemberRecord, MemberReport
from stem_amqp.results.rpc import values
from stem_amqp.results.rpc.hold import GroupHold, hold
from stem_amqp.results.rpc.queues import check_name, claim_queue, group_queues
from stem_amqp.results.rpc.token import GROUP, GroupState, new_number
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport
from stem_amqp.transport.publication import Publication

log = logging.getLogger("stem_amqp.results")

GROUP_LIMIT = 1000
"""Members of a group, at most: each change writes the whole state, and each page reads all results."""
PATIENCE = 10.0
"""Seconds to wait for a group's state while other processes hold it."""
_CREATE_PATIENCE = 2.0
"""Seconds after which a creator writes a first token into an empty queue: another creator may have
crashed before it did. If two are written, they are merged."""


@dataclass(kw_only=True, slots=True, eq=False)
class _Reports:
    """Members of a group that are reported together.

    Args:
        reports: the members.
        done: the asyncio task that reports them; it returns the group after each.
    """

    reports: list[MemberReport] = field(default_factory=list)
    done: asyncio.Future[list[GroupRecord | None]] = field(init=False)


class RpcGroups:
    """Groups of tasks, each in a queue of its own.

    These queues are the exception to the rule that only provisioning declares: they are not part of
    the topology. They are private, and RabbitMQ removes them when they are no longer used.

    A change writes the whole state, and a reader reads the results of all members, so a group has at most
    `GROUP_LIMIT` members: for larger ones use a backend that stores them. Members that end in one
    process during another change are written together.

    Args:
        transport: the broker.
        names: the names on the broker.
        clock: the time that TTLs are measured with.
        patience: seconds to wait for a group's state while other processes hold it.
    """

    def __init__(
        self, transport: Transport, names: Names, clock: Clock, *, patience: float = PATIENCE
    ) -> None:
        self._transport = transport
        self._names = names
        self._clock = clock
        self._patience = patience
        self.accepts: Callable[[str, MemberRecord], bool] | None = None
        """Returns whether a member of a group is accepted; None accepts all."""
        self._reports: dict[str, _Reports] = {}
        self._tasks: set[asyncio.Task[list[GroupRecord | None]]] = set()

    async def close(self) -> None:
        """Cancel the reports that are in progress."""
        await end(*self._tasks)

    async def create(
        self, group_id: str, size: int, *, ttl: float, plan: bytes, sealed: bool
    ) -> None:
        """Create a group, if it does not exist.

        Raises:
            ConfigurationError: it exists with another size, is too large, or its id is too long.
            BackendUnavailableError: the group may not be created; repeating is safe.
        """
        check_size(group_id, size, GROUP_LIMIT)
        check_name(self._names, group_id)
        now = self._clock.time()
        try:
            group = group_queues(self._names, group_id, ttl)
            missing = {entity.name for entity in await self._transport.missing(group)}
            is_new = self._names.group(group_id) in missing
            existing = None if is_new else await self._existing(group_id)
            if existing is not None and existing.expires_at > now:
                check_same_size(group_id, size, existing.size, sealed=sealed)
                return
            await self._remove_expired(group_id, existing, is_new=is_new)
            await self._declare(group)
            state = GroupState(
                group_id=group_id,
                size=size,
                ttl=ttl,
                expires_at=now + ttl,
                sealed=sealed,
                plan=plan,
            )
            await self._put(state)
        except BrokerError as error:
            raise BackendUnavailableError(f"cannot create group {group_id}: {error}") from error

    async def expand(self, group_id: str, count: int, addition: str) -> int:
        """Add members, and return the index of the first."""
        check_count(group_id, count)
        async with self._hold(group_id) as held:
            state = await self._current(held)
            if addition not in state.expansions:
                if state.sealed:
                    raise sealed_group(group_id)
                check_size(group_id, state.size + count, GROUP_LIMIT)
                state = await held.update(lambda seen: seen.expanded(addition, count))
            return state.expansions[addition][0]

    async def seal(self, group_id: str) -> GroupRecord:
        """Seal a group, and return it."""
        async with self._hold(group_id) as held:
            self._check_expiry(await held.state())
            state = await held.update(lambda seen: replace(seen, sealed=True))
            return replace(state.record, plan=b"")

    async def report(self, reports: Sequence[MemberReport]) -> list[GroupRecord | None]:
        """Store the ends of members, and return the group after each report.

        Raises:
            BackendUnavailableError: the reports may not be stored; repeating is safe.
        """
        if len({report.group_id for report in reports}) == 1:
            return await self._join(reports[0].group_id, reports)
        groups: dict[str, list[int]] = {}
        for position, report in enumerate(reports):
            groups.setdefault(report.group_id, []).append(position)
        outcomes = await asyncio.gather(
            *(
                self._join(group_id, [reports[position] for position in positions])
                for group_id, positions in groups.items()
            )
        )
        after: list[GroupRecord | None] = [None] * len(reports)
        for positions, records in zip(groups.values(), outcomes, strict=True):
            for position, record in zip(positions, records, strict=True):
                after[position] = record
        return after

    async def claim(self, group_id: str, claimant: str) -> bool:
        """Claim a complete group; exactly one claimant wins, and wins again if it asks again.

        Raises:
            BackendUnavailableError: the winner is not known; repeating is safe.
        """
        try:
            async with self._hold(group_id) as held:
                state = await self._current(held)
                if not state.record.complete:
                    return False
                if state.claimed_by is None:
                    if not await self._declare_claim(group_id, claimant, state.ttl):
                        return False
                    state = await held.update(lambda seen: replace(seen, claimed_by=claimant))
                return state.claimed_by == claimant
        except ResultUnavailableError:
            return False

    async def fetch(self, group_id: str) -> GroupRecord | None:
        """Return the group, or None if there is none (any more).

        Raises:
            BackendUnavailableError: the broker does not answer, or other processes hold the state.
        """
        try:
            async with self._hold(group_id) as held:
                return (await self._current(held)).record
        except ResultUnavailableError:
            return None

    async def members(
        self, group_id: str, *, after: int, limit: int, failed: bool | None
    ) -> list[MemberRecord]:
        """Return members by index; each call reads the results of all members."""
        check_page(after, limit)
        async with self._hold(group_id) as held:
            state = await self._current(held)
        found = await values.read(
            self._transport, self._names, state, patience=self._patience, accepts=self.accepts
        )
        wanted = [
            member
            for member in found
            if member.index > after
            and (failed is None or failed is not bool(state.succeeded >> member.index & 1))
        ]
        return wanted[:limit]

    async def _join(self, group_id: str, some: Sequence[MemberReport]) -> list[GroupRecord | None]:
        """Report members together with those that wait for the same turn."""
        reports = self._reports.get(group_id)
        if reports is None:
            reports = self._reports[group_id] = _Reports()
            task = asyncio.create_task(
                self._report(group_id, reports), name=f"stem-amqp group {group_id}"
            )
            reports.done = task
            self._tasks.add(task)
            task.add_done_callback(self._finished)
        start = len(reports.reports)
        reports.reports += some
        # A cancelled caller must not cancel the reports of others.
        try:
            return (await asyncio.shield(reports.done))[start : start + len(some)]
        except ResultUnavailableError:
            return [None] * len(some)

    async def _report(self, group_id: str, reports: _Reports) -> list[GroupRecord | None]:
        try:
            async with self._hold(group_id) as held:
                before = await held.state()
                self._check_expiry(before)
                # The state is held: members that arrive from here on are in the next report.
                self._close(group_id, reports)
                some = reports.reports
                changes = before.changes(some)
                await values.put(
                    self._transport, self._names, group_id, [some[position] for position in changes]
                )
                state = await held.update(lambda seen: seen.with_reports(some))
                record = replace(state.record, plan=b"")
                return after_each(some, {group_id: record}, changes)
        finally:
            self._close(group_id, reports)

    def _close(self, group_id: str, reports: _Reports) -> None:
        if self._reports.get(group_id) is reports:
            del self._reports[group_id]

    def _finished(self, task: asyncio.Task[list[GroupRecord | None]]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # waiters get the exception

    def _hold(self, group_id: str) -> AbstractAsyncContextManager[GroupHold]:
        return hold(self._transport, self._names, group_id, patience=self._patience)

    async def _current(self, held: GroupHold) -> GroupState:
        """Return the state with every earlier report.

        Raises:
            ResultUnavailableError: the group has expired.
        """
        self._check_expiry(await held.state())
        # It is written unchanged: a report that is missing afterwards did not exist before.
        return await held.update(lambda seen: seen)

    def _check_expiry(self, state: GroupState) -> None:
        if state.expires_at <= self._clock.time():
            raise unknown_group(state.group_id)

    async def _existing(self, group_id: str) -> GroupState | None:
        """Return the state of a group whose queue exists, or None if the queue is empty."""
        try:
            async with hold(
                self._transport, self._names, group_id, patience=_CREATE_PATIENCE
            ) as held:
                return await held.state()
        except BackendError as error:
            log.debug("group %s has a queue and no state yet: %s", group_id, error)
            return None

    async def _remove_expired(
        self, group_id: str, expired: GroupState | None, *, is_new: bool
    ) -> None:
        """Remove the queues of an expired group with this id; its claim may have outlived it."""
        queues: list[Queue] = []
        if expired is not None:
            queues += group_queues(self._names, group_id, expired.ttl).queues
        if expired is not None or is_new:
            queues.append(Queue(name=self._names.group_claim(group_id)))
        if queues:
            await self._transport.delete(Entities(queues=tuple(queues)))

    async def _declare(self, group: Entities) -> None:
        try:
            await self._transport.declare(group)
        except TopologyMismatchError as error:
            log.debug("the group exists with another TTL: %s", error)

    async def _declare_claim(self, group_id: str, claimant: str, ttl: float) -> bool:
        claim = claim_queue(self._names, group_id, claimant, ttl)
        try:
            await self._transport.declare(Entities(queues=(claim,)))
        except TopologyMismatchError:
            return False
        return True

    async def _put(self, state: GroupState) -> None:
        """Write the first token. A second one does no harm: tokens are merged."""
        await self._transport.publish(
            Publication(
                exchange="",
                routing_key=self._names.group(state.group_id),
                body=state.encode(new_number()),
                type=GROUP,
                app_id=self._names.namespace,
            )
        )
