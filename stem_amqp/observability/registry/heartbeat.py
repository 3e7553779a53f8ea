"""The heartbeat of a worker: what it says about itself every few seconds, and when it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import orjson
from pydantic import TypeAdapter, ValidationError

KEY = "worker-heartbeat"
"""The first word of the routing key on the events exchange, and AMQP ``type``."""
RUNS = 100
"""The most runs in a heartbeat; of more, the oldest are sent."""
TEXT = 200
"""The most characters of a progress message."""
STACK = 8000
"""The most characters of a stack; of a longer one, the innermost calls are sent."""
LARGEST = 48 * 1024
"""The most bytes of a heartbeat; runs are left out of a larger one."""
LARGEST_READ = 64 * 1024
"""The most bytes of a heartbeat that is read; a larger one is ignored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningTask:
    """A run that has begun and not ended.

    Args:
        id: the task's id.
        task: its name.
        queue: the logical queue.
        since: when the run began; seconds since the epoch.
        attempt: the number of retries before it.
        fraction: its last progress from 0 to 1; None if it reported none.
        message: the message of its last progress.
    """

    id: str
    task: str
    queue: str
    since: float
    attempt: int = 0
    fraction: float | None = None
    message: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockedLoop:
    """An event loop that does not turn.

    Args:
        seconds: for how long.
        task: the name of the task that blocks it; None if it is not known.
        id: the id of that task.
        place: the file, line and function where it is.
        stack: the calls that lead there, the outermost first.
    """

    seconds: float
    task: str | None = None
    id: str | None = None
    place: str = ""
    stack: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """What a worker process says about itself.

    Workers of release 0.1.0 answer without the fields that have a default.

    Args:
        name: the worker's name.
        queues: the number of running tasks by logical queue.
        consuming: the logical queues that the broker delivers to it from.
        running: the number of running tasks.
        done: the number of settled deliveries since its start.
        threads_used_up: whether no thread is left for synchronous tasks.
        worker_failures: the number of messages on which the worker's own code failed.
        host: the host's name.
        pid: the id of the process.
        version: the release of stem-amqp.
        at: when it was made; seconds since the epoch.
        started: when the worker started; seconds since the epoch.
        interval: seconds between two heartbeats; 0: it sends none by itself.
        state: ``running``, ``stopping`` or ``stopped``.
        capacity: the most tasks at once, by logical queue.
        runs: the running tasks, the oldest first.
        runs_omitted: the number of further runs.
        lag: the lag of its event loop in seconds.
        lag_peak: the largest lag in the last half minute or more, in seconds.
        memory: resident bytes.
        cpu: the part of a processor core that it has used lately; 1 is a whole core.
        threads: the number of its threads.
        blocked: its event loop, if that is blocked.
        paused: the logical queues that are paused on purpose, and that it therefore does not consume.
        store: the identity of its result backend's store; empty if that is not known or has none.
    """

    name: str
    queues: Mapping[str, int]
    consuming: tuple[str, ...]
    running: int
    done: int
    threads_used_up: bool = False
    worker_failures: int = 0
    host: str = ""
    pid: int = 0
    version: str = ""
    at: float = 0.0
    started: float = 0.0
    interval: float = 0.0
    state: str = "running"
    capacity: Mapping[str, int] = field(default_factory=dict)
    runs: tuple[RunningTask, ...] = ()
    runs_omitted: int = 0
    lag: float = 0.0
    lag_peak: float = 0.0
    memory: int = 0
    cpu: float = 0.0
    threads: int = 0
    blocked: BlockedLoop | None = None
    paused: tuple[str, ...] = ()
    store: str = ""

    @property
    def idle_queues(self) -> tuple[str, ...]:
        """The queues that it should consume, and does not."""
        intended = {*self.consuming, *self.paused}
        return tuple(queue for queue in self.queues if queue not in intended)

    def encode(self) -> bytes:
        """Write it, with fewer runs if it is too large."""
        heartbeat = self
        while len(body := orjson.dumps(heartbeat)) > LARGEST and heartbeat.runs:
            kept = heartbeat.runs[: len(heartbeat.runs) // 2]
            omitted = heartbeat.runs_omitted + len(heartbeat.runs) - len(kept)
            heartbeat = replace(heartbeat, runs=kept, runs_omitted=omitted)
        return body


@cache
def _reader() -> TypeAdapter[Heartbeat]:
    return TypeAdapter(Heartbeat)


def decode(body: bytes) -> Heartbeat | None:
    """Read a heartbeat, or the answer of an earlier release; None if it is neither.

    Any client that may publish can have written it: texts in it are not safe for a terminal.

    Args:
        body: the message's body.
    """
    if len(body) > LARGEST_READ:
        return None
    try:
        return _reader().validate_json(body)
    except ValidationError:
        return None
