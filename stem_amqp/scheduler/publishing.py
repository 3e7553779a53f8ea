"""Publish ticks, and withdraw those that must not run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from stem_amqp.blueprint import Blueprint
from stem_amqp.connected import Connected
from stem_amqp.directives.revocation import of_id
from stem_amqp.errors import (
    BackendUnavailableError,
    BrokerUnavailableError,
    ConfigurationError,
    PublishTimeoutError,
    StemError,
)
from stem_amqp.scheduler.enqueue import call_of
from stem_amqp.scheduler.routable import Routable
from stem_amqp.scheduler.state import Published
from stem_amqp.schedules import Schedule
from stem_amqp.text import count

log = logging.getLogger("stem_amqp.scheduler")

OUTAGES = (BrokerUnavailableError, PublishTimeoutError, BackendUnavailableError)
"""Errors that concern all schedules."""
WITHDRAWN = 86_400.0
"""Seconds for which a withdrawn tick is revoked: its message may wait in its queue."""


class TickPublisher:
    """Publishes the ticks of a term.

    Args:
        blueprint: the application.
        connected: its connections.
    """

    def __init__(self, blueprint: Blueprint, connected: Connected) -> None:
        self._blueprint = blueprint
        self._connected = connected
        self._window = asyncio.Semaphore(blueprint.settings.publish_window)
        self._routable = Routable(blueprint.names, connected)
        self._failing: dict[str, str] = {}
        self._unpublished: set[str] = set()
        self._outage: StemError | None = None

    async def publish(self, schedule: Schedule, ticks: Sequence[Published]) -> int:
        """Publish ticks of a schedule in order; return how many the broker has confirmed before one failed."""
        self.forget(schedule.name)
        for done, tick in enumerate(ticks):
            try:
                await self._publish(schedule, tick)
            except OUTAGES as error:
                self._outage = error
                return done
            except (StemError, ValueError) as error:
                self.fail(schedule.name, str(error))
                return done
        if ticks:
            self._failing.pop(schedule.name, None)
        return len(ticks)

    async def _publish(self, schedule: Schedule, tick: Published) -> None:
        call = call_of(self._blueprint, schedule, tick)
        async with self._window:
            await self._routable.check(call)
            await self._connected.producer.enqueue(call)
        log.debug("published %s", tick.id)

    def fail(self, name: str, why: str) -> None:
        """Log why a schedule cannot be published, once for each reason."""
        if self._failing.get(name) != why:
            log.error("schedule %s: a tick was not published, and is tried again: %s", name, why)
        self._failing[name] = why
        self._unpublished.add(name)

    def forget(self, name: str) -> None:
        """Count a schedule no longer among those that cannot be published: it is gone, or tried again.

        Args:
            name: the schedule's name.
        """
        self._unpublished.discard(name)

    @property
    def failing(self) -> Mapping[str, str]:
        """The schedules whose last tick could not be published, and why."""
        return {name: self._failing[name] for name in sorted(self._unpublished)}

    def check(self) -> None:
        """Raise the error of an outage during the last publishes, if there was one.

        Raises:
            StemError: the broker or the backend does not answer.
        """
        error, self._outage = self._outage, None
        if error is not None:
            raise error

    async def withdraw(self, ids: Sequence[str], reason: str) -> None:
        """Revoke published ticks; if no more revocations can be stored, that is logged.

        Args:
            ids: the ids of their tasks.
            reason: why, for logs and states.

        Raises:
            StemError: the broker or the backend does not answer.
        """
        if not ids:
            return
        await withdraw(self._blueprint, self._connected, ids, reason)


async def withdraw(
    blueprint: Blueprint, connected: Connected, ids: Sequence[str], reason: str
) -> None:
    """Revoke published ticks; see `TickPublisher.withdraw`.

    Args:
        blueprint: the application.
        connected: its connections.
        ids: the ids of their tasks.
        reason: why, for logs and states.
    """
    clock = connected.transport.clock
    orders = [of_id(name, clock, WITHDRAWN, reason=reason) for name in ids]
    try:
        await connected.desk(blueprint).issue_many(orders)
    except ConfigurationError as error:
        log.error("published ticks run although they should not: %s", error)  # noqa: TRY400
        return
    log.info("withdrew %s: %s", count(len(ids), "published tick"), reason)
