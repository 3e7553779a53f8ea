"""``stem-amqp topology``: check, plan, apply, verify or show what is on the broker.

``validate``, ``migrate``, ``export``, ``import`` and ``graph`` stand in modules of their own.

``--json`` prints, for ``plan``, ``verify`` and ``apply``, an object with ``namespace``, ``source``
(``management`` or ``amqp``), ``nothing_to_do``, ``create``, ``change``, ``blocked``, ``undeclared``
(objects with ``kind``, ``name``, ``details``, ``remedy``), ``same`` and ``notes``, for ``apply`` also
``broker`` and ``left``; for ``show`` ``namespace``, ``exchanges``, ``queues``, ``bindings`` and
``policies``.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from stem_amqp.app import Stem
from stem_amqp.assembly import entities_of
from stem_amqp.cli import options as opt
from stem_amqp.cli import topology_export, topology_graph, topology_import
from stem_amqp.cli.exit_codes import EPILOG, ExitCode
from stem_amqp.cli.load import load
from stem_amqp.cli.output import note, show, show_error, show_json, show_warning
from stem_amqp.cli.session import broker_of, confirm
from stem_amqp.cli.topology_migrate import migrate_command
from stem_amqp.cli.topology_plan import plan_document, plan_view
from stem_amqp.cli.topology_validate import validate_command, where
from stem_amqp.cli.topology_view import entities_view
from stem_amqp.errors import ManagementError, StemError
from stem_amqp.management import Management
from stem_amqp.provision.change import carry_out, policies_refused, prune, refuse_blocked, unable
from stem_amqp.provision.demands import refuse_unsupported
from stem_amqp.provision.inventory import ask_by_amqp, take_inventory
from stem_amqp.provision.plan import Plan, Step, make_plan
from stem_amqp.provision.versions import as_they_stand
from stem_amqp.topology.entities import Entities
from stem_amqp.topology.schema import schema_text
from stem_amqp.transport.base import Transport

app = opt.command_app("Check, plan, apply, migrate, export, import or draw the topology.")
app.command("validate", epilog=EPILOG)(validate_command)
app.command("migrate", epilog=EPILOG)(migrate_command)
app.add_typer(topology_export.app)
app.add_typer(topology_import.app)
app.add_typer(topology_graph.app)
CHANGES = 2
"""The exit code of a plan with something to do, as other planning tools have it."""


@app.command("plan", epilog=EPILOG)
def plan_command(
    *,
    file: opt.TopologyArgument = None,
    application: opt.AppOption = None,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Say what applying would do, and what it cannot do. Nothing is changed.

    The exit code is 0 if there is nothing to do, 2 if there is, and 1 if it cannot be found out.
    With --app the queues that its tasks name belong to the topology too.
    """
    try:
        stem = _load(file, application, broker_url, namespace)
        plan = asyncio.run(_plan(stem))
    except StemError as error:
        show_error(str(error))
        raise typer.Exit(ExitCode.NO) from None
    _show_plan(stem, plan, as_json=as_json)
    raise typer.Exit(ExitCode.OK if plan.nothing_to_do else CHANGES)


