"""What the measurements ask of the broker itself, beside the contenders."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiormq

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from aiormq.abc import AbstractChannel
from pamqp.common import FieldValue

QUORUM: dict[str, FieldValue] = {"x-queue-type": "quorum"}


class NotDurableError(Exception):
    """A contender's message or queue is not as durable as the comparison demands."""


@asynccontextmanager
async def channel(url: str) -> AsyncIterator[AbstractChannel]:
    """Open a connection with one channel for a block."""
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


async def delete(url: str, *, queues: Iterable[str], exchanges: Iterable[str] = ()) -> None:
    """Delete; deleting a missing queue is no error."""
    async with channel(url) as opened:
        for queue in queues:
            await opened.queue_delete(queue)
        for exchange in exchanges:
            await opened.exchange_delete(exchange)


async def depth(url: str, queue: str) -> int:
    """Return how many messages a queue has ready."""
    async with channel(url) as opened:
        return (await opened.queue_declare(queue, passive=True)).message_count or 0


async def audit(url: str, queue: str) -> None:
    """Look at a contender's first message: persistent, in a quorum queue?

    Only a quorum queue counts deliveries, so a message that was requeued once shows its type.

    Raises:
        NotDurableError: one of both is not so.
    """
    async with channel(url) as opened:
        first = await opened.basic_get(queue)
        if first.header is None or first.header.properties.delivery_mode != 2:
            raise NotDurableError(f"{queue}: the messages are not persistent")
        await opened.basic_nack(first.delivery_tag, requeue=True)
        again = await opened.basic_get(queue)
        headers = again.header.properties.headers if again.header else None
        if "x-delivery-count" not in (headers or {}):
            raise NotDurableError(f"{queue} is no quorum queue")
        await opened.basic_nack(again.delivery_tag, requeue=True)


async def has_exchange(url: str, name: str) -> bool:
    """Say whether an exchange exists."""
    async with channel(url) as opened:
        try:
            await opened.exchange_declare(name, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            return False
        return True
