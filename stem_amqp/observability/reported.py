"""The objects that producers and workers report about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from stem_amqp.messages.message import TaskMessage
from stem_amqp.outcome import Outcome
from stem_amqp.results.base import Progress
from stem_amqp.tasks.definition import TaskDefinition

End: TypeAlias = Callable[[BaseException | None], None]
"""Called once at the end of a publish, with the exception that it raised; None if it was confirmed."""


@dataclass(kw_only=True, slots=True, eq=False)
class Bulk:
    """One call of ``enqueue_many`` while it publishes.

    Attributes:
        headers: AMQP headers that exporters add to each of its messages.
        count: the number of confirmed messages so far.
    """

    headers: dict[str, str] = field(default_factory=dict)
    count: int = 0


@dataclass(kw_only=True, slots=True, eq=False)
class Publishing:
    """One publish of a new task.

    Args:
        task: the task's name.
        queue: the logical queue.
        known: whether this producer has the task's code.
        known_queue: whether the application has the queue.
        bulk: the call of ``enqueue_many`` that it belongs to; None for a single call.

    Attributes:
        headers: AMQP headers that exporters add; the caller's own headers take precedence.
        message: the message, once it is written.
        size: the size of its body in bytes, once it is written.
    """

    task: str
    queue: str
    known: bool
    known_queue: bool
    bulk: Bulk | None = None
    headers: dict[str, str] = field(default_factory=dict)
    message: TaskMessage | None = None
    size: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakerChange:
    """The breaker of a queue or task opened, is tried, or closed; each worker that has it reports it.

    Args:
        kind: ``queue`` or ``task``.
        name: the logical queue, or the task's name.
        state: ``closed``, ``half-open`` or ``open``.
        reason: why, for people.
        own: whether this worker has changed it: so each change is reported as own once.
        until: when the pause ends, seconds since the epoch; 0 if it is closed.
    """

    kind: str
    name: str
    state: str
    reason: str = ""
    own: bool = False
    until: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TicksReport:
    """What a scheduler did with the ticks of one schedule in one look.

    Args:
        schedule: the schedule's name.
        stored: whether it was made at run time; there may be any number of those.
        lateness: of each published tick, the seconds from when it was due until then; 0 if it was ahead.
        missed: the number of ticks that passed without a scheduler, and do not run.
        failed: whether a tick could not be published; it is tried again.
    """

    schedule: str
    stored: bool = False
    lateness: tuple[float, ...] = ()
    missed: int = 0
    failed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class SchedulerLook:
    """A scheduler has looked at its schedules, begins to lead, or leads no more.

    Args:
        scheduler: its host and process id.
        leads: whether it leads.
        schedules: the number of schedules of code and topology file.
        at: when it last published everything that was due, seconds since the epoch; 0 if it does not lead.
        next_tick: the earliest tick of code and file that is not published, seconds since the epoch; 0 without one.
        failed: whether this look failed; the next one does what is left.
    """

    scheduler: str
    leads: bool
    schedules: int
    at: float = 0.0
    next_tick: float = 0.0
    failed: bool = False


class Delivered(Protocol):
    """A delivery in a worker; its fields are those of `stem_amqp.worker.job.Job`, which is one."""

    next_headers: dict[str, str] | None
    """AMQP headers that exporters add to the message when it is published again: as a retry, after a
    snooze, or as a dead letter. None until an exporter adds one."""

    carried: dict[str, str] | None
    """Values that exporters send with the job to a child process. None until an exporter adds one."""

    @property
    def body(self) -> bytes:
        """The message's bytes."""
        ...

    @property
    def headers(self) -> Mapping[str, Any]:
        """The message's headers, which any client may have written."""
        ...

    @property
    def queue(self) -> str:
        """The logical queue, which exists in the application."""
        ...

    @property
    def attempt(self) -> int:
        """The attempt; 0 for the first run."""
        ...

    @property
    def replay(self) -> int:
        """The number of replays from a dead-letter queue."""
        ...

    @property
    def redelivered(self) -> bool:
        """Whether the broker delivered the message before."""
        ...

    @property
    def message_id(self) -> str | None:
        """AMQP ``message_id``."""
        ...

    @property
    def message(self) -> TaskMessage | None:
        """The decoded body; None before it is decoded, and if it cannot be."""
        ...

    @property
    def definition(self) -> TaskDefinition | None:
        """The task; None if this worker does not know it, or before it is looked up."""
        ...

    @property
    def started(self) -> bool:
        """Whether the task's function has been called."""
        ...

    @property
    def begun(self) -> float:
        """When the run started, in seconds of `time.monotonic`; 0 before that."""
        ...

    @property
    def duration(self) -> float:
        """Seconds that the run took; 0 until it has ended."""
        ...

    @property
    def progress(self) -> Progress | None:
        """The last progress that the run reported."""
        ...

    @property
    def type(self) -> str | None:
        """AMQP ``type``: the task's name, which any client may have written."""
        ...

    @property
    def correlation_id(self) -> str | None:
        """AMQP ``correlation_id``: the task's id, which any client may have written."""
        ...

    @property
    def outcome(self) -> Outcome | None:
        """The outcome; None until it is known."""
        ...

    @property
    def waited(self) -> float:
        """Seconds that the run has waited for a thread or a process."""
        ...

    @property
    def untrusted(self) -> bool:
        """Whether the message is refused because of its signature."""
        ...


class WorkerView(Protocol):
    """A worker as it is at any moment; it is `stem_amqp.worker.report.gauges.Gauges`.

    Any thread may read it.
    """

    @property
    def name(self) -> str:
        """Its name, unique in the namespace."""
        ...

    @property
    def capacity(self) -> Mapping[str, int]:
        """The maximum number of tasks at once, by logical queue."""
        ...

    @property
    def unsettled(self) -> Sequence[Delivered]:
        """The deliveries that are not settled yet."""
        ...

    @property
    def running(self) -> Mapping[str, int]:
        """The number of tasks that run, by logical queue."""
        ...

    @property
    def threads(self) -> tuple[int, int]:
        """The number of threads in use for synchronous tasks, and the maximum."""
        ...

    @property
    def consuming(self) -> Mapping[str, bool]:
        """Whether the broker delivers to the worker, by logical queue."""
        ...

    @property
    def paused(self) -> Sequence[str]:
        """The logical queues that are paused on purpose, and therefore not consumed."""
        ...

    @property
    def certificates(self) -> Sequence[Path]:
        """The files of the certificates that its connections use."""
        ...
