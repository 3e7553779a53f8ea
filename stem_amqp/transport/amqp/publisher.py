"""Publish messages and wait for their confirms; errors say what to do."""

from __future__ import annotations

import asyncio
import itertools
import re
import struct
import uuid
from dataclasses import dataclass, replace

from aiormq.exceptions import AMQPChannelError, ChannelAccessRefused, ChannelNotFoundEntity

from stem_amqp.clock import Clock
from stem_amqp.errors import (
    BrokerError,
    BrokerRefusedError,
    BrokerUnavailableError,
    PublishRefusedError,
    PublishTimeoutError,
    UnroutableError,
    UnwritableError,
)
from stem_amqp.messages.message import REPEATED
from stem_amqp.transport.amqp.confirms import Confirms, NackedError, ReturnedError
from stem_amqp.transport.amqp.connection import SupervisedConnection
from stem_amqp.transport.amqp.failures import ALARM, BUSY, LOST, reason
from stem_amqp.transport.amqp.publishing_channels import PublishingChannels
from stem_amqp.transport.publication import Publication

WINDOW = 500
"""The most unconfirmed publishes, which bounds memory and the number of uncertain outcomes after a lost
connection."""
_FAULTS = 3
"""The most channels that a publish may lose to errors of unknown cause."""
_UNKNOWN = "it may or may not be on the broker"
_TOO_LARGE = re.compile(r"message size (\d+)")


@dataclass(slots=True)
class _Attempt:
    """The state of a publish."""

    publication: Publication
    message_id: str
    deadline: float
    sent: bool = False
    faults: int = 0
    repeats: int = 0

    def mark_repeated(self) -> None:
        """Mark the message as possibly published before, so that a worker checks for duplicates.

        The number distinguishes the copies, which have the same ``message_id``.
        """
        self.repeats += 1
        headers = {**self.publication.headers, REPEATED: self.repeats}
        self.publication = replace(self.publication, headers=headers)

    def __str__(self) -> str:
        return (
            f"message to exchange {self.publication.exchange!r}"
            f" with routing key {self.publication.routing_key!r}"
        )


class Publisher:
    """Publishes with confirms, many messages concurrently.

    A message whose confirm was lost with its channel is published again within the timeout, so that the
    broker may have it twice. Consumers recognize a task by its id, whereas a caller that gets an error
    would enqueue it again with another id.

    Args:
        connection: the publishing connection.
        clock: for the ``timestamp`` property.
        timeout: seconds for a whole publish, including the wait for a connection.
    """

    def __init__(self, connection: SupervisedConnection, clock: Clock, *, timeout: float) -> None:
        self._connection = connection
        self._clock = clock
        self._timeout = timeout
        self._window = asyncio.Semaphore(WINDOW)
        self._channels = PublishingChannels(connection)
        self._ids = map("{}-{:x}".format, itertools.repeat(uuid.uuid4().hex), itertools.count())

    async def publish(self, publication: Publication, deadline: float) -> None:
        """Publish and wait for the confirm.

        Args:
            publication: the message.
            deadline: its deadline on the event loop's clock.

        Raises:
            UnroutableError: it matches no queue, or the exchange does not exist.
            PublishRefusedError: the broker nacked it, or it exceeds the broker's size limit.
            PublishTimeoutError: no confirm in time; it may or may not have arrived.
            BrokerUnavailableError: no connection in time; it was not sent.
            BrokerRefusedError: the user may not publish to the exchange.
            UnwritableError: it cannot be encoded as AMQP.
        """
        attempt = _Attempt(publication, message_id=next(self._ids), deadline=deadline)
        try:
            while not await self._try(attempt):  # noqa: ASYNC110 avoids a busy loop
                await asyncio.sleep(0)
        except TimeoutError:
            raise await self._too_late(attempt) from None
        except BrokerUnavailableError as error:
            if not attempt.sent:
                raise
            raise PublishTimeoutError(f"no confirm for a {attempt}: {error}; {_UNKNOWN}") from error

    async def close(self) -> None:
        """Close the channels; a second call does nothing."""
        await self._channels.close()

    async def _try(self, attempt: _Attempt) -> bool:
        """Publish once; return False if the channel was lost and the outcome is unknown."""
        if self._window.locked():
            async with asyncio.timeout_at(attempt.deadline):
                await self._window.acquire()
        else:
            await self._window.acquire()
        confirms = None
        try:
            confirms = self._channels.ready(attempt.publication.exchange)
            if confirms is None or self._connection.congested:
                async with asyncio.timeout_at(attempt.deadline):
                    confirms = await self._admitted(attempt.publication.exchange)
            await self._publish(confirms, attempt)
        except ReturnedError as error:
            raise _unroutable(attempt, str(error)) from None
        except NackedError:
            self._channels.renew(attempt.publication.exchange, confirms)
            raise PublishRefusedError(
                f"the broker refused a {attempt}: a destination queue is full or unavailable"
            ) from None
        except AMQPChannelError as error:
            problem = _error_of_channel(attempt, error)
            if problem is not None:
                raise problem from error
            attempt.mark_repeated()
            return False
        except LOST as error:
            if isinstance(error, TimeoutError):
                raise
            if attempt.sent:
                attempt.mark_repeated()
            return False
        finally:
            self._window.release()
        return True

    async def _admitted(self, exchange: str) -> Confirms:
        """Wait for a channel and for room in the write buffer."""
        confirms = await self._channels.open(exchange)
        if self._connection.congested:
            await self._connection.drained()
        return confirms

    def _publish(self, confirms: Confirms, attempt: _Attempt) -> asyncio.Future[None]:
        try:
            confirmed = confirms.publish(
                attempt.publication,
                message_id=attempt.message_id,
                timestamp=self._clock.time(),
                deadline=attempt.deadline,
            )
        except (TypeError, ValueError, ArithmeticError, struct.error) as error:
            raise UnwritableError(f"a {attempt} cannot be written as AMQP: {error}") from error
        attempt.sent = True
        return confirmed

    async def _too_late(self, attempt: _Attempt) -> BrokerError:
        if not attempt.sent and not self._connection.up:
            return BrokerUnavailableError(
                f"a {attempt} was not sent: no connection to the broker within"
                f" {self._timeout:g} s ({self._connection.trouble})"
            )
        known = _UNKNOWN if attempt.sent else "it was not sent"
        text = f"no confirm for a {attempt} within {self._timeout:g} s: {known}"
        text += ALARM if await self._connection.blocked() else BUSY
        return PublishTimeoutError(text)


def _unroutable(attempt: _Attempt, text: str) -> UnroutableError:
    if attempt.publication.exchange:
        return UnroutableError(
            f"no queue accepted a {attempt}: {text}\n"
            "  No binding matches it; run `stem-amqp topology apply`"
        )
    return UnroutableError(f"no queue accepted a {attempt}: there is no queue of that name")


def _error_of_channel(attempt: _Attempt, error: AMQPChannelError) -> BrokerError | None:
    """Return the error of this publish, or None if another publish caused the close of the channel.

    Publishes share the channel, and the broker's text names only the cause.
    """
    text = reason(error)
    publication = attempt.publication
    # Only in permissions the default exchange has this name
    concerned = f"'{publication.exchange or 'amq.default'}'" in text
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
