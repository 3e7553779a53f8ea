"""``stem-amqp schedules run``, ``pause``, ``resume`` and ``history``: with schedules of any origin.

``run --json`` prints an object with the ``id`` of the task. ``pause`` and ``resume`` print ``schedule``, ``stored`` (where),
``by`` and ``at``. ``history`` prints ``schedule`` and ``ticks``, objects with ``id``, ``at``, ``due``, ``published``,
``withdrawn``, ``by_hand``, and of the task ``state``, ``attempt``, ``worker`` and ``error`` (null if nothing is known).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import NOTHING, console, format_time, iso, note, show, show_json, table
from stem_amqp.cli.running import WIDE
from stem_amqp.cli.schedules.group import app
from stem_amqp.cli.session import refuse_memory
from stem_amqp.cli.waiting import connected
from stem_amqp.directives.issue import Issued
from stem_amqp.scheduler.managed import Schedules
from stem_amqp.scheduler.operated import PastTick
from stem_amqp.text import count, one_line

T = TypeVar("T")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule.")]
Glob = Annotated[
    str, typer.Argument(metavar="NAME", help="The schedule, or a glob of names: 'reports.*'.")
]
Issuer = Annotated[
    str | None, typer.Option("--issuer", metavar="NAME", help="Who does it; default: user@host.")
]


@app.command("run", epilog=EPILOG)
def run_command(
    *,
    target: opt.AppArgument,
    name: Name,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Enqueue the task of a schedule now, whatever its timing, and also if it is paused."""
    stem = _loaded(target, broker_url, backend_url, namespace, topology)
    handle = _do(stem, lambda schedules: schedules.run(name))
    if as_json:
        show_json({"id": handle.id})
    else:
        typer.echo(handle.id)


@app.command("pause", epilog=EPILOG)
def pause_command(
    *,
    target: opt.AppArgument,
    name: Glob,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for the history.")
    ] = "",
    lifetime: Annotated[
        float | None,
        typer.Option(
            "--for",
            parser=opt.duration,
            metavar="DURATION",
            help="How long it holds, such as 2h; default: until it is resumed.",
        ),
    ] = None,
    issuer: Issuer = None,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Pause schedules: no tick is published, and published ones that are not due within 2 s are withdrawn.

    It lasts, also for schedulers that start later.
    """
    stem = _loaded(target, broker_url, backend_url, namespace, topology)
    issued = _do(
        stem,
        lambda schedules: schedules.pause(
            name, reason=reason, lifetime=lifetime, issuer=issuer or ""
        ),
    )
    _show_issued(issued, f"schedule {name} is paused", as_json)


@app.command("resume", epilog=EPILOG)
def resume_command(
    *,
    target: opt.AppArgument,
    name: Glob,
    issuer: Issuer = None,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """End a pause; ticks that passed meanwhile do not run. Name it as it was paused."""
    stem = _loaded(target, broker_url, backend_url, namespace, topology)
    issued = _do(stem, lambda schedules: schedules.resume(name, issuer=issuer or ""))
    _show_issued(issued, f"schedule {name} is resumed", as_json)


@app.command("history", epilog=EPILOG)
def history_command(
    *,
    target: opt.AppArgument,
    name: Name,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Show the last 20 ticks of a schedule and runs by hand, and what became of each.

    Workers are shown in a terminal of 110 columns or more, and with --json.
    """
    stem = _loaded(target, broker_url, backend_url, namespace, topology)
    found = _do(stem, lambda schedules: schedules.history(name))
    if as_json:
        show_json({"schedule": name, "ticks": [_document(one) for one in found]})
        return
    if found:
        show(view(found))
    note(count(len(found), "tick"))


def _loaded(
    target: str,
    broker_url: str | None,
    backend_url: str | None,
    namespace: str | None,
    topology: Any,
) -> Stem:
    overrides = opt.Overrides(
        broker_url=broker_url, backend_url=backend_url, namespace=namespace, topology=topology
    )
    stem = load(target, overrides)
    refuse_memory(stem)
    return stem


def _do(stem: Stem, work: Callable[[Schedules], Coroutine[Any, Any, T]]) -> T:
    async def connect_and_do() -> T:
        async with connected(stem, 0.0):
            return await work(stem.schedules)

    return asyncio.run(connect_and_do())


def _show_issued(issued: Issued, text: str, as_json: bool) -> None:
    directive = issued.directive
    if as_json:
        show_json(
            {
                "schedule": directive.target.name,
                "stored": issued.store,
                "by": directive.by,
                "at": iso(directive.at),
            }
        )
        return
    note(f"{text}; stored in {issued.store}")


def view(found: Sequence[PastTick]) -> Table:
    """Return the table of a history.

    Args:
        found: its ticks.
    """
    # A narrow terminal has no room for workers, and a long id is folded rather than the time
    wide = console().width >= WIDE
    columns = ("at", "by", "state", "id", *(["worker"] if wide else []))
    lines = table(*columns, whole=("at", "by", "state"))
    for past in found:
        state, worker = _outcome(past)
        by = "hand" if past.by_hand else "tick"
        row = (format_time(past.tick.at), by, state, one_line(past.tick.id))
        lines.add_row(*row, *([worker] if wide else []))
    return lines


def _outcome(past: PastTick) -> tuple[str, str]:
    record = past.record
    if past.tick.withdrawn:
        return "withdrawn", NOTHING
    if record is None:
        return NOTHING, NOTHING
    return record.state.value, one_line(record.worker or NOTHING)


def _document(past: PastTick) -> dict[str, Any]:
    tick, record = past.tick, past.record
    return {
        "id": tick.id,
        "at": iso(tick.at),
        "due": iso(tick.due),
        "published": iso(tick.published),
        "withdrawn": tick.withdrawn,
        "by_hand": past.by_hand,
        "state": None if record is None else record.state.value,
        "attempt": None if record is None else record.attempt,
        "worker": None if record is None else record.worker,
        "error": None if record is None else record.error,
    }
