"""The application of the fault tests: each task writes its number into a book.

It runs in the processes that a `Crew` starts. One write of one line with O_APPEND is atomic,
whatever happens to the process.
"""

import asyncio
import itertools
import os
import signal
from pathlib import Path

from stem_amqp import Stem
from stem_amqp.states import TaskState

FOLDER = Path(os.environ.get("FAULTS_FOLDER", "."))
DEADLY = os.environ.get("FAULTS_DIE_AT", "")
"""The step at which the worker kills itself: received, started, inside, storing, stored or settled.

Empty for a worker that does not kill itself."""
PASSES = int(os.environ.get("FAULTS_PASSES", "0"))
"""How often it passes that step before it kills itself."""
PAUSE = float(os.environ.get("FAULTS_PAUSE", "0"))
"""Seconds that each task takes."""

stem = Stem()
passes = itertools.count()


def book(name):
    """Open a book, and return a function that writes a line into it."""
    file = os.open(FOLDER / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return lambda line: os.write(file, f"{line}\n".encode())


finished = book("finished")
deaths = book("deaths")


def die(step):
    """Kill this process with SIGKILL at the deadly step, once it has passed it often enough."""
    if step == DEADLY and next(passes) >= PASSES:
        deaths(step)
        os.kill(os.getpid(), signal.SIGKILL)


@stem.task("note", queue="q", max_retries=0)
async def note(number: int) -> int:
    """Sleep for the pause, and write the number into the book."""
    die("inside")
    if PAUSE:
        await asyncio.sleep(PAUSE)
    finished(number)
    return number


@stem.task("linger", queue="q", max_retries=0)
async def linger(number: int, seconds: float) -> int:
    """Sleep in the first run only, and write the number into the book."""
    lingered = FOLDER / f"lingered-{number}"
    if not lingered.exists():
        lingered.touch()
        await asyncio.sleep(seconds)
    finished(number)
    return number


stem.signals.task_received.connect()(lambda event: die("received"))
stem.signals.task_started.connect()(lambda event: die("started"))
stem.signals.task_succeeded.connect()(lambda event: die("settled"))


def die_while_storing():
    """Wrap the backend's transition, to die before or after the outcome is stored."""
    connect = stem.connect

    async def connecting():
        connected = await connect()
        transition = connected.backend.transition

        async def storing(changes):
            if any(change.state is TaskState.SUCCEEDED for change in changes):
                die("storing")
            accepted = await transition(changes)
            if any(change.state is TaskState.SUCCEEDED for change in changes):
                die("stored")
            return accepted

        connected.backend.transition = storing
        return connected

    stem.connect = connecting


if DEADLY in {"storing", "stored"}:
    die_while_storing()
