"""``stem-amqp topology graph``: exchanges, queues and bindings as a Mermaid diagram."""

from __future__ import annotations

from typing import Annotated

import typer

from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.written import Output, write
from stem_amqp.errors import ConfigurationError
from stem_amqp.topology.draw import graph_of, mermaid_text
from stem_amqp.topology.spec.queues import BackoffSpec

app = opt.command_app()


_PICTURES = frozenset({".svg", ".png", ".jpg", ".jpeg", ".pdf"})


@app.command("graph", epilog=EPILOG)
def graph_command(
    *,
    file: opt.TopologyArgument = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Draw all delay queues instead of one example.")
    ] = False,
    output: Output = None,
    application: opt.AppOption = None,
    namespace: opt.Namespace = None,
) -> None:
    """Draw the exchanges, bindings and queues of a topology, in Mermaid. No broker is needed.

    As an example of a delay, it shows the route of the first retry. With --app, the queues named by its
    tasks are included.
    """
    if output is not None and output.suffix.lower() in _PICTURES:
        raise ConfigurationError(
            f"{output} has the suffix of a picture, but the graph is Mermaid text\n  Write a .mmd file,"
            f" and convert it: mermaidx -i graph.mmd -o {output.name} (pip install mermaidx)"
        )
    stem = load(application, opt.Overrides(namespace=namespace, topology=file))
    retry = stem.topology.queue("").retry_spec
    wait = (BackoffSpec() if retry is None else retry.backoff).base
    graph = graph_of(stem.blueprint.entities, stem.names, wait=wait, everything=everything)
    write(mermaid_text(graph), output)
