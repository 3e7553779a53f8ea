"""``stem-amqp topology validate``: mistakes, what will be regretted, and what a release has not.

``--json`` prints an object with ``valid``, ``broker`` (with ``--broker`` or ``--release``),
``mistakes`` (objects with ``file``, ``line``, ``key``, ``problem``, ``remedy``) and ``warnings``
(``key``, ``problem``, ``remedy``).
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from stem_amqp.app import Stem
from stem_amqp.assembly import entities_of
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import ExitCode
from stem_amqp.cli.load import load
from stem_amqp.cli.output import count, note, show_error, show_json, show_warning
from stem_amqp.cli.session import broker_of
from stem_amqp.errors import ConfigurationError, TopologyError
from stem_amqp.management import Management
from stem_amqp.provision.release import Abilities, Fitness, fitness
from stem_amqp.topology.entities import Entities
from stem_amqp.topology.lint import lint, lint_time_limits
from stem_amqp.topology.planned import Planned
from stem_amqp.transport.amqp.features import release as release_named


def validate_command(
    *,
    file: opt.TopologyArgument = None,
    application: opt.AppOption = None,
    broker: Annotated[
        bool, typer.Option("--broker", help="Ask the broker for its release and what it can do.")
    ] = False,
    release: Annotated[
        str | None,
        typer.Option(
            "--release", metavar="X.Y", help="For this release of RabbitMQ, such as 3.10 or 4.3.1."
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as mistakes.")] = False,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Check a topology file: every mistake, and what is allowed but will be regretted.

    No broker is needed, unless --broker is given: then what the broker refuses is a mistake, and what it
    ignores a warning. --release does the same for a release that is not there yet. The exit code is
    1 if there are mistakes.
    """
    if broker and release is not None:
        raise ConfigurationError(
            "--broker and --release cannot be given together\n"
            "  The broker has a release: leave one of them out."
        )
    overrides = opt.Overrides(topology=file, broker_url=broker_url, namespace=namespace)
    known = None if release is None else Abilities(broker=release_named(release))
    try:
        stem = load(application, overrides)
        if application is None and stem.settings.topology is None:
            raise ConfigurationError(
                "there is no topology file to check\n"
                "  Name one: stem-amqp topology validate topology.yaml; or set STEM_TOPOLOGY."
            )
        entities = entities_of(stem)
    except TopologyError as error:
        _show_mistakes([error, *error.more], [], known, as_json=as_json)
        raise typer.Exit(ExitCode.NO) from None
    if broker:
        known = asyncio.run(_ask(stem))
    found = Fitness()
    if known is not None:
        found = fitness(Planned.of(stem.topology, stem.names, stem.queues), known)
    file_name = None if stem.settings.topology is None else str(stem.settings.topology)
    mistakes = [
        TopologyError(one.problem, file=file_name, key=one.key, remedy=one.remedy)
        for one in found.refused
    ]
    warnings = [
        *lint(stem.topology, stem.names, stem.queues),
        *lint_time_limits(stem.topology, stem.time_limits),
        *found.ignored,
    ]
    bad = bool(mistakes) or (strict and bool(warnings))
    if as_json or mistakes:
        _show_mistakes(mistakes, warnings, known, as_json=as_json, valid=not bad)
    else:
        for warning in warnings:
            show_warning(str(warning))
        named = "" if known is None else f", for {known.broker}"
        said = count(len(warnings), "warning")
        typer.echo(f"{where(stem)}{named}: {_counts(entities)}; {said}")
    raise typer.Exit(ExitCode.NO if bad else ExitCode.OK)


async def _ask(stem: Stem) -> Abilities:
    async with broker_of(stem) as (_, info):
        known = await Abilities.of(info, Management.of(stem.settings))
    if known.reason:
        note(f"{known.reason}: only the release counts, plugins and feature flags are not known")
    return known


def _show_mistakes(
    mistakes: list[TopologyError],
    warnings: list[Any],
    known: Abilities | None,
    *,
    as_json: bool,
    valid: bool = False,
) -> None:
    if as_json:
        documents = [_mistake(mistake) for mistake in mistakes]
        document = {"valid": valid, "mistakes": documents, "warnings": warnings}
        show_json(document if known is None else {"broker": str(known.broker), **document})
        return
    for warning in warnings:
        show_warning(str(warning))
    for mistake in mistakes:
        # The first one's text lists the others too, and each is shown for itself
        show_error(str(TopologyError(**_mistake(mistake))))
    note(count(len(mistakes), "mistake"))


def _mistake(error: TopologyError) -> dict[str, Any]:
    names = ("problem", "file", "line", "key", "remedy")
    return {name: getattr(error, name) for name in names}


def where(stem: Stem) -> str:
    """Return which topology it is, in which namespace."""
    file = stem.settings.topology
    return f"{file or 'the default topology'}, namespace {stem.names.namespace}"


def _counts(entities: Entities) -> str:
    return (
        f"{len(entities.exchanges)} exchanges, {len(entities.queues)} queues,"
        f" {len(entities.bindings)} bindings"
    )


__all__ = ["validate_command", "where"]
