"""Keeps a private RabbitMQ: starts it, and ends it when its owner stops, asks, or dies.

A process of its own, run as a script with the standard library alone. It stands outside the
terminal's process group, so Ctrl-C does not reach it; and it looks at its parent, so a killed test
run leaves no broker behind. The broker holds nothing worth keeping: it is killed, not shut down.

    python keeper.py OWNER_PID FOLDER EPMD RABBITMQ_SERVER

The environment has RabbitMQ's variables. Ends with 0 when stopped, with 1 if the broker ended first.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

POLL = 0.1
"""Seconds between two looks at the owner and the broker."""


class Stop:
    """Remembers a SIGTERM. An exception out of the handler could lose a process being started."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, _signal: int, _frame: object) -> None:
        """Be the signal handler."""
        self.asked = True


def keep(owner: int, folder: Path, epmd: str, server: str, stop: Stop) -> int:
    """Run epmd and the broker until one of them or the owner is gone, then end all and clean up.

    Args:
        owner: the parent's process id.
        folder: everything of this broker; it is deleted if the owner is gone.
        epmd: path of Erlang's port mapper. Started here, since the broker would start it as a
            daemon that outlives everything.
        server: path of RabbitMQ's own start script.
        stop: tells whether the owner asked to stop.

    Returns:
        The exit code.
    """
    _allow_many_files()
    with ExitStack() as stack:
        log = stack.enter_context((folder / "server.log").open("wb"))
        stack.callback(_delete_if_orphaned, owner, folder)
        mapper = _start([epmd, "-port", os.environ["ERL_EPMD_PORT"]], folder, log.fileno())
        stack.callback(_end, mapper)
        broker = _start([server], folder, log.fileno())
        stack.callback(_end, broker)
        while os.getppid() == owner and not stop.asked:
            if broker.poll() is not None or mapper.poll() is not None:
                return 1
            time.sleep(POLL)
    return 0


def _allow_many_files() -> None:
    """Raise the limit of open files as far as allowed.

    RabbitMQ 3.x sets about three aside for each quorum queue, and takes no more connections when
    none are left: with the usual 1,024 that is with some 300 quorum queues.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _start(command: list[str], folder: Path, log: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 our owner names the programs
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        process_group=0,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    # Erlang's own helpers end by themselves when their pipe to the broker closes.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _delete_if_orphaned(owner: int, folder: Path) -> None:
    if os.getppid() != owner:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    requested = Stop()
    signal.signal(signal.SIGTERM, requested)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(keep(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], requested))
