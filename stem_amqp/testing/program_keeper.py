"""Keeps a private server: starts it, and ends it when its owner stops, asks, or dies.

A process of its own, run as a script with the standard library alone, and outside the terminal's
process group, so Ctrl-C does not reach it. It looks at its parent, so a killed test run leaves no
server behind. The server is killed, not shut down, as in a crash.

    python program_keeper.py OWNER_PID FOLDER PROGRAM [ARGUMENT ...]

Ends with 0 when stopped, with 1 if the server ended first.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

POLL = 0.05
"""Seconds between two looks at the owner and the server."""


class Stop:
    """Remembers a SIGTERM. An exception out of the handler could lose a process being started."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, _signal: int, _frame: object) -> None:
        """Be the signal handler."""
        self.asked = True


def keep(owner: int, folder: Path, command: list[str], stop: Stop) -> int:
    """Run a server until it or the owner is gone, then end it.

    Args:
        owner: the parent's process id.
        folder: where the server runs; it is deleted if the owner is gone.
        command: the program and its arguments.
        stop: tells whether the owner asked to stop.

    Returns:
        The exit code.
    """
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(  # noqa: S603 our owner names the program
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
        )
    try:
        while os.getppid() == owner and not stop.asked:
            if server.poll() is not None:
                return 1
            time.sleep(POLL)
        return 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        if os.getppid() != owner:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    requested = Stop()
    signal.signal(signal.SIGTERM, requested)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(keep(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:], requested))
