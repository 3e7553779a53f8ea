"""The results of a group's members, as messages in a queue of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from stem_amqp.errors import (
    BackendUnavailableError,
    BrokerError,
    TopologyMissingError,
    UnroutableError,
)
from stem_amqp.messages.message import new_id
from stem_amqp.results.groups.checks import unknown_group
from stem_amqp.results.groups.encoding import UNREADABLE, decode, encode
from stem_amqp.results.groups.model import MemberRecord, MemberReport
from stem_amqp.results.rpc.token import GroupState
from stem_amqp.results.unreadable import SKIPPED
from stem_amqp.states import TaskState
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.publication import Publication

MEMBER: Final = "stem.member"
"""AMQP ``type`` of a message with a member."""
_PREFETCH = 10_000
"""Messages that one reader receives at most: one for each member, and one more for each crash."""


Accepts = Callable[[str, MemberRecord], bool]


async def put(
    transport: Transport, names: Names, group_id: str, reports: Sequence[MemberReport]
) -> None:
    """Publish members, and wait for the broker's confirms.

    Args:
        transport: the broker.
        names: the names on the broker.
        group_id: the group.
        reports: the members.

    Raises:
        ResultUnavailableError: the group's queue no longer exists.
        BrokerError: the broker does not confirm them.
    """
    publications = [
        Publication(
            exchange="",
            routing_key=names.group_values(group_id),
            body=encode(report),
            type=MEMBER,
            correlation_id=report.task_id,
            app_id=names.namespace,
        )
        for report in reports
    ]
    sending = (transport.publish(publication) for publication in publications)
    for outcome in await asyncio.gather(*sending, return_exceptions=True):
        if isinstance(outcome, UnroutableError):
            raise unknown_group(group_id) from outcome
        if outcome is not None:
            raise outcome


async def read(
    transport: Transport,
    names: Names,
    state: GroupState,
    *,
    patience: float,
    accepts: Accepts | None = None,
) -> list[MemberRecord]:
    """Return the members of a group that have ended, by their index.

    The queue has a single active consumer: of several readers each sees all messages, one reader after
    the other. They are requeued afterwards.

    Args:
        transport: the broker.
        names: the names on the broker.
        state: the group's state.
        patience: seconds to wait for each message.
        accepts: returns whether a member of a group is accepted; None accepts all.

    Raises:
        ResultUnavailableError: the group's queue no longer exists.
        BackendUnavailableError: the broker does not answer, or the messages do not come in time.
    """
    if not state.ended:
        return []
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()
    queue = names.group_values(state.group_id)
    try:
        consumer = await transport.consume(
            queue, arrived.put_nowait, prefetch=_PREFETCH, tag=f"stem-amqp.group.{new_id()}"
        )
        try:
            return await _collect(arrived, state, patience, accepts)
        finally:
            await consumer.close()
    except TopologyMissingError as error:
        raise unknown_group(state.group_id) from error
    except BrokerError as error:
        raise BackendUnavailableError(f"the members of group {state.group_id}: {error}") from error


async def _collect(
    arrived: asyncio.Queue[Delivery],
    state: GroupState,
    patience: float,
    accepts: Accepts | None,
) -> list[MemberRecord]:
    found: dict[int, MemberRecord] = {}
    missing = state.ended
    while missing:
        try:
            async with asyncio.timeout(patience):
                delivery = await arrived.get()
        except TimeoutError as error:
            raise BackendUnavailableError(
                f"{missing.bit_count()} members of group {state.group_id} were not received within"
                f" {patience:g} s: other processes read them, or messages were removed."
            ) from error
        try:
            member = decode(delivery.body)
        except UNREADABLE as error:
            SKIPPED.note(delivery.correlation_id, error)
            continue
        bit = 1 << max(member.index, 0)
        succeeded = member.state is TaskState.SUCCEEDED
        # A failure may be followed by the success of a replay, which counts.
        counts = missing & bit and (succeeded or not state.succeeded & bit)
        if counts and (accepts is None or accepts(state.group_id, member)):
            found[member.index] = member
            missing &= ~bit
    return [found[index] for index in sorted(found)]
