"""A child process of the worker, in which tasks run one after the other.

Whatever a task does to its process, the worker lives on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, Self

from stem_amqp.errors import ProcessDiedError, TimeLimitError
from stem_amqp.results.base import Progress
from stem_amqp.settings import Settings
from stem_amqp.worker.child_wire import SIZE, frame, job_fields, outcome_of, read, size_of
from stem_amqp.worker.job import Job
from stem_amqp.worker.outcome import Outcome, Postponed

log = logging.getLogger("stem_amqp.worker")

PROGRAM = "stem_amqp.cli.isolated"
"""The module that the child runs; it imports the application, which this layer must not."""
START = 60.0
"""Seconds that a child gets to import the application and to connect."""
FAREWELL = 5.0
"""Seconds that a child gets to close its connections."""
LATER = 30.0
"""Seconds after which a job is tried again whose process could not be started."""
_LIMIT = 2**31
"""Bytes of one frame at most, which no result comes near."""

OnProgress = Callable[[Progress], None]


class ChildUnavailableError(Exception):
    """A child process did not get ready; the message says why."""


def try_later(job: Job, error: ChildUnavailableError) -> Postponed:
    """Put a job off whose process could not be started, and say so.

    Args:
        job: the job.
        error: why there is no process; what happened in it is in its own log.
    """
    log.error(
        "%s is to run in a process of its own, which cannot start: %s; trying again in %g s",
        job,
        error,
        LATER,
    )
    return Postponed(delay=LATER)


class ChildProcess:
    """A process that has imported the application and waits for jobs; see `start`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.runs = 0
        """Jobs that have run in it."""
        self.memory = 0
        """Bytes that were resident after the last one."""
        self.tainted = False
        """Whether something of an earlier job may still go on in it."""
        self._process = process
        self._reader = reader
        self._writer = writer

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @classmethod
    async def start(cls, origin: str, settings: Settings) -> Self:
        """Start a process, and wait until it has imported the application and is connected.

        Args:
            origin: where the application is, for the child to import; see `origin.origin_of`.
            settings: the application's settings, as they are in this process.

        Raises:
            ChildUnavailableError: it did not get ready.
        """
        here, there = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                PROGRAM,
                str(there.fileno()),
                pass_fds=(there.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is the worker's to handle
            )
        except OSError as error:
            here.close()
            raise ChildUnavailableError(str(error)) from error
        except BaseException:
            here.close()
            raise
        finally:
            there.close()
        child = cls(process, *await asyncio.open_connection(sock=here, limit=_LIMIT))
        try:
            await child._introduce(origin, settings)
        except BaseException:
            await child.kill()
            raise
        return child

    async def _introduce(self, origin: str, settings: Settings) -> None:
        values = {
            name: _plain(value) for name, value in settings.model_dump(exclude_unset=True).items()
        }
        try:
            async with asyncio.timeout(START):
                await self._say({"origin": origin, "settings": values})
                said = await self._next()
        except TimeoutError:
            raise ChildUnavailableError(f"it was not ready within {START:g} s") from None
        if said is None:
            raise ChildUnavailableError(await self._epitaph())
        if "unavailable" in said:
            raise ChildUnavailableError(said["unavailable"])

    async def run(
        self, job: Job, on_progress: OnProgress, *, limit: float | None, overtime: float
    ) -> Outcome:
        """Run a job, and return what came of it.

        If it is cancelled, the process is killed.

        Args:
            job: the job.
            on_progress: called with what the task reports.
            limit: its hard time limit in seconds, which the child enforces as far as Python can.
            overtime: seconds beyond it after which the process is killed.

        Raises:
            ProcessDiedError: the process died.
            TimeLimitError: it went on beyond the limit, and was killed.
        """
        deadline = asyncio.timeout(None if limit is None else limit + overtime)
        try:
            async with deadline:
                await self._say({"job": job_fields(job)})
                while (said := await self._next()) is not None:
                    if "outcome" in said:
                        self._note(said)
                        return outcome_of(said["outcome"])
                    on_progress(Progress(**said["progress"]))
                raise ProcessDiedError(await self._epitaph())
        except TimeoutError:
            await self.kill()
            if not deadline.expired():
                raise
            raise TimeLimitError(
                f"its process went on beyond the time limit of {limit:g} s, and was killed"
            ) from None
        except asyncio.CancelledError:
            await self.kill()
            raise

    async def end(self) -> None:
        """Let the process close its connections, or kill it if that takes too long."""
        with contextlib.suppress(ConnectionError, TimeoutError, ProcessDiedError):
            async with asyncio.timeout(FAREWELL):
                await self._say({"end": True})
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End the process at once."""
        self._writer.close()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.returncode is None

    def _note(self, said: Mapping[str, Any]) -> None:
        self.runs += 1
        self.memory = said["memory"]
        self.tainted = said["tainted"]

    async def _say(self, value: Mapping[str, Any]) -> None:
        self._writer.write(frame(value))
        # a child that is gone is noticed where its answer is read
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def _next(self) -> Mapping[str, Any] | None:
        try:
            size = size_of(await self._reader.readexactly(SIZE))
            return read(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def _epitaph(self) -> str:
        code = await self._process.wait()
        if code >= 0:
            return f"its process ended with exit code {code}"
        try:
            return f"its process was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"its process was killed by signal {-code}"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value
