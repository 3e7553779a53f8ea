"""Holding the state of a group: one at a time, on any number of machines."""

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
from stem_amqp.message import new_id
from stem_amqp.results.groups import unknown_group
from stem_amqp.results.rpc_token import (
    GROUP,
    REPLACED_LIMIT,
    GroupState,
    decode,
    new_number,
)
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Delivery, Publication, Transport

log = logging.getLogger("stem_amqp.results")

_PREFETCH = 1000
"""Tokens that one holder can take: normally there is one, and one more for each crash."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Token:
    """A message with the group's state.

    Args:
        delivery: the message.
        numbers: its own number, and then those of tokens that it stands for, the latest first.
    """

    delivery: Delivery
    numbers: tuple[str, ...]


class GroupHold:
    """A group's tokens, while this process is the queue's single active consumer.

    RabbitMQ gives every message of such a queue to one consumer and lets the others wait in line,
    so two holders never work on different tokens. A holder that was cut off and does not know it
    is found out by `update`: it waits for its own token to come back, or one that has replaced it.
    Only the active consumer gets that, and after everything that was in the queue before.

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
        """Wait for the turn, and return the state as far as it has arrived.

        Raises:
            BackendUnavailableError: the turn did not come, or the queue is empty.
        """
        while self._state is None:
            await self._take()
        return self._state

    async def update(self, change: Callable[[GroupState], GroupState]) -> GroupState:
        """Change the state.

        Args:
            change: returns the new state; applying it twice must be the same as once.

        Returns:
            The new state, with everything that was in the queue before it.

        Raises:
            BackendUnavailableError: it is not known to be changed; repeating is safe.
            ResultUnavailableError: the group's queue is gone.
        """
        state = change(await self.state())
        while True:
            current = await self._write(state)
            newest = change(await self.state())
            if newest == state and self._known_numbers().issubset(current.numbers):
                break
            state = newest
        # Newest first: should the rest be lost with the connection, what stays is not older
        # than what is gone.
        for token in reversed(self._held):
            if token is not current:
                await _settle(token.delivery)
        self._held = [current]
        return state

    async def _write(self, state: GroupState) -> _Token:
        """Publish a token, wait until it comes back, and return what it came back as."""
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
        """Return the numbers of the tokens held: as many as one token remembers."""
        return {token.numbers[0] for token in self._held[-REPLACED_LIMIT:]}

    def _replaced(self) -> list[str]:
        """Return what the next token stands for: what is held, and then what that stands for."""
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
                f"the state of group {self._group_id} did not come within {self._patience:g} s:"
                f" others are using it, or queue {self._names.group(self._group_id)} is empty.\n"
                "  It is tried again; if the queue stays empty, delete it."
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
    """Get in line for a group's state; it goes to the next in line at the end of the block.

    Args:
        transport: the broker.
        names: the names on the broker.
        group_id: the group.
        patience: seconds to wait for the turn.

    Raises:
        ResultUnavailableError: there is no such group (any more).
        BackendUnavailableError: the broker is not there, or the turn does not come.
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
        # It comes back, and holds nothing that is not in the new token too.
        log.debug("a group's old token comes back: %s", error)
