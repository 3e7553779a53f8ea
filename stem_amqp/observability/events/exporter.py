"""Publishes lifecycle events of this process while a listener has announced itself."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, assert_never

import orjson
from typing_extensions import override

from stem_amqp.cancellation import end
from stem_amqp.errors import BrokerError, UnwritableError
from stem_amqp.observability.exporter import Exporter
from stem_amqp.observability.keys import event_key
from stem_amqp.observability.reported import Delivered, End, Publishing
from stem_amqp.observability.telemetry import Telemetry
from stem_amqp.outcome import (
    Dead,
    Failure,
    Held,
    Outcome,
    Postponed,
    Repeated,
    Retried,
    Returned,
    Revoked,
    Snoozed,
    Succeeded,
)
from stem_amqp.results.base import Progress
from stem_amqp.states import Reason
from stem_amqp.text import without_secrets
from stem_amqp.topology.names import Names
from stem_amqp.transport.base import Transport
from stem_amqp.transport.publication import Publication

log = logging.getLogger("stem_amqp.observability")

AGAIN = 30.0
"""Seconds until a process without a worker tries again to learn of listeners."""
LONGEST_LEASE = 300.0
"""The most seconds for which one announcement of a listener is valid."""
TEXT = 300
"""The most characters of an error, a reason or a message."""
UNKNOWN = "-"
"""Stands for the name of a task that is not known, in a routing key."""


class EventsExporter(Exporter):
    """Publishes events to the events exchange: transient, without waiting, at a limited rate.

    It is an exporter of the application only while a listener's lease lasts, so that it costs nothing
    otherwise. Events of the worker itself, which are few, are always published.

    Args:
        telemetry: the application's exporters.
        transport: the broker.
        names: the names on the broker.
        rate: the most events per second.
    """

    def __init__(
        self, telemetry: Telemetry, transport: Transport, names: Names, *, rate: int
    ) -> None:
        self._telemetry = telemetry
        self._transport = transport
        self._names = names
        self._rate = rate
        self._process = f"{socket.gethostname()}:{os.getpid()}"
        self._workers: set[str] = set()
        self._lease_ends = 0.0
        self._following: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._second, self._sent, self._dropped = 0, 0, 0

    @property
    def listened(self) -> bool:
        """Whether there is a listener."""
        return self._timer is not None

    def listen(self, seconds: float) -> None:
        """Publish events for a time, because a listener has announced itself.

        Args:
            seconds: how long; a longer time that was given before stays valid.
        """
        loop = asyncio.get_running_loop()
        self._lease_ends = max(self._lease_ends, loop.time() + min(seconds, LONGEST_LEASE))
        if self._timer is None:
            self._telemetry.add(self)
            self._timer = loop.call_at(self._lease_ends, self._end_lease)

    def follow(self, subscribe: Callable[[], AbstractAsyncContextManager[str]]) -> None:
        """Learn of listeners in a process without a worker, in the background.

        Args:
            subscribe: consumes the commands of the control exchange for a block, and calls `listen`.
        """
        self._following = asyncio.create_task(self._follow(subscribe), name="stem-amqp listeners")

    async def _follow(self, subscribe: Callable[[], AbstractAsyncContextManager[str]]) -> None:
        while True:
            try:
                async with subscribe():
                    await asyncio.Event().wait()
            except BrokerError as error:
                log.warning("this process publishes no events: %s", error)
            await asyncio.sleep(AGAIN)

    async def close(self) -> None:
        """Publish no more events."""
        self._detach()
        await end(self._following)

    def _detach(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._telemetry.remove(self)

    def _end_lease(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._lease_ends:
            self._timer = loop.call_at(self._lease_ends, self._end_lease)
            return
        self._detach()

    def worker(self, event: str, name: str, **fields: Any) -> None:
        """Publish an event of a worker.

        Args:
            event: such as ``worker-started``.
            name: the worker's name.
            **fields: the event's other fields.
        """
        if event == "worker-started":
            self._workers.add(name)
        elif event == "worker-stopped":
            self._workers.discard(name)
        self._send(event_key(event, name), {"event": event, "worker": name, **fields})

    @override
    def publishing(self, publishing: Publishing) -> End | None:
        def end(error: BaseException | None) -> None:
            message = publishing.message
            if error is None and message is not None:
                self._publish("published", publishing.queue, message.task, message.id, 0)

        return end

    @override
    def received(self, delivered: Delivered) -> None:
        task, task_id = delivered.type or UNKNOWN, delivered.correlation_id
        self._publish("received", delivered.queue, task, task_id, delivered.attempt)

    @override
    def started(self, delivered: Delivered) -> None:
        self._note("started", delivered)

    @override
    def progressed(self, delivered: Delivered, progress: Progress) -> None:
        self._note(
            "progress", delivered, fraction=progress.fraction, message=_cut(progress.message)
        )

    @override
    def settled(self, delivered: Delivered, outcome: Outcome, at: float) -> None:
        match outcome:
            case Succeeded():
                self._note("succeeded", delivered, duration=round(outcome.duration, 6))
            case Retried():
                self._note(
                    "retried", delivered, delay=outcome.delay, **_failure_fields(outcome.failure)
                )
            case Snoozed():
                self._note("snoozed", delivered, delay=outcome.delay, reason=_cut(outcome.reason))
            case Dead():
                fields = {"reason": outcome.reason.value, **_failure_fields(outcome.failure)}
                expired = outcome.reason is Reason.EXPIRED
                self._note("expired" if expired else "failed", delivered, **fields)
                self._note("dead-lettered", delivered, **fields)
            case Revoked():
                self._note("revoked", delivered, reason=_cut(outcome.reason))
            case Postponed() | Held() | Repeated() | Returned():
                pass
            case _:
                assert_never(outcome)

    def _note(self, event: str, delivered: Delivered, **fields: Any) -> None:
        message = delivered.message
        if message is None:
            task, task_id = delivered.type or UNKNOWN, delivered.correlation_id
        else:
            task, task_id = message.task, message.id
        self._publish(event, delivered.queue, task, task_id, delivered.attempt, **fields)

    def _publish(
        self, event: str, queue: str, task: str, task_id: str | None, attempt: int, **fields: Any
    ) -> None:
        self._send(
            event_key(event, queue, task),
            {
                "event": event,
                "worker": self._name,
                "task": task,
                "id": task_id,
                "queue": queue,
                "attempt": attempt,
                **fields,
            },
        )

    @property
    def _name(self) -> str:
        """The name of the worker in this process; of several or none, the process."""
        return next(iter(self._workers)) if len(self._workers) == 1 else self._process

    def _send(self, key: str, fields: dict[str, Any]) -> None:
        if not self._allowed():
            self._dropped += 1
            return
        fields["at"] = self._transport.clock.time()
        if self._dropped:
            fields["dropped"] = self._dropped
        publication = Publication(
            exchange=self._names.events,
            routing_key=key,
            body=orjson.dumps(fields),
            type=fields["event"],
            app_id=self._names.namespace,
        )
        try:
            sent = self._transport.send(publication)
        except UnwritableError:  # the name of a task that is not ours
            sent = False
        self._dropped = 0 if sent else self._dropped + 1

    def _allowed(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._sent = second, 0
        self._sent += 1
        return self._sent <= self._rate


def _failure_fields(failure: Failure) -> dict[str, str | None]:
    error = failure.exception
    kind = failure.error.partition(":")[0] if error is None else type(error).__name__
    return {"error": _cut(without_secrets(failure.error)), "exception": _cut(kind)}


def _cut(text: str | None) -> str | None:
    return None if text is None else text[:TEXT]
