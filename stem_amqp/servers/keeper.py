"""Keep a private server: start it, and end it when its owner stops, asks, or dies.

A process of its own, run as a script with the standard library alone. It is outside the terminal's
process group, so Ctrl-C does not reach it; and it watches its parent, so a killed test run leaves no
server behind. Private servers hold nothing worth keeping, so they are killed, not shut down.

    python keeper.py OWNER_PID FOLDER SIGNAL PROGRAM [ARGUMENT ...] [-- PROGRAM [ARGUMENT ...]] ...

Programs start in order and end in reverse order, by SIGNAL, such as SIGKILL. They run in FOLDER, as
its owner, and write to ``server.log`` there. Ends with 0 when stopped, with 1 if a program ended
first.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypedDict

POLL = 0.05
"""Seconds between two looks at the owner and the programs."""
SEPARATOR = "--"
"""Stands between two programs in the arguments."""


class Stop:
    """Remembers a SIGTERM. An exception out of the handler could lose a process being started."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, _signal: int, _frame: object) -> None:
        """Be the signal handler."""
        self.asked = True


def keep(
    owner: int,
    folder: Path,
    ending: signal.Signals,
    commands: Sequence[Sequence[str]],
    stop: Stop,
) -> int:
    """Run programs until one of them or the owner has exited, then end all and clean up.

    Args:
        owner: the parent's process id.
        folder: everything of this server; it is deleted if the owner has exited.
        ending: the signal that ends a program.
        commands: the programs and their arguments, each in the foreground.
        stop: tells whether the owner asked to stop.

    Returns:
        The exit code.
    """
    _allow_many_files()
    with ExitStack() as stack:
        log = stack.enter_context((folder / "server.log").open("ab"))
        stack.callback(_delete_if_orphaned, owner, folder)
        programs = []
        for command in commands:
            programs.append(_start(command, folder, log.fileno()))
            stack.callback(_end, programs[-1], ending)
        while os.getppid() == owner and not stop.asked:
            if any(program.poll() is not None for program in programs):
                return 1
            time.sleep(POLL)
    return 0


class Ownership(TypedDict, total=False):
    """The options of `subprocess` that name the user that a program runs as."""

    user: int
    group: int
    extra_groups: list[int]


def as_owner_of(folder: Path) -> Ownership:
    """Return the options with which `subprocess` runs a program as the owner of a folder.

    PostgreSQL refuses to run as root. The options are empty where the owner is this process's user.

    Args:
        folder: the folder.
    """
    status = folder.stat()
    if status.st_uid == os.geteuid():
        return {}
    return {"user": status.st_uid, "group": status.st_gid, "extra_groups": []}


def _allow_many_files() -> None:
    """Raise the limit of open files as far as allowed.

    RabbitMQ 3.x sets about three aside for each quorum queue, and takes no more connections when
    none are left: with the usual 1,024 that is with some 300 quorum queues.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _start(command: Sequence[str], folder: Path, log: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 our owner names the programs
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        process_group=0,
        **as_owner_of(folder),
    )


def _end(process: subprocess.Popen[bytes], ending: signal.Signals) -> None:
    # What a program has started in process groups of their own ends when it has exited.
    for number in (signal.SIGCONT, ending):  # a stopped process gets no signal but SIGKILL
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    process.wait()


def _delete_if_orphaned(owner: int, folder: Path) -> None:
    if os.getppid() != owner:
        shutil.rmtree(folder, ignore_errors=True)


def _split(arguments: Sequence[str]) -> list[list[str]]:
    commands: list[list[str]] = [[]]
    for argument in arguments:
        if argument == SEPARATOR:
            commands.append([])
        else:
            commands[-1].append(argument)
    return commands


if __name__ == "__main__":
    requested = Stop()
    signal.signal(signal.SIGTERM, requested)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # A shell that runs tests in the background ignores it, and the programs would inherit that.
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    sys.exit(
        keep(
            int(sys.argv[1]),
            Path(sys.argv[2]),
            signal.Signals[sys.argv[3]],
            _split(sys.argv[4:]),
            requested,
        )
    )
