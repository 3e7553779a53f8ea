"""Publishing: the only caller of ``basic.publish``."""

from __future__ import annotations

import asyncio
import itertools
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiormq.exceptions import (
    AMQPChannelError,
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    DeliveryError,
)
from aiormq.exceptions import PublishError as Returned
from pamqp.commands import Basic

from stem_amqp.clock import Clock
from stem_amqp.errors import (
    BrokerError,
    BrokerRefusedError,
    BrokerUnavailableError,
    PublishError,
    PublishRefusedError,
    PublishTimeoutError,
    UnroutableError,
)
from stem_amqp.transport.amqp.connection import Connection
from stem_amqp.transport.amqp.failures import ALARM, cancellations, is_lost, reason
from stem_amqp.transport.amqp.lanes import Lanes
from stem_amqp.transport.base import Headers, Publication

WINDOW = 500
"""Publishes that await their confirm at once; more only grow aiormq's work per confirm."""
PERSISTENT = 2
_FAULTS = 3
"""Channels that one publish may lose to errors that nobody can be blamed for."""
_UNKNOWN = "it may or may not be on the broker"
_TOO_LARGE = re.compile(r"message size (\d+)")


@dataclass(slots=True)
class _Attempt:
    """How far a publish has come."""

    publication: Publication
    properties: Basic.Properties = field(repr=False)
    cancellations: int
    sent: bool = False
    faults: int = 0

    def __str__(self) -> str:
        return (
            f"message to exchange {self.publication.exchange!r}"
            f" with routing key {self.publication.routing_key!r}"
        )


class Publisher:
    """Publishes with confirms, many messages at a time.

    A message whose confirm was lost with its channel is published again within the timeout: the
    broker may have it twice then. Consumers know a task by its id, whereas a caller who got an
    error would enqueue it again under another one.

    Args:
        connection: the publishing connection.
        clock: for the ``timestamp`` property.
        timeout: seconds for a publish as a whole, the wait for a connection included.
    """

    def __init__(self, connection: Connection, clock: Clock, *, timeout: float) -> None:
        self._connection = connection
        self._clock = clock
        self._timeout = timeout
        self._window = asyncio.Semaphore(WINDOW)
        self._lanes = Lanes(connection)
        self._ids = map("{}-{:x}".format, itertools.repeat(uuid.uuid4().hex), itertools.count())

    async def publish(self, publication: Publication) -> None:
        """Publish and wait for the confirm.

        Args:
            publication: the message.

        Raises:
            UnroutableError: no queue took it, or the exchange is not there.
            PublishRefusedError: the broker nacked it, or it is larger than the broker takes.
            PublishTimeoutError: no confirm in time; it may or may not have arrived.
            BrokerUnavailableError: there was no connection in time; it was not sent.
            BrokerRefusedError: the user may not publish to the exchange.
            PublishError: it cannot be written as AMQP.
        """
        attempt = _Attempt(publication, self._properties(publication), cancellations())
        try:
            async with asyncio.timeout(self._timeout), self._window:
                while not await self._try(attempt):  # noqa: ASYNC110 it must not spin
                    await asyncio.sleep(0)
        except TimeoutError:
            raise await self._too_late(attempt) from None
        except BrokerUnavailableError as error:
            if not attempt.sent:
                raise
            raise PublishTimeoutError(f"no confirm for a {attempt}: {error}; {_UNKNOWN}") from error

    async def close(self) -> None:
        """Close the channels; closing twice is no error."""
        await self._lanes.close()

    def _properties(self, publication: Publication) -> Basic.Properties:
        return Basic.Properties(
            content_type=publication.content_type,
            headers=_table(publication.headers),
            delivery_mode=PERSISTENT,
            priority=publication.priority,
            correlation_id=publication.correlation_id,
            reply_to=publication.reply_to,
            message_id=next(self._ids),
            timestamp=datetime.fromtimestamp(self._clock.time(), UTC),
            message_type=publication.type,
            app_id=publication.app_id,
        )

    async def _try(self, attempt: _Attempt) -> bool:
        """Publish once; False when the channel was lost and the outcome is unknown."""
        publication = attempt.publication
        channel = await self._lanes.channel(publication.exchange)
        attempt.sent = True
        try:
            await channel.basic_publish(
                publication.body,
                exchange=publication.exchange,
                routing_key=publication.routing_key,
                properties=attempt.properties,
                mandatory=True,
                # to wait for the socket each time would make every publish wait for the one
                # before; it matters only once the socket's buffer is full
                wait=self._connection.congested,
            )
        except Returned as error:
            raise _unroutable(attempt, str(error.args[0])) from None
        except DeliveryError:
            raise PublishRefusedError(
                f"the broker refused a {attempt}: a queue that it is for is full or unavailable"
            ) from None
        except AMQPChannelError as error:
            problem = _blame(attempt, error)
            if problem is not None:
                raise problem from error
            return False
        except asyncio.CancelledError:
            # aiormq cancels what waits on a connection that ends; that is not our caller
            if cancellations() > attempt.cancellations:
                raise
            return False
        except (TypeError, ValueError) as error:
            raise PublishError(f"a {attempt} cannot be written as AMQP: {error}") from error
        except Exception as error:
            if not is_lost(error):
                raise
            return False
        return True

    async def _too_late(self, attempt: _Attempt) -> BrokerError:
        if not attempt.sent and not self._connection.up:
            return BrokerUnavailableError(
                f"a {attempt} was not sent: no connection to the broker within"
                f" {self._timeout:g} s ({self._connection.trouble})"
            )
        fate = _UNKNOWN if attempt.sent else "it was not sent"
        text = f"no confirm for a {attempt} within {self._timeout:g} s: {fate}"
        if await self._connection.blocked():
            text += ALARM
        return PublishTimeoutError(text)


def _table(headers: Headers) -> dict[str, Any] | None:
    # a header of a foreign message that is no UTF-8 was received as bytes, which pamqp cannot write
    return {
        name: bytearray(value) if isinstance(value, bytes) else value
        for name, value in headers.items()
    } or None


def _unroutable(attempt: _Attempt, text: str) -> UnroutableError:
    if attempt.publication.exchange:
        return UnroutableError(
            f"no queue took a {attempt}: {text}\n"
            "  No binding matches it; run `stem-amqp topology apply`"
        )
    return UnroutableError(f"no queue took a {attempt}: there is no queue of that name")


def _blame(attempt: _Attempt, error: AMQPChannelError) -> BrokerError | None:
    """Return the error of this publish, or None if another one made the broker close the channel.

    The channel is shared, and the broker's text names only what it objects to.
    """
    text = reason(error)
    publication = attempt.publication
    concerned = f"'{publication.exchange}'" in text
    if isinstance(error, ChannelNotFoundEntity):
        return (
            None
            if not concerned
            else UnroutableError(
                f"no exchange for a {attempt}: {text}\n  Run `stem-amqp topology apply`"
            )
        )
    if isinstance(error, ChannelAccessRefused):
        if "topic '" in text:
            concerned = concerned and f"topic '{publication.routing_key}'" in text
        return (
            None
            if not concerned
            else BrokerRefusedError(
                f"the user may not publish a {attempt}: {text}\n"
                "  Give it the write permission: rabbitmqctl set_permissions"
            )
        )
    too_large = _TOO_LARGE.search(text)
    if too_large is not None:
        concerned = len(publication.body) == int(too_large[1])
        return PublishRefusedError(f"the broker refused a {attempt}: {text}") if concerned else None
    attempt.faults += 1
    if attempt.faults < _FAULTS:
        return None
    return PublishRefusedError(f"the broker closed the channel of a {attempt}: {text}")
