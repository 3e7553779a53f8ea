"""Several worker processes under one parent, which restarts those that die."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence

from stem_amqp.cli.exit_codes import ExitCode
from stem_amqp.cli.hangup import HangUp

log = logging.getLogger("stem_amqp.cli")

SETTLED = 10.0
"""Seconds after which a process counts as well started: its next death restarts it at once."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
_HOPELESS = frozenset({ExitCode.USAGE, ExitCode.REFUSED})
"""Exit codes that another start will not change."""


class Supervisor:
    """Starts worker processes, restarts those that die, and passes signals on.

    Args:
        command: the command line of a process, by its number from 1 on.
        count: how many processes.
        patience: seconds that a process may take to stop before it is killed.
    """

    def __init__(
        self, command: Callable[[int], Sequence[str]], *, count: int, patience: float
    ) -> None:
        self._command = command
        self._patience = patience
        self._slots = [Slot(number) for number in range(1, count + 1)]
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Run until a signal ends it, and return the exit code.

        It also ends when no process can start because of its configuration.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._pass_on, number)
        loop.add_signal_handler(signal.SIGHUP, HangUp(self._reload, self._hang_up))
        log.info("process %d supervises %d workers", os.getpid(), len(self._slots))
        await asyncio.gather(*(self._keep(slot) for slot in self._slots))
        log.info("all workers have ended")
        return next((slot.exit_code for slot in self._slots if slot.exit_code), ExitCode.OK)

    def _pass_on(self, number: signal.Signals) -> None:
        log.info("%s: stopping %d workers", number.name, len(self._slots))
        self._stop(number)

    def _reload(self) -> None:
        log.info("SIGHUP: %d workers read their keys again", len(self._slots))
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
            if self._stopping.is_set():  # since the signal found no process to go to
                slot.send(signal.SIGTERM)
            await slot.ended()
            if self._stopping.is_set():
                break
            if all(other.hopeless for other in self._slots):
                log.critical("no worker can start: stopping")
                self._stop(signal.SIGTERM)
                break
            if slot.age >= SETTLED:
                pause = FIRST_PAUSE
            log.error(
                "worker %d (process %d) %s; starting it again in %g s",
                slot.number,
                slot.pid,
                slot.epitaph,
                pause,
            )
            await self._sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _sleep(self, pause: float) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({stopping}, timeout=pause)
        stopping.cancel()


class Slot:
    """The place of one process, which several may fill one after the other.

    Args:
        number: tells it from others.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._code: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._started = 0.0

    @property
    def pid(self) -> int:
        """The process id; 0 before the first one."""
        return self._process.pid if self._process is not None else 0

    @property
    def alive(self) -> bool:
        """Whether a process is there."""
        return self._process is not None and self._process.returncode is None

    @property
    def age(self) -> float:
        """Seconds since the process was started."""
        return time.monotonic() - self._started

    @property
    def hopeless(self) -> bool:
        """Whether it ended for a reason that stays, and does not run well since."""
        return self._code in _HOPELESS and not (self.alive and self.age >= SETTLED)

    @property
    def exit_code(self) -> int:
        """What its end means for the supervisor's own exit code."""
        code = self._code or 0
        if code in {-signal.SIGTERM, -signal.SIGINT}:  # came before they could be handled
            return ExitCode.OK
        return code if code >= 0 else ExitCode.NO

    @property
    def epitaph(self) -> str:
        """How the last process ended, in words."""
        code = self._code or 0
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    async def start(self, command: Sequence[str]) -> None:
        """Start a process.

        Args:
            command: the program and its arguments.
        """
        # A session of its own: Ctrl-C in a terminal reaches the parent only, which passes it on
        # once; a second signal would mean "hurry"
        self._started = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(*command, start_new_session=True)
        log.info("worker %d is process %d", self.number, self.pid)

    async def ended(self) -> None:
        """Wait for its end."""
        if self._process is not None:
            self._code = await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if a process is there."""
        if self._process is not None and self.alive:
            self._process.send_signal(number)
