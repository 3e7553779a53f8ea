"""``stem-amqp dev``: a throw-away RabbitMQ, and a worker that starts again when code changes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG, ExitCode
from stem_amqp.cli.output import note
from stem_amqp.cli.reload import Reloader, changes_of, check_watcher
from stem_amqp.cli.serve import Order
from stem_amqp.cli.worker import (
    Concurrency,
    Format,
    Grace,
    LogLevel,
    Queues,
    arguments_of,
)
from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.settings import redacted
from stem_amqp.testing.brokers import Broker, throw_away_broker
from stem_amqp.testing.handshake import broker_version, management_beside

app = opt.command_app()

GRACE = 3.0
"""Seconds that running tasks get before the worker starts again; what is not finished goes back."""
_BEYOND_GRACE = 7.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@app.command("dev", epilog=EPILOG)
def dev_command(
    *,
    target: opt.AppArgument,
    queues: Queues = None,
    concurrency: Concurrency = None,
    management: Annotated[
        bool, typer.Option(help="Have RabbitMQ's management UI, which takes some seconds more.")
    ] = True,
    reload: Annotated[
        bool, typer.Option(help="Start the worker again when a .py or .yaml file changes.")
    ] = True,
    reload_dir: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            exists=True,
            file_okay=False,
            help="Watch this folder, and not the current one; may be repeated.",
        ),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Use this RabbitMQ; start none, and clean up nothing."),
    ] = None,
    grace: Grace = None,
    log_level: LogLevel = None,
    log_format: Format = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Start a RabbitMQ that is thrown away at the end, and run a worker on it.

    It prints the URL for your other processes, declares the topology, and starts the worker again
    when code changes. Ctrl-C ends all of it. It takes Docker or an installed rabbitmq-server.
    """
    if reload:
        check_watcher()
    with _signals_as_exit(), _broker(broker, management=management) as found:
        _introduce(found, thrown_away=broker is None)
        overrides = opt.Overrides(
            broker_url=found.url,
            backend_url=backend_url,
            namespace=namespace,
            topology=topology,
            more={
                "grace_period": GRACE if grace is None else grace,
                "log_level": log_level,
                "log_format": log_format,
                "provision": "apply",
            },
        )
        order = Order(target=target, queues=opt.split(queues), concurrency=concurrency)
        folders = (reload_dir or [Path.cwd()]) if reload else []
        try:
            code = asyncio.run(_keep(order, overrides, folders))
        finally:
            for number in _SIGNALS:  # nothing is left to do but to clean up
                signal.signal(number, signal.SIG_IGN)
    raise typer.Exit(code)


async def _keep(order: Order, overrides: opt.Overrides, folders: list[Path]) -> int:
    words = [*arguments_of(order, overrides), "--parent", str(os.getpid())]
    return await Reloader(
        [sys.executable, "-m", "stem_amqp", *words],
        changes=changes_of(folders) if folders else None,
        patience=overrides.more["grace_period"] + _BEYOND_GRACE,
        report=note,
    ).run()


@contextmanager
def _broker(url: str | None, *, management: bool) -> Iterator[Broker]:
    """Give the broker that was named, or one of our own."""
    if url is None:
        note("starting a RabbitMQ")
        with throw_away_broker(management=management, report=note) as broker:
            yield broker
        return
    try:
        version = broker_version(url)
    except BrokerUnavailableError as error:
        raise BrokerUnavailableError(f"no RabbitMQ at {redacted(url)}: {error}") from error
    yield Broker(url=url, origin="yours", version=version, management_url=management_beside(url))


def _introduce(broker: Broker, *, thrown_away: bool) -> None:
    # The password of a broker of one's own stays out of terminals and logs
    url = broker.url if thrown_away else redacted(broker.url)
    lines = [f"RabbitMQ {broker.version}: {broker.origin}"]
    if broker.management_url is not None:
        login = "  (guest, guest)" if thrown_away else ""
        lines.append(f"  management  {broker.management_url}{login}")
    lines.append(f"  broker      {url}")
    if thrown_away:
        lines.append(f"  for others  export STEM_BROKER_URL={url}")
        lines.append("Ctrl-C stops the worker and throws the broker away.")
    typer.echo("\n".join(lines))
    sys.stdout.flush()


@contextmanager
def _signals_as_exit() -> Iterator[None]:
    """End in order also on SIGTERM and when the terminal closes: the broker is to be stopped."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(ExitCode.INTERRUPTED if number == signal.SIGINT else 128 + number)

    before = {number: signal.signal(number, leave) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
