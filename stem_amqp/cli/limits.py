"""``stem-amqp limits``: what limits across workers are used for, and who waits for them.

``--json`` prints an object: ``limits``, objects with ``limit`` (its name), ``key`` (what it is counted by; null for all
calls together), ``allowed`` (null if no application is given, or it does not know the limit), ``running`` (leases),
``waiting`` (an estimate), ``backlog`` (seconds until a new task could start at the rate) and ``mean_duration``
(seconds; null if no run has ended). It also has ``more``, whether further limits are in use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Annotated

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import NOTHING, note, show, show_json, table
from stem_amqp.cli.session import store_of
from stem_amqp.durations import format_seconds
from stem_amqp.errors import ConfigurationError
from stem_amqp.limits.base import Usage, key_parts, limit_key
from stem_amqp.tasks.limit import NO_KEY
from stem_amqp.worker.gates.limits.plan import Counter, plan_of

_LIMIT = 50
_MOST = 10_000
"""Limits that are read from the store, at most."""
app = opt.command_app()

Application = Annotated[
    str | None,
    typer.Argument(
        metavar="APP", help="The application as module:attribute; adds its limits that are idle."
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", metavar="GLOB", help="Only these limits: 'limit:stripe'.")
]
Key = Annotated[
    str | None, typer.Option("--key", metavar="GLOB", help="Only these keys, such as a tenant.")
]
Limit = Annotated[int, typer.Option(metavar="N", min=1, max=_MOST, help="At most N lines.")]


class Row:
    """One limit, or one key of it.

    Args:
        usage: what the store knows of it.
        namespace: the namespace, with which the keys in the store begin.
        allowed: the limits that the application knows, by their name.
    """

    def __init__(self, usage: Usage, namespace: str, allowed: dict[str, Counter]) -> None:
        name, self.key = key_parts(usage.key)
        self.name = name.removeprefix(f"{namespace}/")
        counter = allowed.get(self.name)
        self.allowed = None if counter is None else str(counter.limit)
        self.usage = usage

    @property
    def order(self) -> tuple[float, float, str, str]:
        """The key for sorting: those that tasks wait for come first."""
        return -self.usage.waiting, -self.usage.running, self.name, self.key or ""

    def document(self) -> dict[str, object]:
        """Return it for ``--json``."""
        return {
            "limit": self.name,
            "key": self.key,
            "allowed": self.allowed,
            "running": self.usage.running,
            "waiting": self.usage.waiting,
            "backlog": round(self.usage.backlog, 3),
            "mean_duration": self.usage.mean_duration,
        }

    def cells(self) -> Sequence[str]:
        """Return it for the table."""
        usage = self.usage
        key = NOTHING if self.key is None else self.key if self.key != NO_KEY else "(no key)"
        return (
            self.name,
            key,
            self.allowed or NOTHING,
            str(usage.running),
            str(usage.waiting),
            "now" if usage.backlog <= 0 else f"in {format_seconds(usage.backlog)}",
            NOTHING if usage.mean_duration is None else format_seconds(usage.mean_duration),
        )


@app.command("limits", epilog=EPILOG)
def limits_command(
    *,
    application: Application = None,
    name: Name = None,
    key: Key = None,
    limit: Limit = _LIMIT,
    as_json: opt.Json = False,
    topology: opt.TopologyFile = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Show the limits across workers: leases, waiting tasks, the next free start.

    Those that tasks wait for come first. It reads the result backend, so STEM_BACKEND_URL must be that of the
    workers.
    """
    overrides = opt.Overrides(topology=topology, backend_url=backend_url, namespace=namespace)
    stem = load(application, overrides)
    allowed = _known(stem)
    rows = asyncio.run(_rows(stem, allowed))
    found = sorted((row for row in rows if _matches(row, name, key)), key=lambda row: row.order)
    if as_json:
        listed = [row.document() for row in found[:limit]]
        show_json({"limits": listed, "more": len(found) > limit})
        return
    if not found:
        note("no limits are in use" if name is key is None else "no such limits are in use")
        return
    lines = table(
        "limit", "key", "allowed", "running", "waiting", "next", "mean",
        numbers=("running", "waiting"), whole=("limit", "next"),
    )  # fmt: skip
    for row in found[:limit]:
        lines.add_row(*row.cells())
    show(lines)
    if len(found) > limit:
        note(f"{len(found) - limit} more: use --name, --key or --limit")


def _known(stem: Stem) -> dict[str, Counter]:
    """Return the limits over all workers of an application's tasks, by their name."""
    counters: dict[str, Counter] = {}
    for task in stem.registry:
        plan = plan_of(task, stem.blueprint.queue_of(task), stem.topology)
        for counter in () if plan is None else plan.shared:
            counters[counter.name] = counter
    return counters


async def _rows(stem: Stem, allowed: dict[str, Counter]) -> Iterable[Row]:
    namespace = stem.settings.namespace
    async with store_of(stem) as backend:
        store = backend.limits()
        if store is None:
            raise ConfigurationError(
                "this result backend keeps no limits across workers.\n"
                "  Set STEM_BACKEND_URL to redis://, postgresql:// or sqlite:///, as for the workers."
            )
        await store.open()
        usages = await store.find(limit=_MOST)
        await store.close()
    rows = [Row(usage, namespace, allowed) for usage in usages]
    used = {row.name for row in rows}
    idle = (name for name in allowed if name not in used)
    return [
        *rows,
        *(Row(_unused(limit_key(f"{namespace}/{name}")), namespace, allowed) for name in idle),
    ]


def _unused(key: str) -> Usage:
    return Usage(key=key, running=0, backlog=0.0, waiting=0, mean_duration=None)


def _matches(row: Row, name: str | None, key: str | None) -> bool:
    return (name is None or fnmatchcase(row.name, name)) and (
        key is None or fnmatchcase(row.key or "", key)
    )
