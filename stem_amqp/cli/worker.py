"""``stem-amqp worker``: consume queues and run their tasks until a signal stops it."""

from __future__ import annotations

import asyncio
import math
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.alive import FRESH, is_fresh, keep_alive_file
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.queue_names import logical_queues
from stem_amqp.cli.session import check_queues
from stem_amqp.cli.supervision.beside import exporter_beside
from stem_amqp.cli.supervision.ports import SharedPorts, join_shared, port_settings
from stem_amqp.cli.supervision.serve import LATENESS, Order, serve
from stem_amqp.cli.supervision.supervisor import Supervisor
from stem_amqp.errors import ConfigurationError
from stem_amqp.settings import LogFormat
from stem_amqp.worker.report.logs import configure

app = opt.command_app()


Queues = Annotated[
    list[str] | None,
    typer.Option("-Q", "--queues", metavar="NAMES", help="Queues, as a,b; default: all."),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "-c", "--concurrency", metavar="N", min=1, max=65535, help="Tasks at once per queue."
    ),
]
Prefetch = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=65535, help="Unsettled deliveries per queue; default: concurrency."
    ),
]
Processes = Annotated[
    int, typer.Option("-p", "--processes", metavar="N", min=1, max=1024, help="Worker processes.")
]
Grace = Annotated[
    float | None,
    typer.Option(
        parser=opt.duration,
        metavar="DURATION",
        help="Time for running tasks to finish at shutdown, such as 30s.",
    ),
]
Name = Annotated[
    str | None, typer.Option(metavar="NAME", help="The worker's name in logs and records.")
]
LogLevel = Annotated[
    str | None, typer.Option(metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")
]
AliveFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Touch this file every 5 s while the worker is alive, for liveness checks.",
    ),
]
WithExporter = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        min=0,
        max=65535,
        help="Also run stem-amqp exporter on this port; on one worker of a namespace.",
    ),
]
HealthPort = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        min=0,
        max=65535,
        help="Answer probes: /livez, /readyz, /startupz; may be the metrics port; 0: do not.",
    ),
]
Format = Annotated[LogFormat | None, typer.Option(help="Format of the log.")]


WithScheduler = Annotated[
    bool,
    typer.Option(
        "--scheduler", help="Also take part as a scheduler; see `stem-amqp scheduler --help`."
    ),
]


@app.command("worker", epilog=EPILOG)
def worker_command(
    *,
    target: opt.AppArgument,
    queues: Queues = None,
    concurrency: Concurrency = None,
    prefetch: Prefetch = None,
    processes: Processes = 1,
    grace: Grace = None,
    name: Name = None,
    log_level: LogLevel = None,
    log_format: Format = None,
    wait_for_broker: opt.WaitForBroker = None,
    alive_file: AliveFile = None,
    with_exporter: WithExporter = None,
    scheduler: WithScheduler = False,
    metrics_port: opt.MetricsPort = None,
    health_port: HealthPort = None,
    http_address: opt.HttpAddress = None,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
    shared: Annotated[Path | None, typer.Option(hidden=True)] = None,
    provision: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Consume queues and run their tasks, until SIGTERM or Ctrl-C.

    Running tasks get the grace time to finish; a second signal shortens it. Unfinished tasks are
    requeued. The exit code is 0 after such a stop. SIGHUP reloads the keys.
    """
    more = port_settings(metrics_port, health_port, http_address)
    more |= {"grace_period": grace, "log_level": log_level, "log_format": log_format}
    more["provision"] = provision
    urls = {"broker_url": broker_url, "backend_url": backend_url}
    overrides = opt.Overrides(**urls, namespace=namespace, topology=topology, more=more)
    join_shared(shared)
    stem = load(target, overrides, warn=parent is None)
    order = Order(
        target=target,
        queues=logical_queues(stem, opt.split(queues)),
        concurrency=concurrency,
        prefetch=prefetch,
        name=name,
        parent=parent,
        patience=wait_for_broker or 0.0,
        alive_file=alive_file,
        shared=shared,
        scheduler=scheduler,
    )
    _check(stem, order)
    raise typer.Exit(_run_with_exporter(stem, order, overrides, processes, with_exporter))


def _run_with_exporter(
    stem: Stem, order: Order, overrides: opt.Overrides, processes: int, port: int | None
) -> int:
    configure(stem.settings.log_level, stem.settings.log_format)
    with exporter_beside(stem, port):
        return _run(stem, order, overrides, processes)


def _run(stem: Stem, order: Order, overrides: opt.Overrides, processes: int) -> int:
    if processes == 1:
        return serve(stem, order)
    arguments = arguments_of(order, overrides)
    ports = SharedPorts(stem.settings, processes)
    files = [] if order.alive_file is None else _files_of(order.alive_file, processes)

    def command(number: int) -> list[str]:
        alive = ["--alive-file", str(files[number - 1])] if files else []
        name = ["--name", f"{order.name}-{number}"] if order.name else []
        parent = ["--parent", str(os.getpid())]
        words = [*arguments, *parent, *name, *alive, *ports.arguments(number)]
        return [sys.executable, "-m", "stem_amqp", *words]

    patience = stem.settings.grace_period + LATENESS
    supervisor = Supervisor(command, count=processes, patience=patience, on_exit=ports.exited)
    ports.pids = lambda: supervisor.pids
    with ports.served():
        return asyncio.run(_supervise(supervisor, order, files))


async def _supervise(supervisor: Supervisor, order: Order, files: list[Path]) -> int:
    # Neither a process that was restarted recently nor one that a command has stopped counts as dead
    def alive() -> bool:
        kept = [file for file, pid in zip(files, supervisor.pids, strict=False) if pid is not None]
        return all(map(is_fresh, kept)) or supervisor.restarted_within(FRESH)

    async with keep_alive_file(order.alive_file, alive):
        return await supervisor.run()


def _files_of(file: Path, processes: int) -> list[Path]:
    """Return the alive file of each process, beside that of the supervisor."""
    return [file.with_name(f"{file.name}.{number}") for number in range(1, processes + 1)]


def _check(stem: Stem, order: Order) -> None:
    """Detect mistakes that would otherwise be reported only after connecting."""
    if len(stem.registry) == 0:
        raise ConfigurationError(
            f"{order.target} has no tasks.\n"
            "  Import the modules that define them in the module of the application, below the line"
            " that creates it."
        )
    check_queues(stem, order.queues)


def _format_wait(patience: float) -> str | None:
    if not patience:
        return None
    return opt.FOREVER if patience == math.inf else f"{patience}s"


def arguments_of(order: Order, overrides: opt.Overrides) -> list[str]:
    """Return the command line of a worker process, without the interpreter."""
    values = {
        "--queues": ",".join(order.queues) or None,
        "--concurrency": order.concurrency,
        "--prefetch": order.prefetch,
        "--broker-url": overrides.broker_url,
        "--backend-url": overrides.backend_url,
        "--namespace": overrides.namespace,
        "--topology": overrides.topology,
        "--log-level": overrides.more.get("log_level"),
        "--log-format": overrides.more.get("log_format"),
        "--provision": overrides.more.get("provision"),
        "--wait-for-broker": _format_wait(order.patience),
    }
    grace = overrides.more.get("grace_period")
    words = [
        "worker",
        order.target,
        *(["--scheduler"] if order.scheduler else []),
        *([] if grace is None else ["--grace", f"{grace}s"]),
    ]
    for option, value in values.items():
        words += [] if value is None else [option, str(value)]
    return words
