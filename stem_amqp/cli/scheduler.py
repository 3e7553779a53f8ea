"""``stem-amqp scheduler``: publish the ticks of schedules, until a signal stops it."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import Annotated

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.alive import keep_alive_file
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.session import refuse_memory
from stem_amqp.cli.supervision.ports import metrics_served, port_settings
from stem_amqp.cli.supervision.signal_handlers import on_signals
from stem_amqp.cli.waiting import connected
from stem_amqp.errors import ConfigurationError
from stem_amqp.scheduler.process import Scheduler, shared_store
from stem_amqp.settings import LogFormat
from stem_amqp.signing.reload import reload_keys
from stem_amqp.worker.report.logs import configure

log = logging.getLogger("stem_amqp.cli")
app = opt.command_app()


@app.command("scheduler", epilog=EPILOG)
def scheduler_command(
    *,
    target: opt.AppArgument,
    wait_for_broker: opt.WaitForBroker = None,
    alive_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Touch this file while it runs, for liveness checks."),
    ] = None,
    metrics_port: opt.MetricsPort = None,
    http_address: opt.HttpAddress = None,
    log_level: Annotated[str | None, typer.Option(metavar="LEVEL", help="DEBUG, INFO, …")] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="Format of the log.")] = None,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Publish the ticks of schedules, until SIGTERM or Ctrl-C.

    Run any number: one of them leads, and the next takes over at once when it ends. It runs no task. SIGHUP
    reloads the keys; a changed topology file is read without a restart.
    """
    more = port_settings(metrics_port, None, http_address)
    more |= {"log_level": log_level, "log_format": log_format}
    urls = {"broker_url": broker_url, "backend_url": backend_url}
    stem = load(target, opt.Overrides(**urls, namespace=namespace, topology=topology, more=more))
    refuse_memory(stem)
    configure(stem.settings.log_level, stem.settings.log_format)
    asyncio.run(_serve(stem, wait_for_broker or 0.0, alive_file))


async def _serve(stem: Stem, patience: float, alive_file: Path | None) -> None:
    stopping = asyncio.Event()
    handlers = {
        signal.SIGTERM: stopping.set,
        signal.SIGINT: stopping.set,
        signal.SIGHUP: lambda: reload_keys(stem.reload_keys),
    }
    with on_signals(handlers), metrics_served(stem):
        async with keep_alive_file(alive_file), connected(stem, patience):
            _check(stem)
            scheduler = Scheduler(stem.blueprint, stem.connected)
            async with scheduler.running() as running:
                await running.ended(stopping)


def _check(stem: Stem) -> None:
    """Refuse to run without anything that could be scheduled."""
    if not stem.blueprint.schedules and shared_store(stem.blueprint, stem.connected) is None:
        raise ConfigurationError(
            "there is no schedule: neither the code nor the topology file defines one, and this result backend stores"
            " none.\n"
            '  Write @stem.every("5m") above a task, add `schedules:` to the topology file, or set STEM_BACKEND_URL'
            " to redis://, postgresql:// or sqlite:///"
        )
