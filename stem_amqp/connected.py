"""The open connections of an application."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from stem_amqp.blueprint import Blueprint
from stem_amqp.directives.issue import Desk
from stem_amqp.observability.events import EventsExporter
from stem_amqp.producer.producer import Producer
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.writer import ResultWriter
from stem_amqp.signing.seal import Seal
from stem_amqp.transport.base import BrokerInfo, Transport


@dataclass(frozen=True, kw_only=True, slots=True)
class Connected:
    """The open connections of an application.

    Args:
        transport: the broker.
        broker: the broker's product, version and features.
        backend: the result backend.
        writer: its batching writer.
        producer: enqueues.
        seal: signs and encrypts messages; None without keys.
        events: publishes lifecycle events; None if they are off.
        ending: set when the connections are about to close.
        turn: is held while this process changes the stored directives.
    """

    transport: Transport
    broker: BrokerInfo
    backend: ResultBackend
    writer: ResultWriter
    producer: Producer
    seal: Seal | None = None
    events: EventsExporter | None = None
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def desk(self, blueprint: Blueprint) -> Desk:
        """Return what stores and reads the directives of an application.

        Args:
            blueprint: the application.
        """
        return Desk(
            blueprint.settings,
            self.transport,
            blueprint.names,
            self.backend,
            self.seal,
            turn=self.turn,
        )

    async def close(self) -> None:
        """Close everything, the broker last."""
        self.ending.set()
        if self.events is not None:
            await self.events.close()
        try:
            await self.writer.close()
            await self.backend.close()
        finally:
            await self.transport.close()


class StandIn(Protocol):
    """Connections that replace those of an application in tests; see `stem_amqp.testing`."""

    @property
    def connected(self) -> Connected:
        """The connections, open at any time."""
        ...

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop in which they can be used from another thread."""
        ...
