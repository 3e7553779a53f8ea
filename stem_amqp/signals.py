"""Lifecycle signals: one table of events, each of which can be switched on and off.

A listener is a plain or async function of one argument, the event. Listeners run one after the
other. What a listener raises is logged and goes no further: it never touches the task.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from stem_amqp.errors import ConfigurationError

log = logging.getLogger("stem_amqp.signals")

LISTENER_TIMEOUT = 5.0
"""Seconds after which an async listener is given up, so that it cannot hold the task."""

TABLE: dict[str, str] = {
    "before-task-publish": "A task message is about to be published by a producer.",
    "after-task-publish": "The broker has confirmed a task message.",
    "task-received": "A worker has taken a message from its queue.",
    "task-started": "A run begins.",
    "task-retried": "A run failed; the next one is confirmed. Fields: error, delay, next_run.",
    "task-succeeded": "A run returned, and its result is stored. Fields: result, duration.",
    "task-failed": "The task failed for good. Fields: error, reason.",
    "task-dead-lettered": "The message is in the dead-letter queue. Fields: reason, error.",
    "task-dead-letter-refused": "The dead-letter queue is full; the worker holds the message and"
    " tries again. Fields: reason, error.",
    "task-settle-refused": "The broker refuses what is to follow a run; the message was rejected, as"
    " it is, to the dead-letter queue. Fields: error.",
    "task-reply-given-up": "The broker refuses the reply to the producer; the task goes on without."
    " Fields: state, error.",
    "task-revoked": "The task was revoked. Fields: reason.",
    "task-expired": "The task expired before it was started.",
    "task-snoozed": "The task runs later, no attempt spent. Fields: delay, next_run, reason.",
    "task-progress": "The task reported progress. Fields: fraction, message, data.",
    "worker-init": "A worker starts, before it connects.",
    "worker-ready": "The worker consumes from all its queues.",
    "worker-heartbeat": "The worker is alive. Fields: running, done.",
    "worker-stopping": "The worker takes no more work. Fields: reason.",
    "worker-stopped": "The worker has settled everything and closed its connections.",
    "worker-connection-lost": "A connection to the broker broke. Fields: error.",
    "worker-connection-restored": "The connection is back and consuming. Fields: downtime.",
}
"""Name and meaning of every signal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What a listener gets.

    Args:
        signal: the signal's name, such as ``task-succeeded``.
        at: seconds since the epoch.
        task: the task's name; None for worker signals, as are the next four.
        id: the task's id.
        queue: the logical queue.
        attempt: 0 for the first run.
        meta: the caller's metadata.
        worker: the worker's name; None in a producer.
        fields: what else the signal carries, see `TABLE`.
    """

    signal: str
    at: float
    task: str | None = None
    id: str | None = None
    queue: str | None = None
    attempt: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)
    worker: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], Awaitable[object] | object]
L = TypeVar("L", bound=Listener)


@dataclass(frozen=True, slots=True)
class _Connection:
    listener: Listener
    task: str | None
    queue: str | None

    def wants(self, event: Event) -> bool:
        return (self.task is None or fnmatchcase(event.task or "", self.task)) and (
            self.queue is None or fnmatchcase(event.queue or "", self.queue)
        )


class Signal:
    """One kind of event and its listeners.

    Args:
        name: the signal's name in `TABLE`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.enabled = True
        self._connections: list[_Connection] = []

    @property
    def active(self) -> bool:
        """Whether anybody would hear it: only then is an event built at all."""
        return self.enabled and bool(self._connections)

    def connect(self, *, task: str | None = None, queue: str | None = None) -> Callable[[L], L]:
        """Connect a listener; for use as a decorator.

        Args:
            task: hear only tasks whose name matches this glob, such as ``orders.*``.
            queue: hear only tasks of logical queues that match this glob.

        Returns:
            A decorator that leaves the listener as it is.
        """

        def decorate(listener: L) -> L:
            self._connections.append(_Connection(listener, task, queue))
            return listener

        return decorate

    def disconnect(self, listener: Listener) -> None:
        """Remove a listener; one that is not connected is no error."""
        self._connections = [c for c in self._connections if c.listener is not listener]

    async def send(self, event: Event) -> None:
        """Call every listener that wants the event."""
        if not self.enabled:
            return
        for connection in tuple(self._connections):
            if connection.wants(event):
                await self._call(connection.listener, event)

    async def _call(self, listener: Listener, event: Event) -> None:
        try:
            answer = listener(event)
            if inspect.isawaitable(answer):
                async with asyncio.timeout(LISTENER_TIMEOUT):
                    await answer
        except Exception:
            log.exception("a listener of %s failed: %r", self.name, listener)

    def __repr__(self) -> str:
        state = "on" if self.enabled else "off"
        return f"<Signal {self.name} {state}, {len(self._connections)} listeners>"


class Signals:
    """All signals of one application, as attributes: ``stem.signals.task_succeeded``."""

    before_task_publish: Signal
    after_task_publish: Signal
    task_received: Signal
    task_started: Signal
    task_retried: Signal
    task_succeeded: Signal
    task_failed: Signal
    task_dead_lettered: Signal
    task_dead_letter_refused: Signal
    task_settle_refused: Signal
    task_reply_given_up: Signal
    task_revoked: Signal
    task_expired: Signal
    task_snoozed: Signal
    task_progress: Signal
    worker_init: Signal
    worker_ready: Signal
    worker_heartbeat: Signal
    worker_stopping: Signal
    worker_stopped: Signal
    worker_connection_lost: Signal
    worker_connection_restored: Signal

    def __init__(self) -> None:
        self._by_name = {name: Signal(name) for name in TABLE}
        for name, signal in self._by_name.items():
            setattr(self, name.replace("-", "_"), signal)

    def __iter__(self) -> Iterator[Signal]:
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> Signal:
        """Return the signal of that name.

        Raises:
            ConfigurationError: there is none.
        """
        signal = self._by_name.get(name)
        if signal is None:
            raise ConfigurationError(
                f"there is no signal {name!r}; there are {', '.join(self._by_name)}"
            )
        return signal

    def configure(
        self, *, enabled: bool = True, enabled_signals: Mapping[str, bool] | None = None
    ) -> None:
        """Switch signals on and off, as a whole and one by one.

        Args:
            enabled: whether signals are sent at all.
            enabled_signals: exceptions by name, such as ``{"worker-heartbeat": False}``.

        Raises:
            ConfigurationError: a name is unknown; nothing is changed then.
        """
        exceptions = {self[name]: on for name, on in (enabled_signals or {}).items()}
        for signal in self:
            signal.enabled = exceptions.get(signal, enabled) if enabled else False
