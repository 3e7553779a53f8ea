"""The account of every task: an acknowledged task must be finished, queued or dead-lettered."""

import collections
import time
from dataclasses import dataclass, field
from pathlib import Path

from support import until


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The outcomes of the tasks of one test.

    Args:
        fault: the fault.
        asked: the number of tasks that a producer began to enqueue.
        acknowledged: the number of tasks whose ``enqueue`` returned.
        finished: the number of different tasks that ran to their end.
        repeated: the number of runs beyond the first of each task.
        queued: the number of tasks still in the work queue.
        dead: the number of tasks in the dead-letter queue.
        refused: the number of calls of ``enqueue`` that raised, by the error's name.
        lost: acknowledged tasks that are in none of these places; must be empty.
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
    """The books of one test: files into which producers and workers write a line for each task.

    Args:
        fault: the fault of this test.
        folder: the folder of the books.
    """

    fault: str
    folder: Path
    recovery: list[float] = field(default_factory=list)

    def size(self, name):
        """Return the bytes of a book."""
        path = self.folder / name
        return path.stat().st_size if path.exists() else 0

    def lines(self, name):
        """Return the number of lines of a book."""
        path = self.folder / name
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def read(self, name, beyond=0):
        """Return how often each task's number is in a book, from a number of bytes on."""
        path = self.folder / name
        lines = path.read_bytes()[beyond:].split(b"\n")[:-1] if path.exists() else []
        return collections.Counter(int(line.split()[0]) for line in lines)

    def refusals(self):
        """Return how often enqueueing raised each error."""
        path = self.folder / "refused"
        lines = path.read_text().splitlines() if path.exists() else []
        return collections.Counter(line.split()[1] for line in lines)

    def deaths(self):
        """Return the steps at which workers have killed themselves."""
        path = self.folder / "deaths"
        return path.read_text().split() if path.exists() else []

    def progress(self, name, more, timeout=60.0):
        """Wait until a book has a number of lines more than now."""
        goal = self.lines(name) + more
        until(lambda: self.lines(name) >= goal, f"{more} more {name}", timeout)

    def recovered(self, timeout=60.0):
        """Wait until a task that is enqueued from now on has run, and record the seconds.

        Call it when a fault has ended: when the broker answers or the network works again.
        """
        since = time.monotonic()
        seen = self.size("finished")
        last = max(self.read("asked"), default=-1)
        until(
            lambda: max(self.read("finished", beyond=seen), default=-1) > last,
            f"a task enqueued after: {self.fault},",
            timeout,
        )
        self.recovery.append(time.monotonic() - since)

    def outstanding(self):
        """Return the acknowledged tasks that have not finished."""
        return set(self.read("acknowledged")) - set(self.read("finished"))

    def close(self, queued, dead):
        """Return the tally of all books.

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
