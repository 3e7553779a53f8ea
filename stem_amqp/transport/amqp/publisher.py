"""Publishing: from a publication to a confirm, or to an error that says what to do."""

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
from stem_amqp.message import REPEATED
from stem_amqp.transport.amqp.confirms import Confirms, NackedError, ReturnedError
from stem_amqp.transport.amqp.connection import Connection
from stem_amqp.transport.amqp.failures import ALARM, LOST, reason
from stem_amqp.transport.amqp.lanes import Lanes
from stem_amqp.transport.base import Publication

WINDOW = 500
"""Publishes that await their confirm at once, so that memory and what a lost connection makes
uncertain are bounded."""
_FAULTS = 3
"""Channels that one publish may lose to errors that nobody can be blamed for."""
_UNKNOWN = "it may or may not be on the broker"
_TOO_LARGE = re.compile(r"message size (\d+)")


@dataclass(slots=True)
class _Attempt:
    """How far a publish has come."""

    publication: Publication
    message_id: str
    deadline: float
    sent: bool = False
    faults: int = 0

    def mark_repeated(self) -> None:
        """Say on the message that it may be there already, so that a worker looks before it runs."""
        headers = {**self.publication.headers, REPEATED: True}
        self.publication = replace(self.publication, headers=headers)

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
            UnwritableError: it cannot be written as AMQP.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout
        attempt = _Attempt(publication, message_id=next(self._ids), deadline=deadline)
        try:
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

    async def _try(self, attempt: _Attempt) -> bool:
        """Publish once; False when the channel was lost and the outcome is unknown."""
        if self._window.locked():
            async with asyncio.timeout_at(attempt.deadline):
                await self._window.acquire()
        else:
            await self._window.acquire()
        confirms = None
        try:
            confirms = self._lanes.ready(attempt.publication.exchange)
            if confirms is None or self._connection.congested:
                async with asyncio.timeout_at(attempt.deadline):
                    confirms = await self._admitted(attempt.publication.exchange)
            await self._publish(confirms, attempt)
        except ReturnedError as error:
            raise _unroutable(attempt, str(error)) from None
        except NackedError:
            self._lanes.renew(attempt.publication.exchange, confirms)
            raise PublishRefusedError(
                f"the broker refused a {attempt}: a queue that it is for is full or unavailable"
            ) from None
        except AMQPChannelError as error:
            problem = _blame(attempt, error)
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
        """Wait for a channel, and for the broker to read what was written before."""
        confirms = await self._lanes.open(exchange)
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
        fate = _UNKNOWN if attempt.sent else "it was not sent"
        text = f"no confirm for a {attempt} within {self._timeout:g} s: {fate}"
        if await self._connection.blocked():
            text += ALARM
        return PublishTimeoutError(text)


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
    # Permissions know the default exchange by a name that it has nowhere else
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
