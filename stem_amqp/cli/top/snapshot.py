"""The data of one frame: queues, workers, runs, failures, dead letters and delays at one time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias


class View(StrEnum):
    """A view of the display; its value is its title."""

    QUEUES = "Queues"
    WORKERS = "Workers"
    FAILURES = "Failures"
    DEAD = "Dead letters"


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueRow:
    """One logical queue; None where a number is not known.

    Args:
        queue: its name.
        ready: messages that wait for a worker.
        unacked: deliveries that workers have not settled.
        consumers: the number of its consumers.
        published: messages published to it per second.
        acked: deliveries acknowledged per second.
        oldest: the least age of its oldest ready message in seconds.
        limit: the limit of that age in seconds.
        dead: messages in its dead-letter queue.
        paused: who paused it and why; empty if it is not paused.
        backlog: the ready messages of the last minute, the oldest first.
        throughput: the acknowledged deliveries per second of the last minute.
    """

    queue: str
    ready: int | None = None
    unacked: int | None = None
    consumers: int | None = None
    published: float | None = None
    acked: float | None = None
    oldest: float | None = None
    limit: float | None = None
    dead: int | None = None
    paused: str = ""
    backlog: tuple[float, ...] = ()
    throughput: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """A run that has begun and not ended.

    Args:
        id: the task's id.
        task: the task's name.
        queue: the logical queue.
        worker: the worker's name.
        seconds: for how long it has run.
        attempt: the number of retries before it.
        progress: its last progress as text.
        blocking: whether it blocks the event loop of its worker.
    """

    id: str
    task: str
    queue: str
    worker: str
    seconds: float
    attempt: int = 0
    progress: str = ""
    blocking: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerRow:
    """One worker process.

    Args:
        name: its name.
        queues: its queues, each with its concurrency, such as ``orders x8``.
        running: the number of its running tasks.
        rate: settled deliveries per second; None if not known yet.
        lag: the lag of its event loop in seconds; None if it sends no heartbeats.
        memory: resident bytes; 0 if not known.
        age: seconds since its last heartbeat.
        state: ``ok``, or its problem.
        healthy: whether it has no problem.
        facts: name and value of what its page shows.
        stack: where its event loop is blocked; empty if it is not.
        runs: its runs, the oldest first.
    """

    name: str
    queues: str = ""
    running: int = 0
    rate: float | None = None
    lag: float | None = None
    memory: int = 0
    age: float = 0.0
    state: str = "ok"
    healthy: bool = True
    facts: tuple[tuple[str, str], ...] = ()
    stack: str = ""
    runs: tuple[RunRow, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class FailureRow:
    """A task that failed for good.

    Args:
        at: when, in seconds since the epoch; 0 if not recorded.
        queue: the logical queue.
        task: the task's name.
        id: the task's id.
        reason: the reason of the dead letter.
        error: type and message of the exception.
        attempt: the number of retries before the last run.
        worker: the worker of the last run.
        traceback: the traceback; empty if there is none, None if the dead letter is not read yet.
        history: the errors of earlier runs, the oldest first.
    """

    at: float
    queue: str
    task: str
    id: str
    reason: str
    error: str = ""
    attempt: int = 0
    worker: str = ""
    traceback: str | None = None
    history: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadRow:
    """The dead letters of a queue with one reason.

    Args:
        queue: the logical queue.
        reason: the reason.
        messages: how many.
        oldest: seconds since the oldest letter of the queue failed; None if not known.
    """

    queue: str
    reason: str
    messages: int
    oldest: float | None = None


Row: TypeAlias = QueueRow | WorkerRow | FailureRow | DeadRow
"""A row that can be selected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The data of one frame.

    Args:
        at: seconds since the epoch.
        namespace: the namespace.
        broker: product and version of the broker; empty before the first answer.
        queues: the queues in the order of the topology.
        workers: the workers by name.
        runs: the runs of all workers: those that block an event loop, then the oldest first.
        failures: the failures, the newest first.
        dead: the dead letters by queue and reason.
        delays: messages by waiting time in seconds.
        unroutable: messages in the unroutable queue; None if not known.
        alarms: resource alarms of the broker, such as ``memory on rabbit@a``.
        pauses: what is paused, a line for each queue and task.
        missing: by source, why it is not available.
        problem: why the broker does not answer; empty if it does.
        problem_since: when that began, in seconds since the epoch.
    """

    at: float
    namespace: str = ""
    broker: str = ""
    queues: tuple[QueueRow, ...] = ()
    workers: tuple[WorkerRow, ...] = ()
    runs: tuple[RunRow, ...] = ()
    failures: tuple[FailureRow, ...] = ()
    dead: tuple[DeadRow, ...] = ()
    delays: Mapping[float, int] = field(default_factory=dict)
    unroutable: int | None = None
    alarms: tuple[str, ...] = ()
    pauses: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    problem_since: float = 0.0
