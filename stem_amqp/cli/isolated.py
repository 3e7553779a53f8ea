"""A child process in which tasks run: ``python -m stem_amqp.cli.isolated FD``.

The worker that starts it is at the other end of the socket; when that goes away, so does the child.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import resource
import socket
import sys
from pathlib import Path
from typing import Any

from stem_amqp.app import Stem
from stem_amqp.cli.load import find
from stem_amqp.errors import ConfigurationError, StemError
from stem_amqp.results.base import Progress
from stem_amqp.settings import Provision
from stem_amqp.states import TaskState
from stem_amqp.topology.load import load_topology
from stem_amqp.topology.names import Names
from stem_amqp.worker.child_wire import (
    SIZE,
    frame,
    job_of,
    outcome_fields,
    progress_fields,
    read,
    size_of,
)
from stem_amqp.worker.executor import Executor
from stem_amqp.worker.job import Job
from stem_amqp.worker.logs import configure, task_fields
from stem_amqp.worker.resources import Resources
from stem_amqp.worker.threads import ThreadPool


class _Watcher:
    """Tells the worker how the run goes on; it has seen to the rest before."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def started(self, job: Job) -> None:
        """Nothing: the worker has told of it."""

    def progressed(self, job: Job, progress: Progress) -> None:  # noqa: ARG002
        """Pass it on."""
        self._writer.write(frame({"progress": progress_fields(progress)}))

    def revoked(self, task_id: str) -> str | None:  # noqa: ARG002
        """Nothing is revoked here: the worker kills the child."""
        return None

    async def carried_out(self, job: Job) -> TaskState | None:  # noqa: ARG002
        """Leave it to the worker, which has looked."""
        return None


async def serve(connection: socket.socket) -> None:
    """Do what the worker at the other end orders.

    Args:
        connection: the socket.
    """
    reader, writer = await asyncio.open_connection(sock=connection)
    orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    listening = asyncio.create_task(_listen(reader, orders), name="listen to the worker")
    try:
        app = _application(await orders.get())
        async with app:
            writer.write(frame({"ready": True}))
            await _work(app, orders, writer)
    except StemError as error:
        writer.write(frame({"unavailable": str(error)}))
        await writer.drain()
    finally:
        listening.cancel()


async def _listen(reader: asyncio.StreamReader, orders: asyncio.Queue[dict[str, Any]]) -> None:
    """Take orders; end this process when the worker is gone, whatever the task is about to do."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            size = size_of(await reader.readexactly(SIZE))
            orders.put_nowait(read(await reader.readexactly(size)))
    os._exit(1)


async def _work(
    app: Stem, orders: asyncio.Queue[dict[str, Any]], writer: asyncio.StreamWriter
) -> None:
    """Run one job after the other, until the worker says that it was the last."""
    threads = ThreadPool(1)
    resources = Resources(app.overrides, app.settings)
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
    return Executor(
        registry=app.registry,
        topology=app.topology,
        clock=app.connected.transport.clock,
        threads=threads,
        watcher=_Watcher(writer),
        resources=resources,
        middleware=app.middleware,
        app=app,
        seal=app.connected.seal,
        max_age=app.settings.max_age,
        worker=f"{socket.gethostname()}:{os.getpid()}:isolated",
        backend=app.connected.backend,
        result_ttl=app.settings.result_ttl,
    )


def _application(order: dict[str, Any]) -> Stem:
    """Import the application, with the settings that it has in the worker."""
    app = _find(order["origin"])
    values = order["settings"] | {"provision": Provision.NONE}
    app.settings = app.settings.replace(**values)
    app.names = Names(app.settings.namespace)
    if values.get("topology"):
        app.topology = load_topology(Path(values["topology"]))
    configure(app.settings.log_level, app.settings.log_format)
    return app


def _find(origin: str) -> Stem:
    path, _, attribute = origin.rpartition(":")
    if not path.endswith(".py"):
        return find(origin)
    # a script: imported under a name that is not __main__, so that what it guards does not run
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


def resident_bytes() -> int:
    """Return the bytes of memory that this process holds now; where that cannot be had, at most."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()


def main() -> None:
    """Serve the socket that was inherited."""
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1]))))
    os._exit(0)  # a thread of the task's may still run


if __name__ == "__main__":
    main()
