"""``stem-amqp worker``: consume queues and run their tasks until a signal ends it."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.processes import Supervisor
from stem_amqp.cli.serve import LATENESS, Order, serve
from stem_amqp.cli.session import check_queues
from stem_amqp.errors import ConfigurationError
from stem_amqp.settings import LogFormat
from stem_amqp.worker.logs import configure

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
        help="Time that running tasks get at the end, such as 30s.",
    ),
]
Name = Annotated[
    str | None, typer.Option(metavar="NAME", help="The worker's name in logs and records.")
]
LogLevel = Annotated[
    str | None, typer.Option(metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR.")
]
Format = Annotated[LogFormat | None, typer.Option(help="Format of the log.")]


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
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
    provision: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Consume queues and run their tasks, until SIGTERM or Ctrl-C.

    Running tasks get the grace time to finish; a second signal hurries. What is not finished goes
    back to its queue. After such a stop the exit code is 0. SIGHUP reads the keys again.
    """
    overrides = opt.Overrides(
        broker_url=broker_url,
        backend_url=backend_url,
        namespace=namespace,
        topology=topology,
        more={
            "grace_period": grace,
            "log_level": log_level,
            "log_format": log_format,
            "provision": provision,
        },
    )
    stem = load(target, overrides, warn=parent is None)
    order = Order(
        target=target,
        queues=opt.split(queues),
        concurrency=concurrency,
        prefetch=prefetch,
        name=name,
        parent=parent,
    )
    _check(stem, order)
    configure(stem.settings.log_level, stem.settings.log_format)
    raise typer.Exit(_run(stem, order, overrides, processes))


def _run(stem: Stem, order: Order, overrides: opt.Overrides, processes: int) -> int:
    if processes == 1:
        return serve(stem, order)
    arguments = arguments_of(order, overrides)

    def command(number: int) -> list[str]:
        name = ["--name", f"{order.name}-{number}"] if order.name else []
        parent = ["--parent", str(os.getpid())]
        return [sys.executable, "-m", "stem_amqp", *arguments, *parent, *name]

    patience = stem.settings.grace_period + LATENESS
    supervisor = Supervisor(command, count=processes, patience=patience)
    return asyncio.run(supervisor.run())


def _check(stem: Stem, order: Order) -> None:
    """Find the mistakes that would show only after the connection is made."""
    if len(stem.registry) == 0:
        raise ConfigurationError(
            f"{order.target} has no tasks.\n"
            "  Import the modules that define them in the module of the application, below the line"
            " that makes it."
        )
    check_queues(stem, order.queues)


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
    }
    grace = overrides.more.get("grace_period")
    words = ["worker", order.target, *([] if grace is None else ["--grace", f"{grace}s"])]
    for option, value in values.items():
        words += [] if value is None else [option, str(value)]
    return words
