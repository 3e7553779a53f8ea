"""The workers: two processes with RabbitMQ, or two workers in this process without a broker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from examples.orders.events import READY, Report, follow
from examples.orders.tasks import RELEASE
from stem_amqp import Stem, StemError

SIZE = 2
"""Number of workers that run at the same time."""
START_TIME = 30.0
STOP_TIME = 15.0
PROJECT = Path(__file__).parents[2]


class Crew(ABC):
    """The workers of the demo.

    Attributes:
        where: a description of the workers.
        can_kill: whether one of them can be killed.
    """

    where: str
    can_kill: bool = False

    @abstractmethod
    async def start(self, release: str) -> None:
        """Start `SIZE` workers, and wait until they consume.

        Args:
            release: the release of the tasks' code that they run.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Stop every worker after its running tasks."""


class LocalCrew(Crew):
    """Workers in this process.

    Args:
        app: the application with the tasks.
        environment: the variables that the tasks read.
        report: called with each state of a task.
    """

    where = "2 in this process"

    def __init__(self, app: Stem, environment: Mapping[str, str], report: Report) -> None:
        follow(app, report)
        self._app = app
        self._environment = dict(environment)
        self._stack = contextlib.AsyncExitStack()

    async def start(self, release: str) -> None:
        """Start the workers."""
        os.environ.update(self._environment | {RELEASE: release})
        await self._stack.enter_async_context(self._app)
        for number in range(1, SIZE + 1):
            worker = self._app.worker(["orders"], name=f"worker-{number}")
            await self._stack.enter_async_context(worker.running())

    async def stop(self) -> None:
        """Stop the workers."""
        await self._stack.aclose()
        for name in [*self._environment, RELEASE]:
            os.environ.pop(name, None)


class ProcessCrew(Crew):
    """Workers in separate processes.

    Args:
        environment: variables that they get in addition to this process's.
        folder: the folder of their logs.
        report: called with each state of a task.
    """

    where = "2 processes of stem-amqp worker"
    can_kill = True

    def __init__(self, environment: Mapping[str, str], folder: Path, report: Report) -> None:
        self._environment = {**os.environ, **environment, "PYTHONPATH": _search_path()}
        self._folder = folder
        self._report = report
        self._number = 0
        self._last_runs: dict[str, str] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._readers: set[asyncio.Task[None]] = set()

    async def start(self, release: str) -> None:
        """Start the workers."""
        self._environment[RELEASE] = release
        await asyncio.gather(*(self.start_one() for _ in range(SIZE)))

    async def start_one(self) -> str:
        """Start another worker, wait until it consumes, and return its name.

        Raises:
            StemError: the worker does not start; the message contains the end of its log.
        """
        self._number += 1
        name = f"worker-{self._number}"
        log = self._folder / f"{name}.log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "stem_amqp", "worker", "examples.orders.watched:stem"),
                # So that the worker exits when the demo is killed
                *("--queues", "orders", "--name", name, "--parent", str(os.getpid())),
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                # Ctrl-C goes to the demo, which stops the workers
                start_new_session=True,
            )
        self._processes[name] = process
        ready = asyncio.Event()
        reader = asyncio.create_task(self._read(name, process, ready), name=f"read {name}")
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ready.wait(), START_TIME)
        if process.returncode is not None or not ready.is_set():
            end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise StemError(f"{name} does not start:\n{end}")
        return name

    def kill_one(self) -> tuple[str, list[str]]:
        """Kill the newest worker with SIGKILL.

        Returns:
            Its name, and the ids of the tasks that it ran last.
        """
        name, process = self._processes.popitem()
        process.kill()
        return name, [task_id for task_id, worker in self._last_runs.items() if worker == name]

    async def stop(self) -> None:
        """Stop the workers; one that does not stop is killed."""
        processes, self._processes = list(self._processes.values()), {}
        for process in processes:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        await asyncio.gather(*(_ended(process) for process in processes))
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def _read(
        self, name: str, process: asyncio.subprocess.Process, ready: asyncio.Event
    ) -> None:
        if process.stdout is None:
            return
        async for line in process.stdout:
            task_id, _, state = line.decode().strip().partition(" ")
            if task_id == READY:
                ready.set()
            elif state:
                self._last_runs[task_id] = name
                self._report(task_id, state)
        await process.wait()
        ready.set()


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        await asyncio.wait_for(process.wait(), STOP_TIME)
    except TimeoutError:
        process.kill()
        await process.wait()


def _search_path() -> str:
    return os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
