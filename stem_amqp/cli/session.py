"""Helpers of commands: open the broker or the result backend, check queues, ask for confirmation."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import typer

from stem_amqp.app import Stem
from stem_amqp.assembly import create_transport
from stem_amqp.cli.exit_codes import ExitCode
from stem_amqp.cli.waiting import explained, with_patience
from stem_amqp.errors import ConfigurationError, ResultUnavailableError
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.factory import create
from stem_amqp.results.signed import signed
from stem_amqp.signing.source import seal_from
from stem_amqp.topology.spec.mistake import did_you_mean
from stem_amqp.transport.base import BrokerInfo, Transport


def refuse_memory(app: Stem) -> None:
    """Refuse an in-memory broker, which another process cannot see.

    Raises:
        ConfigurationError: the broker URL is ``memory://``.
    """
    if app.settings.broker_url[0].get_secret_value().startswith("memory:"):
        raise ConfigurationError(
            "the in-memory broker (memory://) exists in one process only: this command would see an"
            " empty one.\n  Use a RabbitMQ: --broker-url amqp://user:password@host:5672/"
        )


@asynccontextmanager
async def broker_of(
    app: Stem, patience: float = 0.0
) -> AsyncIterator[tuple[Transport, BrokerInfo]]:
    """Connect only to an application's broker; nothing is declared.

    Args:
        app: the application.
        patience: seconds to wait for a broker that cannot be reached.

    Raises:
        BrokerError: the broker cannot be reached, or refuses access.
        ConfigurationError: it is an in-memory broker.
    """
    refuse_memory(app)
    transport = create_transport(app.settings)
    async with explained(app.settings):
        info = await with_patience(transport.connect, patience)
        try:
            yield transport, info
        finally:
            await transport.close()


@asynccontextmanager
async def store_of(app: Stem, *, or_else: str = "") -> AsyncIterator[ResultBackend]:
    """Open only an application's result backend.

    Args:
        app: the application.
        or_else: an alternative for the message, if the backend stores nothing.

    Raises:
        ResultUnavailableError: the backend stores nothing that another process can read.
        BackendError: it cannot be reached, or refuses access.
    """
    settings = app.settings
    url = settings.backend_url.get_secret_value()
    for scheme, place in (
        ("rpc:", "go only to the process that enqueued the task"),
        ("memory:", "are in the memory of one process"),
    ):
        if url.startswith(scheme):
            raise ResultUnavailableError(
                f"with {scheme}// results {place}: this command cannot read them.\n"
                "  Set STEM_BACKEND_URL to a store that keeps them, such as sqlite:///results.db,\n"
                f"  for the workers and here{or_else}"
            )
    transport = create_transport(settings)
    backend = create(
        url,
        clock=transport.clock,
        transport=transport,
        names=app.names,
        ttl=settings.result_ttl,
    )
    backend = signed(backend, seal_from(settings, app.keys))
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


def check_queues(app: Stem, queues: list[str]) -> None:
    """Refuse queues that neither the topology nor a task names; they are probably misspelt.

    Args:
        app: the application.
        queues: logical queues.

    Raises:
        ConfigurationError: one of them is unknown.
    """
    unknown = [queue for queue in queues if queue not in app.queues]
    if unknown:
        name = unknown[0]
        raise ConfigurationError(
            f"no task and no topology file names a queue {name!r}"
            f"{did_you_mean(name, app.queues)}\n"
            f"  Known queues: {', '.join(app.queues)}. To add a queue, name it in the topology file,"
            " or as a task's queue."
        )


def confirm(action: str) -> None:
    """Ask for confirmation of an action that cannot be undone.

    Args:
        action: the action, such as ``delete all dead letters``.

    Raises:
        ConfigurationError: standard input is not a terminal.
        typer.Exit: the answer is no.
    """
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"this would {action}, and there is no terminal for the confirmation\n"
            "  Add --yes to confirm."
        )
    if not typer.confirm(f"{action[0].upper()}{action[1:]}?"):
        raise typer.Exit(ExitCode.NO)
