"""``stem-amqp topology validate``: mistakes, risky settings, and features that a release lacks.

``--json`` prints an object with ``valid``, ``broker`` (with ``--broker`` or ``--release``),
``mistakes`` (objects with ``file``, ``line``, ``key``, ``problem``, ``remedy``) and ``warnings``
(``key``, ``problem``, ``remedy``).
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import ExitCode
from stem_amqp.cli.load import load
from stem_amqp.cli.output import note, show_error, show_json, show_warning
from stem_amqp.cli.session import broker_of
from stem_amqp.cli.topology.view import counts_of
from stem_amqp.errors import ConfigurationError, TopologyError
from stem_amqp.management import Management
from stem_amqp.provision.release import Abilities, Fitness, fitness
from stem_amqp.text import count
from stem_amqp.topology.lint import Planned, lint, lint_time_limits
from stem_amqp.transport.features import release as release_named


def validate_command(
    *,
    file: opt.TopologyArgument = None,
    application: opt.AppOption = None,
    broker: Annotated[
        bool, typer.Option("--broker", help="Check against the broker's release and features.")
    ] = False,
    release: Annotated[
        str | None,
        typer.Option(
            "--release", metavar="X.Y", help="Check against a release, such as 3.10 or 4.3.1."
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as mistakes.")] = False,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Check a topology file: report all mistakes, and valid but risky settings.

    No broker is needed, unless --broker is given: then what the broker refuses is a mistake, and what it
    ignores is a warning. --release does the same for a release without a broker. The exit code is 1 if
    there are mistakes.
    """
    if broker and release is not None:
        raise ConfigurationError(
            "--broker and --release cannot be given together\n"
            "  The broker has a release: omit one of them."
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
        counts = counts_of(stem.blueprint.entities)
    except TopologyError as error:
        _show_mistakes([error, *error.more], [], known, as_json=as_json)
        raise typer.Exit(ExitCode.NO) from None
    if broker:
        known = asyncio.run(_ask(stem))
    mistakes, warnings = _check(stem, known)
    bad = bool(mistakes) or (strict and bool(warnings))
    if as_json or mistakes:
        _show_mistakes(mistakes, warnings, known, as_json=as_json, valid=not bad)
    else:
        for warning in warnings:
            show_warning(str(warning))
        named = "" if known is None else f", for {known.broker}"
        typer.echo(f"{where(stem)}{named}: {counts}; {count(len(warnings), 'warning')}")
    raise typer.Exit(ExitCode.NO if bad else ExitCode.OK)


def _check(stem: Stem, known: Abilities | None) -> tuple[list[TopologyError], list[Any]]:
    """Return the mistakes and the warnings of a topology that could be read.

    Args:
        stem: the application.
        known: what the broker or the release can do, if one was named.
    """
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
        *lint_time_limits(stem.topology, stem.blueprint.time_limits),
        *found.ignored,
    ]
    return mistakes, warnings


async def _ask(stem: Stem) -> Abilities:
    async with broker_of(stem) as (_, info):
        known = await Abilities.of(info, Management.of(stem.settings))
    if known.reason:
        note(
            f"{known.reason}: only the release is checked, plugins and feature flags are not known"
        )
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
        # The text of the first one lists the others too, but each is shown separately
        show_error(str(TopologyError(**_mistake(mistake))))
    note(count(len(mistakes), "mistake"))


def _mistake(error: TopologyError) -> dict[str, Any]:
    names = ("problem", "file", "line", "key", "remedy")
    return {name: getattr(error, name) for name in names}


def where(stem: Stem) -> str:
    """Return the topology file and the namespace, as text."""
    file = stem.settings.topology
    return f"{file or 'the default topology'}, namespace {stem.names.namespace}"


__all__ = ["validate_command", "where"]
