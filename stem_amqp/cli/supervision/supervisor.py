"""Supervise several worker processes and restart those that exit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial

from stem_amqp.cli.exit_codes import ExitCode
from stem_amqp.cli.supervision.hangup import HangUp
from stem_amqp.cli.supervision.signal_handlers import Handlers, on_signals

log = logging.getLogger("stem_amqp.cli")

STARTED_AFTER = 10.0
"""Seconds after which a process counts as started; the back-off of its restarts is reset."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
_PERMANENT = frozenset({ExitCode.USAGE, ExitCode.REFUSED})
"""Exit codes that a restart cannot change."""


class Supervisor:
    """Starts worker processes, restarts those that exit, and forwards signals.

    Args:
        command: returns the command line of a process by its number, from 1 on.
        count: the number of processes.
        patience: maximum seconds for a process to stop, after which it is killed.
        on_exit: called with the number of a process that has exited.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        *,
        count: int,
        patience: float,
        on_exit: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._command = command
        self._on_exit = on_exit
        self._patience = patience
        self._slots = [Slot(number) for number in range(1, count + 1)]
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Run until a signal stops it, and return the exit code.

        It also ends when no process can start because of its configuration. After it the signals are
        ignored: the process is about to exit.
        """
        handlers: Handlers = {
            signal.SIGTERM: partial(self._pass_on, signal.SIGTERM),
            signal.SIGINT: partial(self._pass_on, signal.SIGINT),
            signal.SIGHUP: HangUp(self._reload, self._hang_up),
        }
        with on_signals(handlers):
            log.info("process %d supervises %d workers", os.getpid(), len(self._slots))
            await asyncio.gather(*(self._keep(slot) for slot in self._slots))
            log.info("all workers have exited")
        codes = (slot.exit_code for slot in self._slots)
        return next(
            (code for code in codes if code not in {ExitCode.OK, ExitCode.COMMANDED}), ExitCode.OK
        )

    def restarted_within(self, seconds: float) -> bool:
        """Return whether a process was started within the last seconds."""
        return any(slot.age < seconds for slot in self._slots)

    @property
    def pids(self) -> list[int | None]:
        """The id of each process; 0 if it does not run, None if a command has stopped it for good.

        Any thread may read it.
        """
        return [None if slot.retired else slot.pid if slot.alive else 0 for slot in self._slots]

    def _pass_on(self, number: signal.Signals) -> None:
        log.info("%s: stopping %d workers", number.name, len(self._slots))
        self._stop(number)

    def _reload(self) -> None:
        log.info("SIGHUP: %d workers reload their keys", len(self._slots))
        for slot in self._slots:
            slot.send(signal.SIGHUP)

    def _hang_up(self, reason: str) -> None:
        log.info("%s", reason)
        self._pass_on(signal.SIGTERM)

    def _stop(self, number: signal.Signals) -> None:
        if not self._stopping.is_set():
            self._stopping.set()
            asyncio.get_running_loop().call_later(self._patience, self._kill)
        for slot in self._slots:
            slot.send(number)

    def _kill(self) -> None:
        for slot in self._slots:
            if slot.alive:
                log.error(
                    "worker %d (process %d) did not stop within %g s: killing it",
                    slot.number,
                    slot.pid,
                    self._patience,
                )
                slot.send(signal.SIGKILL)

    async def _keep(self, slot: Slot) -> None:
        """Keep one process running."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            await slot.start(self._command(slot.number))
            if self._stopping.is_set():  # the signal arrived before the process was started
                slot.send(signal.SIGTERM)
            await slot.ended()
            self._on_exit(slot.number)
            if self._stopping.is_set():
                break
            if slot.exit_code == ExitCode.COMMANDED:
                log.info("worker %d was stopped by a command, and is not restarted", slot.number)
                break
            if all(other.cannot_start for other in self._slots):
                log.critical("no worker can start: stopping%s", self._advice())
                self._stop(signal.SIGTERM)
                break
            if slot.age >= STARTED_AFTER:
                pause = FIRST_PAUSE
            log.error(
                "worker %d (process %d) %s; restarting it in %g s",
                slot.number,
                slot.pid,
                slot.exit_reason,
                pause,
            )
            await self._sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _advice(self) -> str:
        unreachable = any(slot.exit_code == ExitCode.UNREACHABLE for slot in self._slots)
        return "; use --wait-for-broker 5m to wait for the broker" if unreachable else ""

    async def _sleep(self, pause: float) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({stopping}, timeout=pause)
        stopping.cancel()


class Slot:
    """One worker process and its successors after restarts.

    Args:
        number: the number of the worker.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.has_started = False
        self._code: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._started = 0.0

    @property
    def pid(self) -> int:
        """The process id; 0 before the first one."""
        return self._process.pid if self._process is not None else 0

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.returncode is None

    @property
    def retired(self) -> bool:
        """Whether a command has stopped it, so that it is not started again."""
        return self._code == ExitCode.COMMANDED and not self.alive

    @property
    def age(self) -> float:
        """Seconds since the process was started."""
        return time.monotonic() - self._started

    @property
    def cannot_start(self) -> bool:
        """Whether it exited for a permanent reason, and has not started since.

        If the broker cannot be reached, a process that has never started gives up, as a single worker
        does; one that has started before is restarted until the broker is back.
        """
        reasons = _PERMANENT if self.has_started else _PERMANENT | {ExitCode.UNREACHABLE}
        return self._code in reasons and not (self.alive and self.age >= STARTED_AFTER)

    @property
    def exit_code(self) -> int:
        """Its contribution to the supervisor's exit code."""
        code = self._code or 0
        if code in {-signal.SIGTERM, -signal.SIGINT}:  # arrived before the handlers were set
            return ExitCode.OK
        return code if code >= 0 else ExitCode.NO

    @property
    def exit_reason(self) -> str:
        """How the last process exited, as text."""
        code = self._code or 0
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"exited with code {code}"

    async def start(self, command: Sequence[str]) -> None:
        """Start a process.

        Args:
            command: the program and its arguments.
        """
        # A separate session: Ctrl-C in a terminal reaches only the parent, which forwards it once; a
        # second signal would shorten the grace time
        self._started = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(*command, start_new_session=True)
        log.info("worker %d is process %d", self.number, self.pid)

    async def ended(self) -> None:
        """Wait until it has exited."""
        if self._process is not None:
            self._code = await self._process.wait()
            connected = self._code != ExitCode.UNREACHABLE
            self.has_started = self.has_started or (connected and self.age >= STARTED_AFTER)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process is running."""
        if self._process is not None and self.alive:
            # Not through asyncio, which would reap the process and take its exit code away from the
            # task that waits for it
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)
