"""``stem-amqp control shutdown``: end workers."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import RenderableType

from stem_amqp.cli import options as opt
from stem_amqp.cli.control.options import Given, Issuer, Queues, Timeout, Workers
from stem_amqp.cli.control.ran import EPILOG, run
from stem_amqp.cli.output import table
from stem_amqp.cli.session import confirm
from stem_amqp.control import Answers, CommandKeywords, Control
from stem_amqp.durations import format_seconds
from stem_amqp.messages.answers import Pong, ShuttingDown
from stem_amqp.text import one_line

app = opt.command_app()

Cold = Annotated[
    bool,
    typer.Option("--cold", help="Cancel running tasks at once; their messages are requeued."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show which workers would end.")]


@app.command("shutdown", epilog=EPILOG)
def shutdown_command(
    *,
    cold: Cold = False,
    dry_run: DryRun = False,
    yes: opt.Yes = False,
    queues: Queues = None,
    workers: Workers = None,
    timeout: Timeout = None,
    as_json: opt.Json = False,
    issuer: Issuer = None,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Stop workers, as SIGTERM does: running tasks get the grace period.

    The workers answer when they begin to stop. The supervisor of --processes does not start them again;
    systemd with Restart=on-failure does not, and Kubernetes does.
    """
    given = Given(
        queues=queues,
        workers=workers,
        timeout=timeout,
        issuer=issuer,
        application=application,
        overrides=opt.Overrides(broker_url=broker_url, namespace=namespace, topology=topology),
    )
    if dry_run:
        run(given, lambda control, to: control.ping(**to), _would_end, as_json=as_json)
    if not yes and (cold or not (queues or workers)):
        which = "the chosen workers" if queues or workers else "all workers"
        confirm(f"stop {which}{' and cancel their running tasks' if cold else ''}")

    async def shut_down(control: Control, to: CommandKeywords) -> Answers[ShuttingDown]:
        return await control.shutdown(cold=cold, **to)

    run(given, shut_down, _ending, as_json=as_json)


def _would_end(answers: Answers[Pong]) -> RenderableType:
    lines = table("would end", "state")
    for answer in answers:
        lines.add_row(one_line(answer.worker), "" if answer.value is None else answer.value.state)
    return lines


def _ending(answers: Answers[ShuttingDown]) -> RenderableType:
    lines = table("worker", "running", "grace", numbers=("running", "grace"))
    for answer in answers:
        if answer.value is not None:
            grace = answer.value.grace
            lines.add_row(
                one_line(answer.worker),
                str(answer.value.running),
                format_seconds(grace) if grace else "none",
            )
    return lines
