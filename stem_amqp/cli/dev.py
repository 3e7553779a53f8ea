"""``stem-amqp dev``: a temporary RabbitMQ, and a worker that restarts when code changes."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from stem_amqp.cli import options as opt
from stem_amqp.cli.environment_file import environment_file
from stem_amqp.cli.exit_codes import EPILOG, ExitCode
from stem_amqp.cli.output import note
from stem_amqp.cli.supervision.reload import Reloader, changes_of, check_watcher
from stem_amqp.cli.supervision.serve import Order
from stem_amqp.cli.worker import (
    Concurrency,
    Format,
    Grace,
    LogLevel,
    Queues,
    arguments_of,
)
from stem_amqp.errors import BrokerUnavailableError
from stem_amqp.servers.finder import Server
from stem_amqp.servers.rabbitmq.handshake import broker_version, management_beside
from stem_amqp.servers.rabbitmq.kind import temporary_broker
from stem_amqp.text import redacted

app = opt.command_app()

GRACE = 3.0
"""Seconds that running tasks get before the worker restarts; unfinished tasks are requeued."""
_ENV_FILE = Path(".stem-dev.env")
_BEYOND_GRACE = 7.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


ManagementUi = Annotated[
    bool, typer.Option(help="Enable RabbitMQ's management UI; the start takes longer.")
]
Reload = Annotated[bool, typer.Option(help="Restart the worker when a .py or .yaml file changes.")]
ReloadFolders = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        help="Watch this folder instead of the current one; may be repeated.",
    ),
]
Broker = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Use this RabbitMQ instead of a temporary one."),
]
EnvironmentFile = Annotated[
    Path,
    typer.Option(metavar="FILE", help="The file with the variables for other terminals."),
]


@app.command("dev", epilog=EPILOG)
def dev_command(
    *,
    target: opt.AppArgument,
    queues: Queues = None,
    concurrency: Concurrency = None,
    management: ManagementUi = True,
    reload: Reload = True,
    reload_dir: ReloadFolders = None,
    broker: Broker = None,
    env_file: EnvironmentFile = _ENV_FILE,
    grace: Grace = None,
    log_level: LogLevel = None,
    log_format: Format = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Start a RabbitMQ that is thrown away at the end, and run a worker on it.

    It writes the variables for your other terminals to a file, prints the line that loads it, declares the topology, and starts the worker again
    when code changes. Ctrl-C ends all of it. It takes Docker or an installed rabbitmq-server.
    """
    if reload:
        check_watcher()
    with (
        _signals_as_exit(),
        _broker(broker, management=management) as found,
        _environment(env_file, found, backend_url, namespace, topology) as file,
    ):
        _show_addresses(found, file, temporary=broker is None)
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
def _broker(url: str | None, *, management: bool) -> Iterator[Server]:
    """Yield the given broker, or a temporary one."""
    if url is None:
        note("starting a RabbitMQ")
        with temporary_broker(management=management, report=note) as broker:
            yield broker
        return
    try:
        version = broker_version(url)
    except BrokerUnavailableError as error:
        raise BrokerUnavailableError(f"no RabbitMQ at {redacted(url)}: {error}") from error
    yield Server(url=url, origin="yours", version=version, management_url=management_beside(url))


@contextmanager
def _environment(
    path: Path,
    broker: Server,
    backend_url: str | None,
    namespace: str | None,
    topology: Path | None,
) -> Iterator[Path | None]:
    """Write the variables that other terminals need; yield None if the file cannot be written."""
    variables = {
        "STEM_BROKER_URL": broker.url,
        "STEM_MANAGEMENT_URL": broker.management_url,
        "STEM_BACKEND_URL": backend_url,
        "STEM_NAMESPACE": namespace,
        "STEM_TOPOLOGY": None if topology is None else str(topology.resolve()),
    }
    given = {name: value for name, value in variables.items() if value is not None}
    with ExitStack() as stack:
        try:
            file = stack.enter_context(environment_file(path, given))
        except (OSError, ValueError) as error:
            note(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}")
            file = None
        yield file


def _show_addresses(broker: Server, file: Path | None, *, temporary: bool) -> None:
    # The password of the user's own broker must not appear in terminals and logs
    url = broker.url if temporary else redacted(broker.url)
    lines = [f"RabbitMQ {broker.version}: {broker.origin}"]
    if broker.management_url is not None:
        login = "  (guest, guest)" if temporary else ""
        lines.append(f"  management  {broker.management_url}{login}")
    lines.append(f"  broker      {url}")
    if file is not None:
        place = str(file) if file.is_absolute() else f"./{file}"
        lines.append(f"  for others  . {shlex.quote(place)}")
    elif temporary:
        lines.append(f"  for others  export STEM_BROKER_URL={url}")
    if temporary:
        lines.append("Ctrl-C stops the worker and removes the broker.")
    typer.echo("\n".join(lines))
    sys.stdout.flush()


@contextmanager
def _signals_as_exit() -> Iterator[None]:
    """Clean up also on SIGTERM and SIGHUP: the broker must be stopped."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(ExitCode.INTERRUPTED if number == signal.SIGINT else 128 + number)

    before = {number: signal.signal(number, leave) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
