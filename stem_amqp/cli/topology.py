"""``stem-amqp topology``: check, declare or show what is on the broker.

``export``, ``import`` and ``graph`` stand in modules of their own.

``--json`` prints, for ``validate``, an object with ``valid``, ``mistakes`` (objects with ``file``,
``line``, ``key``, ``problem``, ``remedy``) and ``warnings`` (``key``, ``problem``, ``remedy``); for
``apply`` ``broker``, ``namespace``, ``created`` (``exchanges``, ``queues``) and ``present``; for
``show`` ``namespace``, ``exchanges``, ``queues`` and ``bindings``.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from stem_amqp.app import Stem
from stem_amqp.assembly import entities_of
from stem_amqp.cli import options as opt
from stem_amqp.cli import topology_export, topology_graph, topology_import
from stem_amqp.cli.exit_codes import EPILOG, ExitCode
from stem_amqp.cli.load import load
from stem_amqp.cli.output import count, note, show, show_error, show_json, show_warning
from stem_amqp.cli.session import broker_of
from stem_amqp.cli.topology_view import entities_view
from stem_amqp.errors import ConfigurationError, TopologyError
from stem_amqp.provision.apply import apply
from stem_amqp.topology.entities import Entities, Exchange
from stem_amqp.topology.lint import lint
from stem_amqp.topology.schema import schema_text
from stem_amqp.transport.base import BrokerInfo

app = opt.command_app("Check, declare, show, draw, export or import the topology.")
app.add_typer(topology_export.app)
app.add_typer(topology_import.app)
app.add_typer(topology_graph.app)

File = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="The topology file; default: STEM_TOPOLOGY."),
]


@app.command("validate", epilog=EPILOG)
def validate_command(
    *,
    file: File = None,
    application: opt.AppOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as mistakes.")] = False,
    as_json: opt.Json = False,
) -> None:
    """Check a topology file: every mistake, and what is allowed but will be regretted.

    No broker is needed. The exit code is 1 if there are mistakes.
    """
    try:
        stem = load(application, opt.Overrides(topology=file))
        if application is None and stem.settings.topology is None:
            raise ConfigurationError(
                "there is no topology file to check\n"
                "  Name one: stem-amqp topology validate topology.yaml; or set STEM_TOPOLOGY."
            )
        entities = entities_of(stem)
    except TopologyError as error:
        _show_mistakes([error, *error.more], as_json=as_json)
        raise typer.Exit(ExitCode.NO) from None
    warnings = lint(stem.topology)
    bad = strict and bool(warnings)
    if as_json:
        show_json({"valid": not bad, "mistakes": [], "warnings": warnings})
    else:
        for warning in warnings:
            show_warning(str(warning))
        typer.echo(f"{_where(stem)}: {_counts(entities)}; {count(len(warnings), 'warning')}")
    raise typer.Exit(ExitCode.NO if bad else ExitCode.OK)


@app.command("apply", epilog=EPILOG)
def apply_command(
    *,
    file: File = None,
    application: opt.AppOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing.")] = False,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Declare on the broker what is missing. What is there is not changed.

    With --app the queues that its tasks name are declared too.
    """
    stem = _load(file, application, broker_url, namespace)
    asyncio.run(_apply(stem, dry_run=dry_run, as_json=as_json))


@app.command("show", epilog=EPILOG)
def show_command(
    *,
    file: File = None,
    application: opt.AppOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Also the parts of delays.")] = False,
    as_json: opt.Json = False,
    namespace: opt.Namespace = None,
) -> None:
    """Show the exchanges, queues and bindings that a topology needs. No broker is needed."""
    stem = _load(file, application, None, namespace)
    entities = entities_of(stem)
    if as_json:
        show_json(
            {
                "namespace": stem.names.namespace,
                "exchanges": entities.exchanges,
                "queues": entities.queues,
                "bindings": entities.bindings,
            }
        )
        return
    show(entities_view(entities, stem.names, everything=everything))


@app.command("schema", epilog=EPILOG)
def schema_command() -> None:
    """Print the JSON Schema of topology files, for editors."""
    typer.echo(schema_text(), nl=False)


def _load(
    file: Path | None, application: str | None, broker_url: str | None, namespace: str | None
) -> Stem:
    overrides = opt.Overrides(broker_url=broker_url, namespace=namespace, topology=file)
    return load(application, overrides)


async def _apply(stem: Stem, *, dry_run: bool, as_json: bool) -> None:
    entities = entities_of(stem)
    async with broker_of(stem) as (transport, broker):
        missing = await transport.missing(entities)
        if not dry_run:
            await apply(transport, entities, wait=0)
    exchanges = [entity.name for entity in missing if isinstance(entity, Exchange)]
    queues = [entity.name for entity in missing if not isinstance(entity, Exchange)]
    present = len(entities.exchanges) + len(entities.queues) - len(missing)
    if as_json:
        show_json(
            {
                "broker": str(broker),
                "namespace": stem.names.namespace,
                "created": {"exchanges": exchanges, "queues": queues},
                "present": present,
                "dry_run": dry_run,
            }
        )
        return
    _show_applied(stem, broker, exchanges, queues, present, dry_run=dry_run)


def _show_applied(
    stem: Stem,
    broker: BrokerInfo,
    exchanges: list[str],
    queues: list[str],
    present: int,
    *,
    dry_run: bool,
) -> None:
    verb = "missing" if dry_run else "declared"
    delays = set(stem.names.delay_queues())
    for kind, found in (("exchange", exchanges), ("queue", queues)):
        for name in found:
            if name not in delays:
                typer.echo(f"{verb} {kind} {name}")
    delayed = len(delays.intersection(queues))
    if delayed:
        typer.echo(f"{verb} {delayed} delay queues")
    new = len(exchanges) + len(queues)
    note(
        f"{broker}, {_where(stem)}: {new} {'missing' if dry_run else 'new'}, {present} there already"
    )


def _show_mistakes(mistakes: list[TopologyError], *, as_json: bool) -> None:
    if as_json:
        documents = [_mistake(mistake) for mistake in mistakes]
        show_json({"valid": False, "mistakes": documents, "warnings": []})
        return
    for mistake in mistakes:
        # The first one's text lists the others too, and each is shown for itself
        show_error(str(TopologyError(**_mistake(mistake))))
    note(count(len(mistakes), "mistake"))


def _mistake(error: TopologyError) -> dict[str, Any]:
    names = ("problem", "file", "line", "key", "remedy")
    return {name: getattr(error, name) for name in names}


def _where(stem: Stem) -> str:
    file = stem.settings.topology
    return f"{file or 'the default topology'}, namespace {stem.names.namespace}"


def _counts(entities: Entities) -> str:
    return (
        f"{len(entities.exchanges)} exchanges, {len(entities.queues)} queues,"
        f" {len(entities.bindings)} bindings"
    )
