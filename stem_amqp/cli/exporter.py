"""``stem-amqp exporter``: serve the metrics of the queues for Prometheus."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated

import typer

from stem_amqp.app import Stem
from stem_amqp.assembly import create_transport
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.session import refuse_memory
from stem_amqp.cli.supervision.signal_handlers import on_signals
from stem_amqp.management import Management
from stem_amqp.observability.queues import (
    DEFAULT_INTERVAL,
    DEFAULT_TIMEOUT,
    make_plan,
    serve_queues,
)
from stem_amqp.settings import LogFormat
from stem_amqp.text import redacted
from stem_amqp.worker.report.logs import configure

log = logging.getLogger("stem_amqp.cli")
app = opt.command_app()

DEFAULT_PORT = 9108
DEFAULT_HOST = "0.0.0.0"  # noqa: S104 - Prometheus usually runs on another machine


@app.command("exporter", epilog=EPILOG)
def exporter_command(
    *,
    target: opt.OptionalApp = None,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="The port; 0: a free one.")
    ] = DEFAULT_PORT,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="The address to listen on.")
    ] = DEFAULT_HOST,
    interval: Annotated[
        float,
        typer.Option(
            parser=opt.duration,
            metavar="DURATION",
            help="Ask the broker at most this often.",
            show_default=f"{DEFAULT_INTERVAL:g}s",
        ),
    ] = DEFAULT_INTERVAL,
    timeout: Annotated[
        float,
        typer.Option(
            parser=opt.duration,
            metavar="DURATION",
            help="For one measurement.",
            show_default=f"{DEFAULT_TIMEOUT:g}s",
        ),
    ] = DEFAULT_TIMEOUT,
    log_level: Annotated[str | None, typer.Option(metavar="LEVEL", help="DEBUG, INFO, …")] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="Format of the log.")] = None,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Serve the metrics of the queues for Prometheus, until SIGTERM or Ctrl-C.

    One exporter for each namespace is enough. It declares nothing, and runs no task. While the broker does
    not answer, stem_broker_up is 0. Needs the extra prometheus.
    """
    stem = load(
        target,
        opt.Overrides(
            broker_url=broker_url,
            namespace=namespace,
            topology=topology,
            more={"log_level": log_level, "log_format": log_format},
        ),
    )
    refuse_memory(stem)
    configure(stem.settings.log_level, stem.settings.log_format)
    with _quiet_transport():
        asyncio.run(_serve(stem, host=host, port=port, interval=interval, timeout=timeout))


@contextmanager
def _quiet_transport() -> Iterator[None]:
    """Log an outage once, as the exporter does; the transport would log every attempt to connect."""
    transport = logging.getLogger("stem_amqp.transport")
    before = transport.level
    if not log.isEnabledFor(logging.DEBUG):
        transport.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transport.setLevel(before)


async def _serve(stem: Stem, *, host: str, port: int, interval: float, timeout: float) -> None:
    stopped = asyncio.Event()
    with on_signals({signal.SIGTERM: stopped.set, signal.SIGINT: stopped.set}):
        async with exporting(stem, host=host, port=port, interval=interval, timeout=timeout):
            await stopped.wait()


@asynccontextmanager
async def exporting(
    stem: Stem,
    *,
    host: str = DEFAULT_HOST,
    port: int,
    interval: float = DEFAULT_INTERVAL,
    timeout: float = DEFAULT_TIMEOUT,
) -> AsyncIterator[int]:
    """Serve the metrics of an application's queues during the block; yield the port.

    Args:
        stem: the application; it need not be connected.
        host: the address to listen on.
        port: the port; 0 for a free one.
        interval: the least seconds between two measurements.
        timeout: the most seconds of a measurement.

    Raises:
        ConfigurationError: prometheus-client is not installed, or the port cannot be used.
        BrokerRefusedError: the broker refuses the credentials or the virtual host.
    """
    settings = stem.settings.replace(connect_timeout=min(timeout, stem.settings.connect_timeout))
    plan = make_plan(
        stem.names,
        stem.topology,
        stem.queues,
        [task.name for task in stem.registry],
        schedules=bool(stem.blueprint.schedules),
    )
    serving = serve_queues(
        plan,
        create_transport(settings),
        Management.of(settings),
        host=host,
        port=port,
        interval=interval,
        timeout=timeout,
    )
    async with serving as bound:
        log.info(
            "exporting the metrics of %d queues of namespace %s at http://%s:%d/metrics, from %s",
            len(plan.queues),
            stem.names.namespace,
            host,
            bound,
            redacted(settings.broker_url[0].get_secret_value()),
        )
        yield bound
