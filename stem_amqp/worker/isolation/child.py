"""A child process of the worker, in which tasks run one after another.

A task that crashes its process does not crash the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, Self

from stem_amqp.errors import ProcessDiedError, TimeLimitError
from stem_amqp.outcome import Outcome, Postponed
from stem_amqp.results.base import Progress
from stem_amqp.settings import Settings
from stem_amqp.standard_streams import open_standard_streams
from stem_amqp.worker.isolation.origin import Origin
from stem_amqp.worker.isolation.wire import SIZE, frame, job_fields, outcome_of, read, size_of
from stem_amqp.worker.job import Job

log = logging.getLogger("stem_amqp.worker")

PROGRAM = "stem_amqp.isolated"
"""The module that the child runs; it imports the application, which this layer must not."""
START = 60.0
"""The maximum number of seconds in which a child imports the application and connects."""
CLOSE_LIMIT = 5.0
"""The maximum number of seconds in which a child closes its connections."""
LATER = 30.0
"""Seconds until a job whose process could not be started is delivered again."""
_LIMIT = 2**31
"""The maximum size of a frame in bytes, far above that of any result."""

OnProgress = Callable[[Progress], None]


class ChildUnavailableError(Exception):
    """A child process did not become ready; the message says why."""


def try_later(job: Job, error: ChildUnavailableError) -> Postponed:
    """Log that a job's process could not be started, and return the outcome that postpones the job.

    Args:
        job: the job.
        error: why there is no process; errors inside of it are in its own log.
    """
    log.error(
        "%s must run in a process of its own, which cannot start: %s; trying again in %g s",
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
        """The number of jobs that have run in it."""
        self.memory = 0
        """The number of resident bytes after the last job."""
        self.tainted = False
        """Whether a thread of an earlier job may still run in it."""
        self._process = process
        self._reader = reader
        self._writer = writer

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @classmethod
    async def start(cls, origin: Origin, settings: Settings) -> Self:
        """Start a process, and wait until it has imported the application and is connected.

        Args:
            origin: where the process finds the application.
            settings: the application's settings in this process.

        Raises:
            ChildUnavailableError: it did not become ready.
        """
        # An application that embeds a worker may have closed its standard streams
        open_standard_streams()
        here, there = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                PROGRAM,
                str(there.fileno()),
                pass_fds=(there.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # only the worker handles Ctrl-C
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
            await child._send_settings(origin, settings)
        except BaseException:
            await child.kill()
            raise
        return child

    async def _send_settings(self, origin: Origin, settings: Settings) -> None:
        values = {
            name: _plain(value) for name, value in settings.model_dump(exclude_unset=True).items()
        }
        try:
            async with asyncio.timeout(START):
                await self._send(
                    {"origin": origin.path, "modules": origin.modules, "settings": values}
                )
                said = await self._next()
        except TimeoutError:
            raise ChildUnavailableError(f"it was not ready within {START:g} s") from None
        if said is None:
            raise ChildUnavailableError(await self._exit_reason())
        if "unavailable" in said:
            raise ChildUnavailableError(said["unavailable"])

    async def run(
        self, job: Job, on_progress: OnProgress, *, limit: float | None, overtime: float
    ) -> Outcome:
        """Run a job, and return its outcome.

        If this coroutine is cancelled, the process is killed.

        Args:
            job: the job.
            on_progress: called with the progress that the task reports.
            limit: its hard time limit in seconds, which the child enforces as far as Python can.
            overtime: seconds after the limit when the process is killed.

        Raises:
            ProcessDiedError: the process died.
            TimeLimitError: the process exceeded the limit and the overtime, and was killed.
        """
        deadline = asyncio.timeout(None if limit is None else limit + overtime)
        try:
            async with deadline:
                await self._send({"job": job_fields(job)})
                while (said := await self._next()) is not None:
                    if "outcome" in said:
                        self._note(said)
                        return outcome_of(said["outcome"])
                    on_progress(Progress(**said["progress"]))
                raise ProcessDiedError(await self._exit_reason())
        except TimeoutError:
            await self.kill()
            if not deadline.expired():
                raise
            raise TimeLimitError(
                f"its process exceeded the time limit of {limit:g} s and was killed"
            ) from None
        except asyncio.CancelledError:
            await self.kill()
            raise

    def reload_keys(self) -> None:
        """Tell the process to read its keys again, also while a job runs in it."""
        if self.alive:
            self._writer.write(frame({"reload": True}))

    async def end(self) -> None:
        """Tell the process to close its connections and exit; kill it if that takes too long."""
        with contextlib.suppress(ConnectionError, TimeoutError, ProcessDiedError):
            async with asyncio.timeout(CLOSE_LIMIT):
                await self._send({"end": True})
                await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """Kill the process, and wait until it has ended."""
        self._writer.close()
        if self._process.returncode is None:
            # Not through asyncio, which would take the exit code from a `wait` that is in progress
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.returncode is None

    def _note(self, said: Mapping[str, Any]) -> None:
        self.runs += 1
        self.memory = said["memory"]
        self.tainted = said["tainted"]

    async def _send(self, value: Mapping[str, Any]) -> None:
        self._writer.write(frame(value))
        # `_next` detects that the child has ended
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def _next(self) -> Mapping[str, Any] | None:
        try:
            size = size_of(await self._reader.readexactly(SIZE))
            return read(await self._reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def _exit_reason(self) -> str:
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
