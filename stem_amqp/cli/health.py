"""``stem-amqp health``: health checks for deploy pipelines; exit code 0 is healthy, 1 is not.

``--json`` prints an object: ``healthy`` and ``checks``, objects with ``name``, ``ok``, ``detail``,
``milliseconds`` and ``warning``.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG, ExitCode
from stem_amqp.cli.load import load
from stem_amqp.cli.output import show, show_json
from stem_amqp.cli.queue_names import logical_queues
from stem_amqp.cli.session import check_queues, refuse_memory
from stem_amqp.health import DEFAULT_TIMEOUT, HealthReport, check_health

app = opt.command_app()

ASK_FOR = 0.3
"""Seconds to wait for reports of the workers."""


@app.command("health", epilog=EPILOG)
def health_command(
    *,
    target: opt.OptionalApp = None,
    require_consumers: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Queues that must have a worker, as a,b."),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            parser=opt.duration,
            metavar="DURATION",
            help="For all checks together.",
            show_default=f"{DEFAULT_TIMEOUT:g}s",
        ),
    ] = DEFAULT_TIMEOUT,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Check broker, nodes, topology, consumers, waiting and lost messages, and the result backend.

    It sends one message through an exclusive queue, and writes one key to the backend. No part of the
    topology is declared. The exit code is 0 if every check passes, otherwise 1.
    """
    overrides = opt.Overrides(
        broker_url=broker_url, backend_url=backend_url, namespace=namespace, topology=topology
    )
    stem = load(target, overrides)
    refuse_memory(stem)
    required = logical_queues(stem, opt.split(require_consumers))
    if len(stem.registry) or stem.topology.declared:
        check_queues(stem, required)
    report = asyncio.run(
        check_health(
            stem,
            require_consumers=required,
            timeout=timeout,
            ask_workers_for=ASK_FOR,
            thorough=True,
        )
    )
    if as_json:
        show_json({"healthy": report.healthy, "checks": report.checks})
    else:
        _show(report)
    raise typer.Exit(ExitCode.OK if report.healthy else ExitCode.NO)


def _show(report: HealthReport) -> None:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(no_wrap=True)
    lines.add_column(no_wrap=True)
    lines.add_column(overflow="fold")
    for check in report.checks:
        mark = Text("ok", style="green") if check.ok else Text("FAILED", style="bold red")
        if check.warning:
            mark = Text("warning", style="bold yellow")
        lines.add_row(mark, check.name, check.detail.replace("\n  ", "\n"))
    show(lines)
    verdict = ("healthy", "bold green") if report.healthy else ("not healthy", "bold red")
    show(Text(*verdict))
