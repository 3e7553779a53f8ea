"""``stem-amqp topology migrate``: change queues that RabbitMQ cannot change in place, under load.

``--json`` prints an object with ``namespace``, ``broker``, ``dry_run`` and ``queues``: with ``--dry-run``
objects with ``queue``, ``name``, ``earlier``, ``policies`` and ``differences``; else objects with ``queue``,
``earlier``, ``name``, ``resumed``, ``overlap`` (seconds), ``copies`` (ids of the tasks that may be in
both queues), ``moved`` and ``left`` (why an earlier version still exists).
"""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import ExitCode
from stem_amqp.cli.load import load
from stem_amqp.cli.output import note, print_line, show_json, show_warning
from stem_amqp.cli.queue_names import logical_queues
from stem_amqp.cli.session import broker_of, check_queues, confirm
from stem_amqp.errors import ManagementError
from stem_amqp.management import Management
from stem_amqp.provision.change import policies_need_management
from stem_amqp.provision.migrate import MigrationReport, Migrator
from stem_amqp.provision.migration import Migration, differences, find_migrations
from stem_amqp.text import count

DEFAULT_TIMEOUT = 600.0


def migrate_command(
    *,
    file: opt.TopologyArgument = None,
    queues: Annotated[
        list[str] | None,
        typer.Option(
            "-Q", "--queues", metavar="NAMES", help="Queues, as a,b; default: all that need it."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
    yes: opt.Yes = False,
    without_consumers: Annotated[
        bool,
        typer.Option("--without-consumers", help="Do not wait for workers of the new version."),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            parser=opt.duration,
            metavar="DURATION",
            help="For a worker to consume, and for the old queue to be empty.",
            show_default="10m",
        ),
    ] = DEFAULT_TIMEOUT,
    application: opt.AppOption = None,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Replace a queue with its next version in the topology file, while tasks arrive and run.

    The new queue is declared, the bindings are switched, the workers drain the old queue, and it is
    deleted once it is empty. After an interruption, start it again to continue.
    """
    overrides = opt.Overrides(broker_url=broker_url, namespace=namespace, topology=file)
    stem = load(application, overrides)
    wanted = logical_queues(stem, opt.split(queues))
    check_queues(stem, wanted)
    run = _Run(
        stem, dry_run=dry_run, yes=yes, as_json=as_json, timeout=timeout, idle=without_consumers
    )
    if not asyncio.run(run(wanted)):
        raise typer.Exit(ExitCode.NO)


class _Run:
    """One call of the command."""

    def __init__(
        self, stem: Stem, *, dry_run: bool, yes: bool, as_json: bool, timeout: float, idle: bool
    ) -> None:
        self._stem = stem
        self._dry_run = dry_run
        self._yes = yes
        self._as_json = as_json
        self._timeout = timeout
        self._idle = idle

    async def __call__(self, queues: list[str]) -> bool:
        """Return whether the migration is complete, or it was a dry run."""
        stem = self._stem
        async with broker_of(stem) as (transport, broker):
            management, silent = await _answering(stem)
            entities = stem.blueprint.entities
            found = await find_migrations(transport, entities, queues)
            document = {
                "namespace": stem.names.namespace,
                "broker": str(broker),
                "dry_run": self._dry_run,
            }
            plans = [(one, await differences(management, one)) for one in found]
            if self._dry_run or not found:
                self._say(plans, document, queues)
                return True
            if management is None and any(one.policies for one in found):
                raise policies_need_management(silent)
            if not self._yes:
                for one, lines in plans:
                    _describe(one, lines, idle=self._idle)
                confirm(f"migrate {', '.join(one.queue for one in found)}")
            migrator = Migrator(
                transport,
                management,
                stem.names,
                report=note,
                timeout=self._timeout,
                without_consumers=self._idle,
            )
            accounts = [await migrator.migrate(one) for one in found]
        if self._as_json:
            show_json(document | {"queues": accounts})
        else:
            for account in accounts:
                _show(account)
        return not any(account.left for account in accounts)

    def _say(
        self,
        plans: list[tuple[Migration, list[str]]],
        document: dict[str, object],
        queues: list[str],
    ) -> None:
        if self._as_json:
            described = [
                {
                    "queue": one.queue,
                    "name": one.new.name,
                    "earlier": list(one.earlier.values()),
                    "policies": [policy.name for policy in one.policies],
                    "differences": lines,
                }
                for one, lines in plans
            ]
            show_json(document | {"queues": described})
            return
        for one, lines in plans:
            _describe(one, lines, idle=self._idle)
        if not plans:
            print_line(
                f"nothing to migrate: {', '.join(queues) or 'no queue'} has an earlier version"
            )


async def _answering(stem: Stem) -> tuple[Management | None, ManagementError | None]:
    """Return the management API if it answers, otherwise the error."""
    management = Management.of(stem.settings)
    try:
        await management.get("vhosts", management.virtual_host)
    except ManagementError as error:
        show_warning(
            f"{str(error).partition(chr(10))[0]}: differences, bindings that are not in the file and tasks"
            " that workers still run are not known, so an old queue is drained but not deleted"
        )
        return None, error
    return management, None


def _describe(migration: Migration, lines: list[str], *, idle: bool) -> None:
    print_line(f"{migration.new.title}: {migration.names} → {migration.new.name}")
    for line in lines:
        print_line(f"  {line}")
    for number, step in enumerate(steps_of(migration, idle=idle), 1):
        print_line(f"  {number}. {step}")


def steps_of(migration: Migration, *, idle: bool) -> list[str]:
    """Return the steps of a migration in order.

    Args:
        migration: the migration.
        idle: whether it does not wait for workers.
    """
    new, old = migration.new.name, migration.names
    steps = [
        f"declare {new}",
        f"wait for a worker that consumes {new}",
        f"bind {new} to {', '.join(b.source for b in migration.bindings)}, and unbind {old}",
        f"wait until {old} is empty; its messages are moved if no worker consumes it",
        f"delete {old}",
    ]
    if idle or migration.new.dead:
        del steps[1]
    if migration.policies:
        named = ", ".join(policy.name for policy in migration.policies)
        word = "policy" if len(migration.policies) == 1 else "policies"
        steps.insert(0, f"set the {word} {named}, so that {new} has its settings from the start")
    own = [p.name for p in map(migration.own_policy, migration.earlier.values()) if p is not None]
    if own:
        steps[-1] += f" and its policy {', '.join(own)}"
    return steps


def _show(account: MigrationReport) -> None:
    copies = f"at most {len(account.copies)}" if account.copies else "none"
    print_line(
        f"{account.queue}: {' and '.join(account.earlier)} → {account.name}. Tasks in both: {copies}"
        f" (both were bound for {account.overlap * 1000:.1f} ms). Moved:"
        f" {count(account.moved, 'message')}."
    )
    for task in account.copies[:_SHOWN]:
        print_line(f"  possibly in both: {task}")
    if account.left:
        show_warning(
            f"{account.left}\n  When rabbitmqctl list_queues name messages says 0: rabbitmqctl"
            f" delete_queue {account.earlier[0]}"
        )


_SHOWN = 20
"""Maximum number of printed ids; --json has all."""

__all__ = ["migrate_command", "steps_of"]
