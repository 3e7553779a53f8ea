"""The entry point of a child process that runs tasks: ``python -m stem_amqp.isolated FD``.

The worker that starts it is at the other end of the socket. The child exits when the worker does.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import importlib.util
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from stem_amqp.app import Stem
from stem_amqp.errors import ConfigurationError, StemError
from stem_amqp.locate import find
from stem_amqp.messages.message import TaskMessage, shortened
from stem_amqp.observability import Telemetry
from stem_amqp.observability.registry.process import resident_bytes
from stem_amqp.results.base import Progress
from stem_amqp.settings import Provision
from stem_amqp.signing.reload import reload_keys
from stem_amqp.standard_streams import open_standard_streams
from stem_amqp.states import TaskState
from stem_amqp.worker.executor import Executor
from stem_amqp.worker.isolation.wire import (
    SIZE,
    frame,
    job_of,
    outcome_fields,
    progress_fields,
    read,
    size_of,
)
from stem_amqp.worker.job import Job
from stem_amqp.worker.report.logs import configure, task_fields
from stem_amqp.worker.running.fork import own_signals
from stem_amqp.worker.running.resources import Resources
from stem_amqp.worker.running.run import Runs
from stem_amqp.worker.running.threads import ThreadPool

log = logging.getLogger("stem_amqp.worker")

MESSAGE_LIMIT = 4096
"""Bytes that are kept of a progress message that is sent without its data."""


class _Watcher:
    """Reports progress to the worker, which observes the run in all other respects."""

    def __init__(self, writer: asyncio.StreamWriter, telemetry: Telemetry) -> None:
        self._writer = writer
        self._telemetry = telemetry

    async def started(self, job: Job) -> None:
        """Report that the run is in this process; the worker has reported its start."""
        for report in self._telemetry.run_in_child:
            report(job)

    def progressed(self, job: Job, progress: Progress) -> None:  # noqa: ARG002
        """Send progress to the worker, without the data if JSON cannot encode it."""
        fields = progress_fields(progress)
        try:
            content = frame({"progress": fields})
        except TypeError:
            text = progress.message and shortened(progress.message, MESSAGE_LIMIT)
            content = frame({"progress": {**fields, "message": text, "data": None}})
        self._writer.write(content)

    def revoked(self, message: TaskMessage, queue: str) -> str | None:  # noqa: ARG002
        """Return None: to revoke a task, the worker kills the child."""
        return None

    async def processed_state(self, job: Job) -> TaskState | None:  # noqa: ARG002
        """Return None: the worker has checked before."""
        return None

    async def ended(self, job: Job, *, settled: bool) -> None:
        """Do nothing: the worker settles the delivery."""


async def serve(connection: socket.socket) -> None:
    """Carry out the orders of the worker at the other end.

    Args:
        connection: the socket.
    """
    reader, writer = await asyncio.open_connection(sock=connection)
    orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    reloads: list[Callable[[], None]] = []
    listening = asyncio.create_task(_listen(reader, orders, reloads), name="listen to the worker")
    try:
        app = _application(await orders.get())
        reloads.append(functools.partial(reload_keys, app.reload_keys))
        async with app:
            writer.write(frame({"ready": True}))
            await _work(app, orders, writer)
        for report in app.blueprint.telemetry.exiting:
            report()
    except StemError as error:
        writer.write(frame({"unavailable": str(error)}))
        await writer.drain()
    finally:
        listening.cancel()


async def _listen(
    reader: asyncio.StreamReader,
    orders: asyncio.Queue[dict[str, Any]],
    reloads: Sequence[Callable[[], None]],
) -> None:
    """Receive orders; exit at once when the worker has ended, even while a task runs."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            size = size_of(await reader.readexactly(SIZE))
            order = read(await reader.readexactly(size))
            if "reload" not in order:
                orders.put_nowait(order)
                continue
            for reload in reloads:
                # also while a job runs: tasks that it enqueues are signed with the new key
                reload()
    os._exit(1)


async def _work(
    app: Stem, orders: asyncio.Queue[dict[str, Any]], writer: asyncio.StreamWriter
) -> None:
    """Run one job after another, until the worker sends an order to end."""
    threads = ThreadPool(1)
    resources = Resources(app.blueprint.overrides, app.settings)
    executor = _executor(app, writer, threads, resources)
    while "job" in (order := await orders.get()):
        with task_fields():
            outcome = await executor.execute(job_of(order["job"]))
        done = {
            "outcome": outcome_fields(outcome),
            "memory": resident_bytes(),
            "tainted": threads.abandoned > 0,
        }
        writer.write(frame(done))
        await writer.drain()
    await resources.close()


def _executor(
    app: Stem, writer: asyncio.StreamWriter, threads: ThreadPool, resources: Resources
) -> Executor:
    watcher = _Watcher(writer, app.blueprint.telemetry)
    runs = Runs(
        app.blueprint,
        app.connected,
        threads=threads,
        watcher=watcher,
        resources=resources,
        app=app,
        worker=f"{socket.gethostname()}:{os.getpid()}:isolated",
        alone=True,
    )
    return Executor(app.blueprint, app.connected, watcher=watcher, runs=runs, telemetry=Telemetry())


def _application(order: dict[str, Any]) -> Stem:
    """Import the application, and give it the worker's settings."""
    app = _find(order["origin"])
    values = order["settings"] | {"provision": Provision.NONE}
    app.reconfigure(**values)
    configure(app.settings.log_level, app.settings.log_format)
    _import_tasks(order["modules"])
    return app


def _import_tasks(modules: Sequence[str]) -> None:
    """Import the modules of the worker's tasks that the application's own module does not import."""
    for name in modules:
        if name in sys.modules:
            continue
        try:
            importlib.import_module(name)
        except (Exception, SystemExit):
            log.warning("tasks of %s are unknown here: it cannot be imported", name, exc_info=True)


def _find(origin: str) -> Stem:
    path, _, attribute = origin.rpartition(":")
    if not path.endswith(".py"):
        return find(origin)
    # A script is imported under a name other than __main__, so that its guarded part does not run
    spec = importlib.util.spec_from_file_location("__stem_main__", path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    app = getattr(module, attribute, None)
    if not isinstance(app, Stem):
        raise ConfigurationError(f"{path} has no application called {attribute}")
    return app


async def _main(connection: socket.socket, signals_are_set: Callable[[], None]) -> None:
    signals_are_set()
    await serve(connection)


def _keep_from_forks(descriptor: int) -> None:
    """Close a descriptor in processes that tasks fork: its end of file signals this one's exit."""
    own = os.getpid()

    def close() -> None:
        if os.getppid() == own:  # it is already closed in forks of forks
            os.close(descriptor)

    os.register_at_fork(after_in_child=close)


def main() -> None:
    """Serve the inherited socket."""
    open_standard_streams()
    descriptor = int(sys.argv[1])
    _keep_from_forks(descriptor)
    with own_signals({signal.SIGINT}) as are_set:
        asyncio.run(_main(socket.socket(fileno=descriptor), are_set))
    os._exit(0)  # a thread of a task may still run


if __name__ == "__main__":
    main()
