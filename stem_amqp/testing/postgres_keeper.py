"""Keeps a private PostgreSQL: starts it, and ends it when its owner stops, asks, or dies.

A process of its own, run as a script with the standard library alone, so that a killed test run
leaves no server behind. PostgreSQL refuses to run as root, so it runs as the folder's owner.

    python postgres_keeper.py OWNER_PID FOLDER COMMAND...

Ends with 0 when stopped, with 1 if the server ended first.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

POLL = 0.05
"""Seconds between two looks at the owner and the server."""


class Stop:
    """Remembers a SIGTERM. An exception out of the handler could lose a process being started."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, _signal: int, _frame: object) -> None:
        """Be the signal handler."""
        self.asked = True


def keep(owner: int, folder: Path, command: Sequence[str], stop: Stop) -> int:
    """Run the server until it or the owner is gone, then end it and clean up.

    Args:
        owner: the parent's process id.
        folder: everything of this server; it is deleted if the owner is gone.
        command: the server, in the foreground.
        stop: tells whether the owner asked to stop.

    Returns:
        The exit code.
    """
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(  # noqa: S603 our owner names the program
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
            **as_owner_of(folder),
        )
    ended = False
    while os.getppid() == owner and not stop.asked and not ended:
        time.sleep(POLL)
        ended = server.poll() is not None
    if not ended:
        server.send_signal(signal.SIGCONT)
        server.send_signal(signal.SIGQUIT)  # its immediate shutdown
        server.wait()
    if os.getppid() != owner:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if ended else 0


def as_owner_of(folder: Path) -> dict[str, Any]:
    """Return what makes `subprocess` run something as the owner of a folder, where that is not us.

    Args:
        folder: the folder.
    """
    status = folder.stat()
    if status.st_uid == os.geteuid():
        return {}
    return {"user": status.st_uid, "group": status.st_gid, "extra_groups": []}


if __name__ == "__main__":
    requested = Stop()
    signal.signal(signal.SIGTERM, requested)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # a shell that runs tests in the background ignores it, and the server would inherit that
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    sys.exit(keep(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:], requested))
