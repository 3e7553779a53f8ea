"""The states of several worker processes, each in a small file that its supervisor reads."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from stem_amqp.observability.probes.state import BLOCKED_AFTER, State

log = logging.getLogger("stem_amqp.observability")

INTERVAL = 0.5
"""Seconds between two writes of a process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Written:
    """A state and when it was written.

    Args:
        pid: the process.
        at: seconds of the system's monotonic clock, which its processes share.
        state: the state.
    """

    pid: int
    at: float
    state: State


_FILE = TypeAdapter(_Written)


@contextmanager
def write_state(file: Path, state: Callable[[], State]) -> Iterator[None]:
    """Write a state into a file every `INTERVAL` during a block, from a thread.

    Args:
        file: the file; it is replaced as a whole.
        state: returns the state; called in the thread.
    """
    stopped = threading.Event()

    def run() -> None:
        while not stopped.is_set():
            _write(file, state())
            stopped.wait(INTERVAL)

    thread = threading.Thread(target=run, name="stem-amqp-probe-state", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()


def _write(file: Path, state: State) -> None:
    written = _Written(pid=os.getpid(), at=time.monotonic(), state=state)
    new = file.with_suffix(".new")
    try:
        new.write_bytes(_FILE.dump_json(written))
        new.replace(file)
    except OSError as error:
        # The supervisor notices that the file is old; when it has exited, the folder is gone
        log.debug("the file %s cannot be written: %s", file, error.strerror)


class SharedState:
    """Reads the states of worker processes.

    A process that has written nothing yet, or was restarted, is alive: its supervisor restarts it. One that a
    command has stopped is none of the processes any more.

    Args:
        files: the file of each process.
        pids: returns the id of each process; 0 if it does not run, None if it is stopped for good.
    """

    def __init__(self, files: Sequence[Path], pids: Callable[[], Sequence[int | None]]) -> None:
        self._files = files
        self._pids = pids

    @property
    def not_alive(self) -> list[str]:
        """Why processes are not alive."""
        return [
            f"worker {number}: {cause}"
            for number, state in self._states()
            if state is not None
            for cause in state.not_alive
        ]

    @property
    def not_ready(self) -> list[str]:
        """Why processes are not ready."""
        return [
            f"worker {number}: {cause}"
            for number, state in self._states()
            for cause in (["it does not run yet"] if state is None else state.not_ready)
        ]

    @property
    def not_started(self) -> list[str]:
        """Why processes have not started."""
        return [
            f"worker {number}: {cause}"
            for number, state in self._states()
            for cause in (["it does not run yet"] if state is None else state.not_started)
        ]

    def _states(self) -> Iterator[tuple[int, State | None]]:
        for number, (file, pid) in enumerate(zip(self._files, self._pids(), strict=True), 1):
            if pid is not None:
                yield number, _read(file, pid)


def _read(file: Path, pid: int) -> State | None:
    """Return the state of a process; None if it has written none."""
    with contextlib.suppress(OSError, ValidationError):
        written = _FILE.validate_json(file.read_bytes())
        if written.pid != pid:
            return None
        age = time.monotonic() - written.at
        if age < BLOCKED_AFTER:
            return written.state
        return replace(written.state, blocked=age)  # not even its threads run
    return None
