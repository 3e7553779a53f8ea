"""A task run in a child process of its own: whatever it does to the process, the worker lives on."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from stem_amqp.results.base import Progress
from stem_amqp.settings import Settings
from stem_amqp.states import Reason
from stem_amqp.worker.child_wire import SIZE, frame, job_fields, outcome_of, read, size_of
from stem_amqp.worker.job import Job
from stem_amqp.worker.outcome import Dead, Failure, Outcome, Postponed

log = logging.getLogger("stem_amqp.worker")

PROGRAM = "stem_amqp.cli.isolated"
"""The module that the child runs; it imports the application, which this layer must not."""
START = 60.0
"""Seconds that a child gets to import the application and to connect."""
OVERTIME = 10.0
"""Seconds that a child may run beyond the task's hard time limit, which it enforces itself."""
LATER = 30.0
"""Seconds after which a task is tried again whose child could not be started."""
_LIMIT = 2**31
"""Bytes of one frame at most, which no result comes near."""


class ChildRun:
    """One run of a job in a child process.

    Args:
        origin: where the application is, for the child to import; see `origin.origin_of`.
        settings: the application's settings, as they are in this process.
        on_progress: called with what the task reports.
    """

    def __init__(
        self, origin: str, settings: Settings, on_progress: Callable[[Progress], None]
    ) -> None:
        self._origin = origin
        self._settings = settings
        self._on_progress = on_progress

    async def run(self, job: Job, limit: float | None) -> Outcome:
        """Run a job, and return what came of it; a child that dies is an outcome too.

        If it is cancelled, the child is killed.

        Args:
            job: the job.
            limit: its hard time limit in seconds, if it has one.
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
            return self._unavailable(job, str(error))
        except BaseException:
            here.close()
            raise
        finally:
            there.close()
        try:
            reader, writer = await asyncio.open_connection(sock=here, limit=_LIMIT)
            try:
                writer.write(frame(self._order(job)))
                await writer.drain()
                return await self._follow(job, reader, process, limit)
            finally:
                writer.close()
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def _order(self, job: Job) -> dict[str, Any]:
        settings = {
            name: _plain(value)
            for name, value in self._settings.model_dump(exclude_unset=True).items()
        }
        return {"origin": self._origin, "settings": settings, "job": job_fields(job)}

    async def _follow(
        self,
        job: Job,
        reader: asyncio.StreamReader,
        process: asyncio.subprocess.Process,
        limit: float | None,
    ) -> Outcome:
        """Read what the child says until it has an outcome, or is gone."""
        ready, deadline = False, asyncio.timeout(START)
        try:
            async with deadline:
                while (said := await _next(reader)) is not None:
                    if "outcome" in said:
                        return outcome_of(said["outcome"])
                    if "unavailable" in said:
                        return self._unavailable(job, said["unavailable"])
                    if "progress" in said:
                        self._on_progress(Progress(**said["progress"]))
                    else:
                        ready = True
                        deadline.reschedule(_end(limit))
                code = await process.wait()
        except TimeoutError:
            if not deadline.expired():
                raise
            end = f"its process went on for {OVERTIME:g} s after its time limit, and was killed"
            slow = f"it was not ready within {START:g} s"
            return _crashed(end) if ready else self._unavailable(job, slow)
        return _crashed(_epitaph(code)) if ready else self._unavailable(job, _epitaph(code))

    def _unavailable(self, job: Job, why: str) -> Outcome:
        log.error(
            "%s is to run in a process of its own, which cannot start: %s; trying again in %g s",
            job,
            why,
            LATER,
        )
        return Postponed(delay=LATER)


def _end(limit: float | None) -> float | None:
    if limit is None:
        return None
    return asyncio.get_running_loop().time() + limit + OVERTIME


async def _next(reader: asyncio.StreamReader) -> Mapping[str, Any] | None:
    try:
        return read(await reader.readexactly(size_of(await reader.readexactly(SIZE))))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def _epitaph(code: int) -> str:
    if code < 0:
        try:
            return f"its process was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"its process was killed by signal {-code}"
    return f"its process ended with exit code {code}"


def _crashed(how: str) -> Dead:
    return Dead(reason=Reason.CRASHED, failure=Failure(error=how))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value
