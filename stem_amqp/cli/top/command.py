"""``stem-amqp top``: a live display of queues, workers, failures and dead letters."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer
from rich.text import Text

from stem_amqp.app import Stem
from stem_amqp.assembly import create_transport
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import console, show
from stem_amqp.cli.queue_names import queues_on_broker
from stem_amqp.cli.session import refuse_memory
from stem_amqp.cli.streams import is_unicode
from stem_amqp.cli.top.display import display
from stem_amqp.cli.top.frame import text_frame
from stem_amqp.cli.top.layout import Size
from stem_amqp.cli.top.sources.collector import TIMEOUT, Collector
from stem_amqp.cli.top.terminal import require_terminal
from stem_amqp.cli.waiting import explained
from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.management import Management

app = opt.command_app()


@app.command("top", epilog=EPILOG)
def top_command(
    *,
    target: opt.OptionalApp = None,
    once: Annotated[bool, typer.Option("--once", help="Print one frame as text, and end.")] = False,
    pattern: Annotated[
        str,
        typer.Option("--filter", metavar="TEXT", help="Show only names with this text, or a glob."),
    ] = "",
    interval: Annotated[
        float,
        typer.Option(
            parser=opt.duration,
            metavar="DURATION",
            help="Ask the broker at most this often.",
            show_default="1s",
        ),
    ] = 1.0,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Show queues, workers, runs, failures and dead letters, refreshed each second.

    Press ? for the keys, and q to quit. Nothing is declared, and no message is taken from a work queue.
    Without a terminal, use --once.
    """
    if not once:
        require_terminal()
    overrides = opt.Overrides(broker_url=broker_url, namespace=namespace, topology=topology)
    stem = load(target, overrides)
    refuse_memory(stem)
    # The frame itself says what is not available
    for name in ("stem_amqp", "aiormq"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    asyncio.run(_once(stem, pattern) if once else _live(stem, pattern, interval))


async def _live(stem: Stem, pattern: str, interval: float) -> None:
    async with _collector(stem) as collector:
        await display(collector, pattern=pattern, interval=interval)


async def _once(stem: Stem, pattern: str) -> None:
    async with _collector(stem) as collector:
        await collector.refresh(patient=True)
        snapshot = collector.snapshot
    if snapshot.problem:
        raise BrokerUnavailableError(snapshot.problem)
    size = Size(console().width, None, is_unicode(sys.stdout))
    show(Text("\n").join(text_frame(snapshot, size, pattern)))


@asynccontextmanager
async def _collector(stem: Stem) -> AsyncIterator[Collector]:
    """Connect to the broker, and collect heartbeats during the block."""
    settings = stem.settings.replace(connect_timeout=min(TIMEOUT, stem.settings.connect_timeout))
    management = Management.of(settings)
    transport = create_transport(settings)
    async with explained(settings):
        await transport.connect()
    try:
        known = bool(stem.registry) or stem.topology.declared
        queues = stem.queues if known else await queues_on_broker(stem, management)
        collector = Collector(stem, transport, management, queues)
        async with collector.listening():
            yield collector
    finally:
        await transport.close()
