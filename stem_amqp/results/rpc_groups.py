"""Groups of tasks through RabbitMQ alone.

The state of a group is a message, the token, in a durable queue of the group's own. Whoever
changes it consumes the queue as its single active consumer, publishes the new token, and then
acknowledges the old one. After a crash in between there are two; they are united by the next one
who comes.

A claim is a second, empty queue: the claimant stands in its arguments. RabbitMQ lets exactly one
set of arguments be declared first, and refuses every other one.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from stem_amqp.clock import Clock
from stem_amqp.errors import (
    BackendError,
    BackendUnavailableError,
    BrokerError,
    ConfigurationError,
    ResultUnavailableError,
    TopologyMismatchError,
)
from stem_amqp.results.base import GroupRecord
from stem_amqp.results.groups import check_same_size, check_size, unknown_group
from stem_amqp.results.rpc_hold import GroupHold, hold
from stem_amqp.results.rpc_token import GROUP, GroupState, new_number
from stem_amqp.states import TaskState
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Publication, Transport

log = logging.getLogger("stem_amqp.results")

PATIENCE = 10.0
"""Seconds to wait for a group's state while others use it."""
_CREATE_PATIENCE = 2.0
"""Seconds after which a creator writes a first token into an empty queue: another creator may have
crashed before it did. Should it be there after all, the two are united."""
_SLACK = 10.0
"""Seconds by which the queue outlives the group, so that its state says when it ends."""
_LONGEST_EXPIRY_MS = 2**32 - 1
_NAME_LIMIT = 255


@dataclass(kw_only=True, slots=True, eq=False)
class _Reports:
    """Members of a group that are reported together.

    Args:
        members: task id to final state.
        done: the task that reports them.
    """

    members: dict[str, TaskState] = field(default_factory=dict)
    done: asyncio.Future[GroupRecord] = field(init=False)


