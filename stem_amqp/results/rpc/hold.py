"""Exclusive access to the state of a group, across machines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stem_amqp.errors import (
    BackendUnavailableError,
    BrokerError,
    StaleDeliveryError,
    TopologyMissingError,
    UnroutableError,
)
from stem_amqp.messages.message import new_id
from stem_amqp.results.groups.checks import unknown_group
from stem_amqp.results.rpc.token import (
    GROUP,
    REPLACED_LIMIT,
    GroupState,
    decode,
    new_number,
)
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport
from stem_amqp.transport.delivery import Delivery
from stem_amqp.transport.publication import Publication

log = logging.getLogger("stem_amqp.results")

_PREFETCH = 1000
"""Tokens that one holder receives at most: normally one, and one more for each crash."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Token:
    """A message with the group's state.

    Args:
        delivery: the message.
        numbers: its own number, and then those of the tokens that it replaces, the latest first.
    """

    delivery: Delivery
    numbers: tuple[str, ...]


class GroupHold:
    """A group's tokens, while this process is the queue's single active consumer.

    RabbitMQ delivers the messages of such a queue to one consumer while the others queue up, so two
    holders never work on different tokens. `update` detects a holder that was disconnected without
    noticing: it waits until its own token, or one that replaced it, is delivered. Only the active
    consumer receives that, after everything that was in the queue before.

    Args:
        transport: the broker.
        names: the names on the broker.
        group_id: the group.
        arrived: the deliveries.
        patience: seconds to wait for a delivery.
    """

    def __init__(
        self,
        transport: Transport,
        names: Names,
        group_id: str,
        arrived: asyncio.Queue[Delivery],
        patience: float,
    ) -> None:
        self._transport = transport
        self._names = names
        self._group_id = group_id
        self._arrived = arrived
        self._patience = patience
        self._held: list[_Token] = []
        self._state: GroupState | None = None

    async def state(self) -> GroupState:
        """Wait for the turn, and return the state from the tokens that have arrived.

        Raises:
            BackendUnavailableError: the turn did not come in time, or the queue is empty.
        """
        while self._state is None:
            await self._take()
        return self._state

    async def update(self, change: Callable[[GroupState], GroupState]) -> GroupState:
        """Change the state.

        Args:
            change: returns the new state; it must be idempotent.

        Returns:
            The new state, with everything that was in the queue before it.

        Raises:
            BackendUnavailableError: the state may not be changed; repeating is safe.
            ResultUnavailableError: the group's queue no longer exists.
        """
        state = change(await self.state())
        while True:
            current = await self._write(state)
            newest = change(await self.state())
            if newest == state and self._known_numbers().issubset(current.numbers):
                break
            state = newest
        # Newest first: if the connection is lost meanwhile, the tokens that stay are not older
        # than those that are acknowledged.
        for token in reversed(self._held):
            if token is not current:
                await _settle(token.delivery)
        self._held = [current]
        return state

    async def _write(self, state: GroupState) -> _Token:
        """Publish a token, wait until it is delivered, and return the delivered token."""
        number = new_number()
        publication = Publication(
            exchange="",
            routing_key=self._names.group(self._group_id),
            body=state.encode(number, self._replaced()),
            type=GROUP,
            app_id=self._names.namespace,
        )
        try:
            await self._transport.publish(publication)
        except UnroutableError as error:
            raise unknown_group(self._group_id) from error
        while True:
            token = await self._take()
            if number in token.numbers:
                return token

    def _known_numbers(self) -> set[str]:
        """Return the numbers of the tokens held, as many as one token stores."""
        return {token.numbers[0] for token in self._held[-REPLACED_LIMIT:]}

    def _replaced(self) -> list[str]:
        """Return the tokens that the next one replaces: those held, and then those that they replace."""
        latest = list(reversed(self._held))
        held = [token.numbers[0] for token in latest]
        earlier = [number for token in latest for number in token.numbers[1:]]
        return list(dict.fromkeys(held + earlier))

    async def _take(self) -> _Token:
        """Wait for the next token."""
        try:
            async with asyncio.timeout(self._patience):
                delivery = await self._arrived.get()
        except TimeoutError as error:
            raise BackendUnavailableError(
                f"the state of group {self._group_id} was not received within {self._patience:g} s:"
                f" other processes use it, or queue {self._names.group(self._group_id)} is empty.\n"
                "  It is tried again; delete the queue if it stays empty."
            ) from error
        number, replaced, state = decode(delivery.body)
        self._state = state if self._state is None else self._state.united(state)
        token = _Token(delivery=delivery, numbers=(number, *replaced))
        self._held.append(token)
        return token


@asynccontextmanager
async def hold(
    transport: Transport, names: Names, group_id: str, *, patience: float
) -> AsyncIterator[GroupHold]:
    """Hold a group's state for the length of a block, after waiting for the turn.

    Args:
        transport: the broker.
        names: the names on the broker.
        group_id: the group.
        patience: seconds to wait for the turn.

    Raises:
        ResultUnavailableError: there is no such group (any more).
        BackendUnavailableError: the broker does not answer, or the turn does not come in time.
    """
    queue = names.group(group_id)
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()
    try:
        consumer = await transport.consume(
            queue, arrived.put_nowait, prefetch=_PREFETCH, tag=f"stem-amqp.group.{new_id()}"
        )
        try:
            yield GroupHold(transport, names, group_id, arrived, patience)
        finally:
            await consumer.close()
    except TopologyMissingError as error:
        raise unknown_group(group_id) from error
    except BrokerError as error:
        raise BackendUnavailableError(f"the state of group {group_id}: {error}") from error


async def _settle(delivery: Delivery) -> None:
    try:
        await delivery.ack()
    except StaleDeliveryError as error:
        # It is delivered again; the new token contains everything that it holds.
        log.debug("a group's old token will be delivered again: %s", error)
