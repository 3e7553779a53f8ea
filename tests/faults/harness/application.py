"""The application under fault: each task writes its number into a book, which is how it is counted.

It runs in the processes that a `Crew` starts. One write of one line with O_APPEND is there whole or
not at all, whatever happens to the process.
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
"""Where the worker kills itself: received, started, inside, storing, stored, settled, or nowhere."""
PASSES = int(os.environ.get("FAULTS_PASSES", "0"))
"""How often it passes that point alive."""
PAUSE = float(os.environ.get("FAULTS_PAUSE", "0"))
"""Seconds that each task takes."""

stem = Stem()
passes = itertools.count()


def book(name):
    """Open a book, and return what writes a line into it."""
    file = os.open(FOLDER / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return lambda line: os.write(file, f"{line}\n".encode())


finished = book("finished")
deaths = book("deaths")


def die(step):
    """Kill this process with SIGKILL at the given step, once it has been there often enough."""
    if step == DEADLY and next(passes) >= PASSES:
        deaths(step)
        os.kill(os.getpid(), signal.SIGKILL)


@stem.task("note", queue="q", max_retries=0)
async def note(number: int) -> int:
    """Take a moment, and write the number down."""
    die("inside")
    if PAUSE:
        await asyncio.sleep(PAUSE)
    finished(number)
    return number


@stem.task("linger", queue="q", max_retries=0)
async def linger(number: int, seconds: float) -> int:
    """Take too long the first time."""
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
    """Wrap the backend's transition: before and after the outcome is stored."""
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
