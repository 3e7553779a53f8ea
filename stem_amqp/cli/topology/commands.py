"""``stem-amqp topology``: plan, verify, apply or show the topology.

``validate``, ``migrate``, ``export``, ``import`` and ``graph`` have modules of their own.

``--json`` prints, for ``plan``, ``verify`` and ``apply``, an object with ``namespace``, ``source``
(``management`` or ``amqp``), ``nothing_to_do``, ``create``, ``change``, ``blocked``, ``undeclared``
(objects with ``kind``, ``name``, ``details``, ``remedy``), ``same``, ``notes`` and ``former_delays``
(null, or an object with ``name``, ``exchanges``, ``queues`` and ``messages``), for ``apply`` also
``broker`` and ``left``; for ``show`` ``namespace``, ``exchanges``, ``queues``, ``bindings`` and
``policies``.
"""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG, ExitCode
from stem_amqp.cli.load import load
from stem_amqp.cli.output import note, show, show_error, show_json, show_warning
from stem_amqp.cli.session import broker_of, confirm
from stem_amqp.cli.topology import export as topology_export
from stem_amqp.cli.topology import graph as topology_graph
from stem_amqp.cli.topology import import_ as topology_import
from stem_amqp.cli.topology.migrate import migrate_command
from stem_amqp.cli.topology.plan import plan_document, plan_view
from stem_amqp.cli.topology.validate import validate_command, where
from stem_amqp.cli.topology.view import entities_view
from stem_amqp.errors import ManagementError, StemError
from stem_amqp.management import Management, find_resources, too_many_queues
from stem_amqp.provision.change import (
    apply_plan,
    management_needed,
    policies_need_management,
    prune,
    refuse_blocked,
)
from stem_amqp.provision.demands import refuse_unsupported
from stem_amqp.provision.former_delays import prune_former_delays
from stem_amqp.provision.inventory import ask_by_amqp, take_inventory
from stem_amqp.provision.plan import Plan, make_plan
from stem_amqp.provision.versions import current_entities
from stem_amqp.topology.entities import Entities
from stem_amqp.topology.file import schema_text
from stem_amqp.transport.base import Transport

app = opt.command_app("Check, plan, apply, migrate, export, import or draw the topology.")
app.command("validate", epilog=EPILOG)(validate_command)
app.command("migrate", epilog=EPILOG)(migrate_command)
app.add_typer(topology_export.app)
app.add_typer(topology_import.app)
app.add_typer(topology_graph.app)
CHANGES = 2
"""The exit code of a plan with changes, as in other planning tools."""


@app.command("plan", epilog=EPILOG)
def plan_command(
    *,
    file: opt.TopologyArgument = None,
    application: opt.AppOption = None,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Show what apply would do, and what it cannot do. Nothing is changed.

    The exit code is 0 without changes, 2 with changes, and 1 if the comparison failed. With --app, the
    queues named by its tasks belong to the topology too.
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
    """Check that the broker matches the topology, for deploy pipelines. Nothing is changed.

    The exit code is 0 if it matches, otherwise 1; the differences are shown as by plan.
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
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Also delete undeclared entities that are unused and empty."),
    ] = False,
    yes: opt.Yes = False,
    as_json: opt.Json = False,
    wait_for_broker: opt.WaitForBroker = None,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Create missing entities on the broker, and change those that can be changed in place.

    Changes that RabbitMQ cannot make are refused, with the command that can. With --app, the queues
    named by its tasks are declared too.
    """
    stem = _load(file, application, broker_url, namespace)
    patience = wait_for_broker or 0.0
    asyncio.run(_apply(stem, patience, dry_run=dry_run, pruning=prune, yes=yes, as_json=as_json))


@app.command("show", epilog=EPILOG)
def show_command(
    *,
    file: opt.TopologyArgument = None,
    application: opt.AppOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Include the delay entities.")] = False,
    as_json: opt.Json = False,
    namespace: opt.Namespace = None,
) -> None:
    """Show the exchanges, queues, bindings and policies of a topology. No broker is needed."""
    stem = _load(file, application, None, namespace)
    entities = stem.blueprint.entities
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
        entities = await current_entities(transport, stem.blueprint.entities)
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
    """Compare by the management API, or by AMQP if the API does not answer.

    Changes that cannot be completed without the API are refused here, before anything is changed.
    """
    try:
        inventory = await take_inventory(management)
    except ManagementError as error:
        if applying and entities.policies:
            raise policies_need_management(error) from None
        if applying and pruning:
            what = "--prune deletes undeclared entities, which only the management API knows"
            raise management_needed(what, error) from None
        note(str(error).partition("\n")[0])
        inventory = await ask_by_amqp(transport, entities)
    plan = make_plan(entities, inventory, stem.names, stem.settings.topology or "")
    queues = sum(step.kind == "queue" for step in plan.create)
    warning = too_many_queues(await find_resources(stem.settings), queues) if queues else ""
    return dataclasses.replace(plan, notes=(*plan.notes, warning)) if warning else plan


def _show_plan(stem: Stem, plan: Plan, *, as_json: bool) -> None:
    if as_json:
        show_json({"namespace": stem.names.namespace, **plan_document(plan)})
        return
    show(plan_view(plan, stem.names))


async def _apply(
    stem: Stem, patience: float, *, dry_run: bool, pruning: bool, yes: bool, as_json: bool
) -> None:
    management = Management.of(stem.settings)
    async with broker_of(stem, patience) as (transport, broker):
        refuse_unsupported(stem.topology, stem.queues, broker)
        entities = await current_entities(transport, stem.blueprint.entities)
        plan = await _compare(
            stem, entities, transport, management, applying=not dry_run, pruning=pruning
        )
        if dry_run:
            _show_plan(stem, plan, as_json=as_json)
            return
        refuse_blocked(plan)
        known = plan.source == "management"
        await apply_plan(plan, entities, transport, management if known else None)
        left = await _prune(stem, plan, transport, management, yes=yes) if pruning else {}
    if as_json:
        document = {"broker": str(broker), "namespace": stem.names.namespace, **plan_document(plan)}
        document["left"] = [
            {"name": what.rpartition(" ")[2], "reason": why} for what, why in left.items()
        ]
        show_json(document)
        return
    _show_plan(stem, plan, as_json=False)
    for what, why in left.items():
        show_warning(f"{what} is kept: {why}")
    note(f"{broker}, {where(stem)}: done")


async def _prune(
    stem: Stem, plan: Plan, transport: Transport, management: Management, *, yes: bool
) -> dict[str, str]:
    """Delete undeclared entities. Return those that were kept, each with the reason."""
    former = plan.former_delays
    total = len(plan.undeclared) + (len(former.exchanges + former.queues) if former else 0)
    if total and not yes:
        show(plan_view(plan, stem.names))
        confirm(f"delete undeclared entities that are unused and empty ({total})")
    steps = await prune(plan.undeclared, transport, management)
    left = {f"{step.kind} {step.name}": why for step, why in steps}
    if former is not None and (why := await prune_former_delays(stem.names, transport, management)):
        left[f"delay {former.name}.*"] = why
    return left
