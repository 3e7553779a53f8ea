"""What commands need on their way: the broker, the result backend, known queues, a yes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import typer

from stem_amqp.app import Stem
from stem_amqp.assembly import create_transport
from stem_amqp.cli.exit_codes import ExitCode
from stem_amqp.errors import ConfigurationError, ResultUnavailableError
from stem_amqp.results.base import ResultBackend
from stem_amqp.results.factory import create
from stem_amqp.topology.mistake import did_you_mean
from stem_amqp.transport.base import BrokerInfo, Transport


def refuse_memory(app: Stem) -> None:
    """Refuse an in-memory broker, which another process cannot see.

    Raises:
        ConfigurationError: the broker URL is ``memory://``.
    """
    if app.settings.broker_url[0].get_secret_value().startswith("memory:"):
        raise ConfigurationError(
            "the in-memory broker (memory://) lives in one process only: this command would see an"
            " empty one.\n  Use a RabbitMQ: --broker-url amqp://user:password@host:5672/"
        )


@asynccontextmanager
async def broker_of(app: Stem) -> AsyncIterator[tuple[Transport, BrokerInfo]]:
    """Connect to an application's broker, and to nothing else; nothing is declared.

    Args:
        app: the application.

    Raises:
        BrokerError: the broker cannot be reached, or refuses.
        ConfigurationError: it is an in-memory one.
    """
    refuse_memory(app)
    transport = create_transport(app.settings)
    info = await transport.connect()
    try:
        yield transport, info
    finally:
        await transport.close()


@asynccontextmanager
async def store_of(app: Stem, *, or_else: str = "") -> AsyncIterator[ResultBackend]:
    """Open an application's result backend, and nothing else.

    Args:
        app: the application.
        or_else: what else can be done where the backend keeps nothing, for the message.

    Raises:
        ResultUnavailableError: it keeps nothing that another process could ask for.
        BackendError: it cannot be reached, or refuses.
    """
    settings = app.settings
    url = settings.backend_url.get_secret_value()
    for scheme, place in (
        ("rpc:", "go to the process that enqueued the task, and to no other"),
        ("memory:", "are in the memory of one process"),
    ):
        if url.startswith(scheme):
            raise ResultUnavailableError(
                f"with {scheme}// results {place}: there is nothing to ask.\n"
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
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


def check_queues(app: Stem, queues: list[str]) -> None:
    """Refuse queues that neither the topology nor a task names: most likely, they are misspelt.

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
            f"  There are: {', '.join(app.queues)}. A queue is made by naming it in the topology"
            " file, or as a task's queue."
        )


def confirm(deed: str) -> None:
    """Ask before something that cannot be taken back.

    Args:
        deed: what is about to happen, such as ``drop all dead letters``.

    Raises:
        ConfigurationError: there is no terminal to ask at.
        typer.Exit: the answer is no.
    """
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"this would {deed}, and there is no terminal to ask at\n  Add --yes if it is meant."
        )
    if not typer.confirm(f"{deed[0].upper()}{deed[1:]}?"):
        raise typer.Exit(ExitCode.NO)
