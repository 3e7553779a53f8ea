"""The workers of a contender: processes that are started, watched and stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.contender import Contender, inherited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.run import Run

PATIENCE = 20.0
"""Seconds that workers get to end."""
_LOG_TAIL = 1500


class WorkerFailedError(Exception):
    """A worker ended by itself, or did not get on; the end of its log is in the message."""


def tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
            found += [int(child) for child in children.split()]
    return found


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB; 0 for one that has ended.

    Of files that it maps, only what it has changed for itself: each task marks its time in a file that
    all share, and a million of them touch eight megabytes of it.
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0


class Workers:
    """The worker processes of one run.

    Args:
        contender: whose.
        run: what for.
    """

    def __init__(self, contender: Contender, run: Run) -> None:
        self._log = Path(run.folder, "workers.log")
        environment = inherited(run, contender.environment(run))
        self.spawned_at = time.time()
        with self._log.open("ab") as log:
            self._processes = [
                subprocess.Popen(command, env=environment, stdout=log, stderr=log)
                for command in contender.workers(run)
            ]

    def resident(self) -> float:
        """Return the resident memory of all of them and what they started, in MiB."""
        pids = [pid for process in self._processes for pid in tree(process.pid)]
        return sum(resident(pid) for pid in pids)

    def log(self) -> str:
        """Return the end of what they wrote."""
        return self._log.read_text(errors="replace")[-_LOG_TAIL:]

    def check(self) -> None:
        """See that all are alive.

        Raises:
            WorkerFailedError: one has ended.
        """
        for process in self._processes:
            if process.poll() is not None:
                raise WorkerFailedError(f"exit code {process.returncode}\n{self.log()}")

    def stop(self) -> None:
        """Ask them to stop, and kill those that do not."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        for process in self._processes:
            pids = tree(process.pid)
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()


@contextlib.contextmanager
def working(contender: Contender, run: Run) -> Iterator[Workers]:
    """Run the workers for a block."""
    workers = Workers(contender, run)
    try:
        yield workers
    finally:
        workers.stop()
