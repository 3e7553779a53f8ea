"""``stem-amqp control history``: who did what, and what holds now."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import RenderableType

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.control.options import Given
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.output import ago, format_time, iso, note, show, show_json, table
from stem_amqp.cli.waiting import connected as connected_to
from stem_amqp.control import Recorded
from stem_amqp.text import count, one_line

app = opt.command_app()

InForce = Annotated[
    bool, typer.Option("--in-force", help="Only lasting commands that hold now, such as pauses.")
]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="The last N commands.")]


@app.command("history", epilog=EPILOG)
def history_command(
    *,
    in_force: InForce = False,
    limit: Limit = 50,
    as_json: opt.Json = False,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Show the last commands that changed something: when, who, what, why. The last 500 are kept."""
    given = Given(
        application=application,
        overrides=opt.Overrides(
            broker_url=broker_url, backend_url=backend_url, namespace=namespace, topology=topology
        ),
    )
    stem = given.load()
    found = asyncio.run(_read(stem, in_force=in_force))[-limit:]
    if as_json:
        show_json(
            {
                "namespace": stem.names.namespace,
                "commands": [
                    {**asdict(one), "at": iso(one.at), "expires": iso(one.expires)} for one in found
                ],
            }
        )
        return
    if found:
        show(_view(found))
    note(count(len(found), "command") + (" in force" if in_force else ""))


async def _read(stem: Stem, *, in_force: bool) -> tuple[Recorded, ...]:
    async with connected_to(stem, 0.0):
        return await (stem.control.in_force() if in_force else stem.control.history())


def _view(found: tuple[Recorded, ...]) -> RenderableType:
    lines = table("when", "who", "what", "why", "ends")
    now = time.time()
    for one in found:
        lines.add_row(
            format_time(one.at),
            one_line(one.by),
            one_line(one.what),
            one_line(one.reason),
            "" if one.expires is None else ago(one.expires, now),
        )
    return lines
