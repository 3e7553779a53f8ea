"""Lifecycle signals: one table of events, each of which can be switched on and off.

A listener is a plain or async function with one argument, the event. Listeners run one after the other.
An exception of a listener is logged and does not affect the task.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from stem_amqp.errors import ConfigurationError

log = logging.getLogger("stem_amqp.signals")

LISTENER_TIMEOUT = 5.0
"""Seconds after which an async listener is cancelled, so that it cannot block the task."""

TABLE: dict[str, str] = {
    "before-task-publish": "A task message is about to be published by a producer.",
    "after-task-publish": "The broker has confirmed a task message.",
    "task-received": "A worker has received a message from its queue.",
    "task-started": "A run begins.",
    "task-retried": "A run failed; the next one is confirmed. Fields: error, delay, next_run.",
    "task-succeeded": "A run returned, and its result is stored. Fields: result, duration.",
    "task-failed": "The task failed for good. Fields: error, reason, expected.",
    "task-dead-lettered": "The message is in the dead-letter queue. Fields: reason, error, expected.",
    "task-dead-letter-refused": "The dead-letter queue is full; the worker keeps the message and"
    " tries again. Fields: reason, error.",
    "task-settle-refused": "The broker refuses the message that follows a run; the original was"
    " rejected to the dead-letter queue unchanged. Fields: error.",
    "task-reply-given-up": "The broker refuses the reply to the producer; the task continues without it."
    " Fields: state, error.",
    "task-revoked": "The task was revoked. Fields: reason.",
    "task-expired": "The task expired before it was started.",
    "task-snoozed": "The task runs later; this counts as no attempt. Fields: delay, next_run, reason.",
    "task-progress": "The task reported progress. Fields: fraction, message, data.",
    "worker-init": "A worker starts, before it connects.",
    "worker-ready": "The worker consumes from all its queues.",
    "worker-heartbeat": "The worker is alive. Fields: running, done, threads_used_up,"
    " worker_failures.",
    "worker-stopping": "The worker stops consuming. Fields: reason.",
    "worker-stopped": "The worker has settled everything and closed its connections.",
    "worker-connection-lost": "A connection to the broker was lost. Fields: error.",
    "worker-connection-restored": "The connection is restored and consuming. Fields: downtime.",
}
"""Name and meaning of every signal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """An event that is passed to listeners.

    Args:
        signal: the signal's name, such as ``task-succeeded``.
        at: seconds since the epoch.
        task: the task's name; None for worker signals.
        id: the task's id.
        queue: the logical queue.
        attempt: 0 for the first run.
        meta: the caller's metadata.
        worker: the worker's name; None in a producer.
        fields: the signal's other fields, see `TABLE`.
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
class _Subscription:
    listener: Listener
    task: str | None
    queue: str | None

    def matches(self, event: Event) -> bool:
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
        self._subscriptions: list[_Subscription] = []

    @property
    def active(self) -> bool:
        """Whether it is enabled and has listeners; otherwise no event is built."""
        return self.enabled and bool(self._subscriptions)

    def connect(self, *, task: str | None = None, queue: str | None = None) -> Callable[[L], L]:
        """Connect a listener; used as a decorator.

        Args:
            task: only events of tasks whose name matches this glob, such as ``orders.*``.
            queue: only events of tasks in logical queues that match this glob.

        Returns:
            A decorator that returns the listener unchanged.
        """

        def decorate(listener: L) -> L:
            self._subscriptions.append(_Subscription(listener, task, queue))
            return listener

        return decorate

    def disconnect(self, listener: Listener) -> None:
        """Disconnect a listener; does nothing if it is not connected."""
        self._subscriptions[:] = [s for s in self._subscriptions if s.listener is not listener]

    def switched(self, *, enabled: bool) -> Signal:
        """Return this signal, with the same listeners, switched on or off.

        Args:
            enabled: whether it is sent.
        """
        signal = Signal(self.name)
        signal.enabled = enabled
        signal._subscriptions = self._subscriptions
        return signal

    async def send(self, event: Event) -> None:
        """Call every listener whose filters match the event."""
        if not self.enabled:
            return
        for subscription in tuple(self._subscriptions):
            if subscription.matches(event):
                await self._call(subscription.listener, event)

    async def _call(self, listener: Listener, event: Event) -> None:
        try:
            answer = listener(event)
            if inspect.isawaitable(answer):
                async with asyncio.timeout(LISTENER_TIMEOUT):
                    await answer
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, GeneratorExit)) or _is_cancelled(error):
                raise
            log.exception("a listener of %s failed: %r", self.name, listener)

    def __repr__(self) -> str:
        state = "on" if self.enabled else "off"
        return f"<Signal {self.name} {state}, {len(self._subscriptions)} listeners>"


def _is_cancelled(error: BaseException) -> bool:
    """Return whether the asyncio task was cancelled: a listener may raise CancelledError itself."""
    task = asyncio.current_task() if isinstance(error, asyncio.CancelledError) else None
    return task is not None and task.cancelling() > 0


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

    def __init__(self, signals: Iterable[Signal] | None = None) -> None:
        made = [Signal(name) for name in TABLE] if signals is None else signals
        self._by_name = {signal.name: signal for signal in made}
        for name, signal in self._by_name.items():
            setattr(self, name.replace("-", "_"), signal)

    def __iter__(self) -> Iterator[Signal]:
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> Signal:
        """Return the signal of that name.

        Raises:
            ConfigurationError: no signal has that name.
        """
        signal = self._by_name.get(name)
        if signal is None:
            raise ConfigurationError(
                f"unknown signal {name!r}; the signals are {', '.join(self._by_name)}"
            )
        return signal

    def configure(
        self, *, enabled: bool = True, enabled_signals: Mapping[str, bool] | None = None
    ) -> None:
        """Switch signals on and off, all together and one by one.

        Args:
            enabled: whether signals are sent at all.
            enabled_signals: exceptions by name, such as ``{"worker-heartbeat": False}``.

        Raises:
            ConfigurationError: a name is unknown; no signal is changed then.
        """
        exceptions = {self[name]: on for name, on in (enabled_signals or {}).items()}
        for signal in self:
            signal.enabled = exceptions.get(signal, enabled) if enabled else False

    def configured(self, *, enabled: bool, enabled_signals: Mapping[str, bool]) -> Signals:
        """Return these signals, with the same listeners, enabled by other settings.

        Args:
            enabled: as for `configure`.
            enabled_signals: as for `configure`.

        Raises:
            ConfigurationError: a name is unknown.
        """
        signals = Signals(signal.switched(enabled=True) for signal in self)
        signals.configure(enabled=enabled, enabled_signals=enabled_signals)
        return signals
