"""``stem-amqp topology graph``: a picture of exchanges, queues and the way through them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stem_amqp.assembly import entities_of
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.written import Output, write
from stem_amqp.topology.graph import graph_of
from stem_amqp.topology.mermaid import mermaid
from stem_amqp.topology.specs import BackoffSpec
from stem_amqp.topology.svg import svg

app = opt.command_app()


class Format(StrEnum):
    """What the picture can be written as."""

    MERMAID = "mermaid"
    SVG = "svg"


@app.command("graph", epilog=EPILOG)
def graph_command(
    *,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The topology file; default: STEM_TOPOLOGY."),
    ] = None,
    form: Annotated[
        Format,
        typer.Option(
            "--format", "-f", help="mermaid: text that GitHub and many wikis draw. svg: a picture."
        ),
    ] = Format.MERMAID,
    everything: Annotated[
        bool, typer.Option("--all", help="Every delay queue, instead of one as an example.")
    ] = False,
    output: Output = None,
    application: opt.AppOption = None,
    namespace: opt.Namespace = None,
) -> None:
    """Draw the exchanges, bindings and queues of a topology. No broker is needed.

    As an example of a delay, it shows the way of the first retry. With --app the queues that its
    tasks name are drawn too.
    """
    stem = load(application, opt.Overrides(namespace=namespace, topology=file))
    retry = stem.topology.queue("").retry_spec
    wait = (BackoffSpec() if retry is None else retry.backoff).base
    graph = graph_of(entities_of(stem), stem.names, wait=wait, everything=everything)
    write(svg(graph) if form is Format.SVG else mermaid(graph), output)
