"""The account of every task: what was acknowledged must be finished, queued or dead-lettered."""

import collections
import time
from dataclasses import dataclass, field
from pathlib import Path

POLL = 0.02
"""Seconds between two looks."""


def until(holds, what, timeout=20.0):
    """Wait until a condition holds, and return its value.

    Args:
        holds: the condition.
        what: its name, for the message of the failure.
        timeout: seconds to wait at most.

    Raises:
        AssertionError: the time is over.
    """
    deadline = time.monotonic() + timeout
    while not (value := holds()):
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout:g} s"
        time.sleep(POLL)
    return value


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What became of the tasks of one test.

    Args:
        fault: what was broken.
        asked: tasks that a producer began to enqueue.
        acknowledged: tasks whose ``enqueue`` returned.
        finished: different tasks that ran to their end.
        repeated: runs beyond the first of each task.
        queued: tasks still in the work queue.
        dead: tasks in the dead-letter queue.
        refused: calls of ``enqueue`` that raised, by the error's name.
        lost: acknowledged tasks that are nowhere. Empty, or the framework is broken.
        recovery: seconds from the end of each fault to the end of a task enqueued after it.
    """

    fault: str
    asked: int
    acknowledged: int
    finished: int
    repeated: int
    queued: int
    dead: int
    refused: dict[str, int]
    lost: frozenset[int]
    recovery: tuple[float, ...] = ()

    def __str__(self):
        """Return one row of a `table`."""
        seconds = " ".join(f"{seconds:.2f}" for seconds in self.recovery)
        counts = self.acknowledged, self.finished, self.queued, self.dead, self.repeated
        cells = [self.fault, *(f"{count:,}" for count in (*counts, len(self.lost))), seconds]
        return f"| {' | '.join(cells)} |"


def table(tallies):
    """Return the account of several tests as a table in Markdown."""
    columns = "fault", "in", "finished", "queued", "dead", "repeated", "lost", "recovered after (s)"
    lines = [f"| {' | '.join(columns)} |", f"|---|{'--:|' * (len(columns) - 1)}"]
    return "\n".join(lines + [str(tally) for tally in tallies])


@dataclass
class Ledger:
    """The books of one test, written by producers and workers.

    Args:
        fault: what is broken in this test.
        folder: where the books are.
    """

    fault: str
    folder: Path
    recovery: list[float] = field(default_factory=list)

    def read(self, name):
        """Return how often each number is in a book."""
        path = self.folder / name
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return collections.Counter(int(line.split()[0]) for line in lines)

    def refusals(self):
        """Return how often enqueueing raised each error."""
        path = self.folder / "refused"
        lines = path.read_text().splitlines() if path.exists() else []
        return collections.Counter(line.split()[1] for line in lines)

    def deaths(self):
        """Return at which steps workers have killed themselves."""
        path = self.folder / "deaths"
        return path.read_text().split() if path.exists() else []

    def progress(self, name, more, timeout=20.0):
        """Wait until a book has so many more lines than now."""
        goal = self.read(name).total() + more
        until(lambda: self.read(name).total() >= goal, f"{more} more {name}", timeout)

    def recovered(self, timeout=30.0):
        """Wait until a task that is enqueued from now on has run, and note the time it took.

        To be called when a fault has ended: a broker answers again, a network is whole.
        """
        since = time.monotonic()
        last = max(self.read("asked"), default=-1)
        until(
            lambda: max(self.read("finished"), default=-1) > last,
            f"a task enqueued after: {self.fault},",
            timeout,
        )
        self.recovery.append(time.monotonic() - since)

    def outstanding(self):
        """Return the acknowledged tasks that have not finished."""
        return set(self.read("acknowledged")) - set(self.read("finished"))

    def close(self, queued, dead):
        """Add everything up.

        Args:
            queued: numbers of the tasks in the work queue.
            dead: numbers of the tasks in the dead-letter queue.
        """
        acknowledged, finished = self.read("acknowledged"), self.read("finished")
        return Tally(
            fault=self.fault,
            asked=len(self.read("asked")),
            acknowledged=len(acknowledged),
            finished=len(finished),
            repeated=finished.total() - len(finished),
            queued=len(queued),
            dead=len(dead),
            refused=dict(self.refusals()),
            lost=frozenset(set(acknowledged) - set(finished) - set(queued) - set(dead)),
            recovery=tuple(self.recovery),
        )
