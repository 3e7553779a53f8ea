"""Unknown tasks: in a rolling deploy they wait for a worker that knows them.

While a release is rolled out, workers of two releases consume the same queues, and a message of a
new task may reach an old worker first. It goes back with a delay, as often as it takes, until a
worker that knows the task receives it or the queue's wait has passed: then it is dead-lettered.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

from stem_amqp.blueprint import Blueprint
from stem_amqp.clock import parse_timestamp
from stem_amqp.durations import format_seconds
from stem_amqp.messages.message import UNKNOWN_SINCE
from stem_amqp.observability import Telemetry
from stem_amqp.outcome import Dead, Failure, Outcome, Postponed
from stem_amqp.states import Reason
from stem_amqp.topology.spec.mistake import did_you_mean
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

SHORTEST_DELAY = 1.0
"""Seconds before an unknown task is delivered for the second time."""
LONGEST_DELAY = 30.0
"""Seconds between two deliveries of an unknown task, at most."""
JITTER = 0.25
"""The largest random part to subtract from a delay, so that the messages of a burst are spread out."""
LOG_PERIOD = 60.0
"""Seconds between two log lines about the same unknown task."""
_LOGGED_NAMES = 100
"""Unknown names that have log lines of their own: any client can send any number of names."""
_SHOWN = 10
"""Names of known tasks in a text, at most."""


class UnknownTasks:
    """Decides what follows a message whose task this worker does not know.

    Args:
        blueprint: the application, with its tasks and the waits of its settings and its topology.
        telemetry: the exporters, which receive each wait.
    """

    def __init__(self, blueprint: Blueprint, telemetry: Telemetry) -> None:
        self._registry = blueprint.registry
        self._topology = blueprint.topology
        self._wait = blueprint.settings.unknown_task_wait
        self._telemetry = telemetry
        self._lines = _Lines()
        self._waits = True

    def refuse_at_once(self) -> None:
        """Dead-letter unknown tasks at once, whatever the settings say; for tests."""
        self._waits = False

    def outcome(self, job: Job, now: float) -> Outcome:
        """Return the outcome of a message of an unknown task: it waits, or is a dead letter.

        The delays double, from `SHORTEST_DELAY` to `LONGEST_DELAY`: each is as long as the time
        since the task was unknown for the first time, so that no count of deliveries is needed.

        Args:
            job: a job with its message, and without a definition.
            now: seconds since the epoch.
        """
        wait, waited = self._wait_in(job.queue), _waited(job, now)
        left = wait - waited
        if left <= 0:
            return Dead(reason=Reason.UNKNOWN_TASK, failure=Failure(error=self._why(job, waited)))
        for report in self._telemetry.unknown_task:
            report(job, waited)
        self._note(job, wait)
        job.unknown_since = now - waited
        delay = min(max(waited, SHORTEST_DELAY), LONGEST_DELAY)
        delay *= 1 - random.uniform(0, JITTER)
        # Two digits take two hops through the delay queues at most
        return Postponed(delay=min(float(f"{delay:.2g}"), left))

    def _wait_in(self, queue: str) -> float:
        if not self._waits:
            return 0.0
        own = self._topology.queue(queue).unknown_task
        return self._wait if own is None else own.wait

    def _why(self, job: Job, waited: float) -> str:
        name = "" if job.message is None else job.message.task
        waiting = format_seconds(round(waited, 1))
        end = f", and it waited {waiting} for a worker that has it" if waited else ""
        return f"this worker has no task {name!r}{end}; {self._known(name)}"

    def _known(self, name: str) -> str:
        known = sorted(task.name for task in self._registry)
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        return f"its tasks: {', '.join(known[:_SHOWN])}{more}{did_you_mean(name, known)}"

    def _note(self, job: Job, wait: float) -> None:
        name = "" if job.message is None else job.message.task
        count = self._lines.count(name)
        if count:
            log.warning(
                "this worker has no task %r: %d of its deliveries from queue %s went back, to wait up to"
                " %s for a worker that has it (STEM_UNKNOWN_TASK_WAIT, or unknown_task in the"
                " topology file); %s",
                name,
                count,
                job.queue,
                format_seconds(wait),
                self._known(name),
            )


class _Lines:
    """Decides when a line about an unknown name is due: at once, then once a period.

    Args:
        clock: a monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._due: dict[str, float] = {}

    def count(self, name: str) -> int:
        """Count one more message; return the number for its line, or 0 if no line is due yet."""
        if name not in self._due and len(self._due) >= _LOGGED_NAMES:
            name = ""
        number = self._counts[name] = self._counts.get(name, 0) + 1
        now = self._clock()
        if now < self._due.get(name, now):
            return 0
        self._due[name], self._counts[name] = now + LOG_PERIOD, 0
        return number


def _waited(job: Job, now: float) -> float:
    """Return the seconds since a task was unknown for the first time, by the clock of that worker."""
    try:
        return max(0.0, now - parse_timestamp(job.headers[UNKNOWN_SINCE]))
    except (KeyError, TypeError, ValueError, AttributeError):  # any client may have written it
        return 0.0