@app.command("verify", epilog=EPILOG)
def verify_command(
    *,
    file: opt.TopologyArgument = None,
    application: opt.AppOption = None,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Check that the broker has what the topology wants, for deploy pipelines. Nothing is changed.

    The exit code is 0 if it has, and 1 if it has not; what is wrong is told as by plan.
    """
    stem = _load(file, application, broker_url, namespace)
    plan = asyncio.run(_plan(stem))
    _show_plan(stem, plan, as_json=as_json)
    raise typer.Exit(ExitCode.OK if plan.nothing_to_do else ExitCode.NO)


@app.command("apply", epilog=EPILOG)
def apply_command(
    *,
    file: opt.TopologyArgument = None,
    application: opt.AppOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Also remove what nobody declares, nothing uses and nothing is in."
        ),
    ] = False,
    yes: opt.Yes = False,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Create on the broker what is missing, and change what can be changed in place.

    What RabbitMQ cannot change is refused, with the command that can. With --app the queues that its
    tasks name are declared too.
    """
    stem = _load(file, application, broker_url, namespace)
    asyncio.run(_apply(stem, dry_run=dry_run, pruning=prune, yes=yes, as_json=as_json))


@app.command("show", epilog=EPILOG)
def show_command(
    *,
    file: opt.TopologyArgument = None,
    application: opt.AppOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Also the parts of delays.")] = False,
    as_json: opt.Json = False,
    namespace: opt.Namespace = None,
) -> None:
    """Show the exchanges, queues, bindings and policies of a topology. No broker is needed."""
    stem = _load(file, application, None, namespace)
    entities = entities_of(stem)
    if as_json:
        show_json(
            {
                "namespace": stem.names.namespace,
                "exchanges": entities.exchanges,
                "queues": entities.queues,
                "bindings": entities.bindings,
                "policies": entities.policies,
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


async def _plan(stem: Stem) -> Plan:
    async with broker_of(stem) as (transport, broker):
        refuse_unsupported(stem.topology, stem.queues, broker)
        entities = await as_they_stand(transport, entities_of(stem))
        return await _compare(stem, entities, transport, Management.of(stem.settings))


async def _compare(
    stem: Stem,
    entities: Entities,
    transport: Transport,
    management: Management,
    *,
    applying: bool = False,
    pruning: bool = False,
) -> Plan:
    """Ask the management API what there is, or the broker itself where it does not answer.

    What is to be applied and cannot be done to its end without the API is refused here, before anything
    is done.
    """
    try:
        inventory = await take_inventory(management)
    except ManagementError as error:
        if applying and entities.policies:
            raise policies_refused(error) from None
        if applying and pruning:
            what = "--prune removes what nobody declares, which only the management API knows"
            raise unable(what, error) from None
        note(str(error).partition("\n")[0])
        inventory = await ask_by_amqp(transport, entities)
    return make_plan(entities, inventory, stem.names, stem.settings.topology or "")


def _show_plan(stem: Stem, plan: Plan, *, as_json: bool) -> None:
    if as_json:
        show_json({"namespace": stem.names.namespace, **plan_document(plan)})
        return
    show(plan_view(plan, stem.names))


async def _apply(stem: Stem, *, dry_run: bool, pruning: bool, yes: bool, as_json: bool) -> None:
    management = Management.of(stem.settings)
    async with broker_of(stem) as (transport, broker):
        refuse_unsupported(stem.topology, stem.queues, broker)
        entities = await as_they_stand(transport, entities_of(stem))
        plan = await _compare(
            stem, entities, transport, management, applying=not dry_run, pruning=pruning
        )
        if dry_run:
            _show_plan(stem, plan, as_json=as_json)
            return
        refuse_blocked(plan)
        known = plan.source == "management"
        await carry_out(plan, entities, transport, management if known else None)
        left = await _prune(stem, plan, transport, management, yes=yes) if pruning else []
    if as_json:
        document = {"broker": str(broker), "namespace": stem.names.namespace, **plan_document(plan)}
        document["left"] = [{"name": step.name, "reason": why} for step, why in left]
        show_json(document)
        return
    _show_plan(stem, plan, as_json=False)
    for step, why in left:
        show_warning(f"{step.kind} {step.name} is left: {why}")
    note(f"{broker}, {where(stem)}: done")


async def _prune(
    stem: Stem, plan: Plan, transport: Transport, management: Management, *, yes: bool
) -> list[tuple[Step, str]]:
    if plan.undeclared and not yes:
        show(plan_view(plan, stem.names))
        confirm(f"remove what nobody declares, where nothing uses it ({len(plan.undeclared)})")
    return await prune(plan.undeclared, transport, management)
