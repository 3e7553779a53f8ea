"""What workers answer to commands, one type for each; fields that a worker does not send have defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Pong:
    """A sign of life.

    Args:
        version: the worker's release of stem-amqp.
        state: ``running`` or ``stopping``.
        started: when the worker started, in seconds since the epoch.
        at: when it answered, in seconds since the epoch on its own clock.
    """

    version: str = ""
    state: str = "running"
    started: float = 0.0
    at: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredTask:
    """A task that a worker knows, with the options that are set.

    Args:
        name: its name.
        queue: its logical queue.
        runs_in: ``event loop``, ``thread`` or ``process``.
        options: the options that the decorator sets, such as ``rate_limit``; durations in seconds.
    """

    name: str
    queue: str = ""
    runs_in: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsumedQueue:
    """A queue of a worker.

    Args:
        name: the logical queue.
        consuming: whether the broker delivers to the worker now.
        concurrency: the most tasks at once.
        prefetch: the most unsettled deliveries.
        running: the tasks that run.
        waiting: the deliveries that wait in the worker: for a slot, a thread or a limit.
    """

    name: str
    consuming: bool = False
    concurrency: int = 0
    prefetch: int = 0
    running: int = 0
    waiting: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldTask:
    """A delivery that a worker holds; arguments are never shown.

    Args:
        id: the task's id; empty if its message is not read yet and names none.
        task: the task's name; as its message claims it, if that is not read yet.
        queue: the logical queue.
        attempt: the number of retries before it.
        seconds: how long it runs; 0 if it waits.
    """

    id: str
    task: str
    queue: str
    attempt: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """The inside of a worker.

    Args:
        version: its release of stem-amqp.
        started: when it started, in seconds since the epoch.
        tasks: the registered tasks, by name.
        queues: its queues.
        settings: the settings that matter for its work; no URL, key or password.
        running: the tasks that run, the oldest first, at most `HELD`.
        waiting: the deliveries that wait, at most `HELD`.
        omitted: the number of registered, running and waiting tasks that are not listed.
    """

    version: str = ""
    started: float = 0.0
    tasks: tuple[RegisteredTask, ...] = ()
    queues: tuple[ConsumedQueue, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    running: tuple[HeldTask, ...] = ()
    waiting: tuple[HeldTask, ...] = ()
    omitted: int = 0


HELD = 100
"""The most running and the most waiting tasks of an `Inspection`."""
REGISTERED = 1000
"""The most registered tasks of an `Inspection`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """The counters of a worker since its start, and its use of the machine.

    Args:
        started: when it started, in seconds since the epoch.
        done: settled deliveries.
        running: tasks that run.
        waiting: deliveries that wait in the worker.
        worker_failures: messages on which the worker's own code failed.
        signature_invalid: messages refused because of their signature.
        settle_refused: messages rejected because the broker refused what follows.
        replies_given_up: ``rpc://`` replies that the broker refused.
        abandoned_threads: threads whose run outlived its time limit.
        lag: the lag of the event loop in seconds.
        memory: resident bytes.
        cpu: the part of a core used lately.
        threads: threads of the process.
    """

    started: float = 0.0
    done: int = 0
    running: int = 0
    waiting: int = 0
    worker_failures: int = 0
    signature_invalid: int = 0
    settle_refused: int = 0
    replies_given_up: int = 0
    abandoned_threads: int = 0
    lag: float = 0.0
    memory: int = 0
    cpu: float = 0.0
    threads: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueConcurrency:
    """The change of one queue's concurrency in a worker.

    Args:
        queue: the logical queue.
        before: tasks at once before.
        now: tasks at once now.
        running: tasks that run; those above ``now`` continue to their end.
    """

    queue: str
    before: int
    now: int
    running: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Obeyed:
    """What a directive has changed in a worker.

    Args:
        queues: the queues whose concurrency it has changed.
        level_before: the level of the log before, if it was changed.
        level: the level of the log now, if it was changed.
        running: the tasks it is for that run, and continue.
        ended: the runs that it has ended, at most `HELD`.
        not_ended: the runs that it should end, and that go on in their threads: Python cannot stop a
            thread, and raises an exception in it only at its next line; at most `HELD`.
    """

    queues: tuple[QueueConcurrency, ...] = ()
    level_before: str = ""
    level: str = ""
    running: int = 0
    ended: tuple[HeldTask, ...] = ()
    not_ended: tuple[HeldTask, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ShuttingDown:
    """The beginning of a worker's end.

    Args:
        running: the tasks that run.
        grace: seconds that they have to end; 0: they are cancelled, and their messages requeued.
    """

    running: int = 0
    grace: float = 0.0