class RpcGroups:
    """Groups of tasks, each in a queue of its own.

    It is the exception to the rule that only provisioning declares: these queues are no part of
    the topology. They are private, and RabbitMQ removes them when they are not used any more.

    A change writes the whole state, which is about 60 bytes a member: for groups of many thousand
    members use a backend that stores them. Members that end in one process while another change is
    under way are written together.

    Args:
        transport: the broker.
        names: the names on the broker.
        clock: the time that TTLs are measured with.
        patience: seconds to wait for a group's state while others use it.
    """

    def __init__(
        self, transport: Transport, names: Names, clock: Clock, *, patience: float = PATIENCE
    ) -> None:
        self._transport = transport
        self._names = names
        self._clock = clock
        self._patience = patience
        self._reports: dict[str, _Reports] = {}
        self._tasks: set[asyncio.Task[GroupRecord]] = set()

    async def close(self) -> None:
        """Cancel the reports that are under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def create(self, group_id: str, size: int, ttl: float) -> None:
        """Create a group; creating it again with the same size is no error.

        Raises:
            ConfigurationError: it exists with another size, or its id is too long.
            BackendUnavailableError: it is not known to be created; repeating is safe.
        """
        check_size(group_id, size)
        self._check_name(group_id)
        now = self._clock.time()
        try:
            group = Entities(queues=(self._queue(group_id, ttl),))
            is_new = bool(await self._transport.missing(group))
            existing = None if is_new else await self._existing(group_id)
            if existing is not None and existing.expires_at > now:
                check_same_size(group_id, size, existing.size)
                return
            await self._remove_expired(group_id, existing, is_new=is_new)
            await self._declare(group)
            await self._put(GroupState(group_id=group_id, size=size, ttl=ttl, expires_at=now + ttl))
        except BrokerError as error:
            raise BackendUnavailableError(f"cannot create group {group_id}: {error}") from error

    async def report(self, group_id: str, task_id: str, state: TaskState) -> GroupRecord:
        """Report that a member has ended; only its first report counts.

        Raises:
            ResultUnavailableError: there is no such group (any more).
            BackendUnavailableError: it is not known to be reported; repeating is safe.
        """
        reports = self._reports.get(group_id)
        if reports is None:
            reports = self._reports[group_id] = _Reports()
            task = asyncio.create_task(
                self._report(group_id, reports), name=f"stem-amqp group {group_id}"
            )
            reports.done = task
            self._tasks.add(task)
            task.add_done_callback(self._finished)
        reports.members.setdefault(task_id, state)
        # One who gives up waiting must not take the others' reports along.
        return await asyncio.shield(reports.done)

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
            BackendUnavailableError: the broker is not there, or others keep the state.
        """
        try:
            async with self._hold(group_id) as held:
                return (await self._current(held)).record
        except ResultUnavailableError:
            return None

    async def _report(self, group_id: str, reports: _Reports) -> GroupRecord:
        try:
            async with self._hold(group_id) as held:
                self._check_expiry(await held.state())
                # It is our turn: who comes from here on is in the next report.
                self._close(group_id, reports)
                state = await held.update(lambda seen: seen.with_members(reports.members))
                return state.record
        finally:
            self._close(group_id, reports)

    def _close(self, group_id: str, reports: _Reports) -> None:
        if self._reports.get(group_id) is reports:
            del self._reports[group_id]

    def _finished(self, task: asyncio.Task[GroupRecord]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits gets it

    def _hold(self, group_id: str) -> AbstractAsyncContextManager[GroupHold]:
        return hold(self._transport, self._names, group_id, patience=self._patience)

    async def _current(self, held: GroupHold) -> GroupState:
        """Return the state with everything that was reported before.

        Raises:
            ResultUnavailableError: the group has expired.
        """
        self._check_expiry(await held.state())
        # Written as it is: what is not in it then was not there.
        return await held.update(lambda seen: seen)

    def _check_expiry(self, state: GroupState) -> None:
        if state.expires_at <= self._clock.time():
            raise unknown_group(state.group_id)

    async def _existing(self, group_id: str) -> GroupState | None:
        """Return the state of a group whose queue is there, or None if the queue is empty."""
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
        """Remove what an earlier group of this id left; its claim may have outlived it."""
        queues = []
        if expired is not None:
            queues.append(self._queue(group_id, expired.ttl))
        if expired is not None or is_new:
            queues.append(Queue(name=self._names.group_claim(group_id)))
        if queues:
            await self._transport.delete(Entities(queues=tuple(queues)))

    async def _declare(self, group: Entities) -> None:
        try:
            await self._transport.declare(group)
        except TopologyMismatchError as error:
            log.debug("the group is there with another TTL: %s", error)

    async def _declare_claim(self, group_id: str, claimant: str, ttl: float) -> bool:
        claim = Queue(
            name=self._names.group_claim(group_id),
            arguments={
                **_arguments(ttl),
                # Nothing is ever dead-lettered from it: the arguments are the message.
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": claimant,
            },
        )
        try:
            await self._transport.declare(Entities(queues=(claim,)))
        except TopologyMismatchError:
            return False
        return True

    async def _put(self, state: GroupState) -> None:
        """Write the first token. One too many does no harm: tokens are united."""
        await self._transport.publish(
            Publication(
                exchange="",
                routing_key=self._names.group(state.group_id),
                body=state.encode(new_number()),
                type=GROUP,
                app_id=self._names.namespace,
            )
        )

    def _queue(self, group_id: str, ttl: float) -> Queue:
        arguments = {**_arguments(ttl), "x-single-active-consumer": True}
        return Queue(name=self._names.group(group_id), arguments=arguments)

    def _check_name(self, group_id: str) -> None:
        size = len(self._names.group_claim(group_id).encode())
        if size > _NAME_LIMIT:
            raise ConfigurationError(
                f"the group id {group_id!r} is too long: its queue's name has {size} bytes, and"
                f" RabbitMQ takes {_NAME_LIMIT}.\n  Use a shorter id, such as a UUID."
            )


def _arguments(ttl: float) -> dict[str, Any]:
    expires = min(math.ceil((ttl + _SLACK) * 1000), _LONGEST_EXPIRY_MS)
    return {"x-queue-type": "classic", "x-expires": expires}
