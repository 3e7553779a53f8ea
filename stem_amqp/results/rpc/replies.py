"""The reply queue of this process; it is declared when it is first needed."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import socket
from contextlib import AsyncExitStack

from stem_amqp.errors import BackendUnavailableError, BrokerError
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport
from stem_amqp.transport.delivery import OnDelivery

log = logging.getLogger("stem_amqp.results")

_HOST_LIMIT = 60
"""Characters of the host's name in the queue's name, which RabbitMQ limits to 255 bytes."""


class ReplyQueue:
    """An exclusive queue on which this process receives replies.

    Args:
        transport: the broker.
        names: the names on the broker.
        on_delivery: called for each reply.
    """

    def __init__(self, transport: Transport, names: Names, on_delivery: OnDelivery) -> None:
        self._transport = transport
        self._on_delivery = on_delivery
        self._name = names.reply(_process())
        self._address: str | None = None
        self._earlier: set[str] = set()
        self._lock = asyncio.Lock()
        self._resources = AsyncExitStack()

    @property
    def address(self) -> str | None:
        """The queue's name, or None before it is declared."""
        return self._address

    def owns(self, address: str | None) -> bool:
        """Return whether an address is the current or a former name of this queue."""
        return address is not None and (address == self._address or address in self._earlier)

    async def open(self) -> str:
        """Return the queue's name; the first call declares the queue.

        Raises:
            BackendUnavailableError: it cannot be declared now.
        """
        if self._address is not None:
            return self._address
        async with self._lock:
            if self._address is None:
                subscription = self._transport.subscribe(
                    self._name, self._on_delivery, on_renamed=self._on_renamed
                )
                try:
                    self._address = await self._resources.enter_async_context(subscription)
                except BrokerError as error:
                    raise BackendUnavailableError(
                        f"cannot declare the reply queue {self._name}: {error}"
                    ) from error
            return self._address

    def _on_renamed(self, name: str) -> None:
        if self._address is not None:
            self._earlier.add(self._address)
        self._address = name

    async def close(self) -> None:
        """Remove the queue; closing twice is not an error."""
        async with self._lock:
            self._address = None
            try:
                await self._resources.aclose()
            except BrokerError as error:
                # RabbitMQ removes an exclusive queue with its connection.
                log.debug(
                    "reply queue %s could not be deleted, so RabbitMQ deletes it: %s",
                    self._name,
                    error,
                )


def _process() -> str:
    """Return a unique name of this process, in characters that are valid in a queue's name."""
    host = re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname())[:_HOST_LIMIT]
    return f"{host}.{os.getpid()}.{secrets.token_hex(4)}"
