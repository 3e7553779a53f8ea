"""``stem-amqp schedules list``: the schedules of an application.

``--json`` prints an object: ``schedules``, objects with ``name``, ``task``, ``when`` (for people), ``args``, ``tz``,
``jitter`` (seconds), ``start``, ``end``, ``misfire`` (``policy``, ``limit``, ``grace``), ``enabled``,
``description``, and ``next``, the time of the next tick without its jitter; null if there is none. From the result
backend it has ``dynamic`` (made at run time), ``paused``, ``missed`` (ticks that never run), and ``last``, the last tick
that was due: ``at``, ``id``, ``state`` and ``error`` of its task; null if nothing is stored. ``more`` is the number of
further dynamic ones, beyond ``--limit``.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Annotated, Any

import typer
from rich.text import Text

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import NOTHING, ago, iso, note, show, show_json, show_warning, table
from stem_amqp.cli.schedules.group import Zone, app, local_time, shown_zone
from stem_amqp.cli.schedules.stored import Stored, has_store, is_glob, read_stored
from stem_amqp.durations import format_seconds
from stem_amqp.errors import StemError
from stem_amqp.scheduler.operated import unknown
from stem_amqp.schedules import Schedule, Tick, next_ticks, zone_of

Asked = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME...", help="The schedules, names or globs such as 'reports.*'; default: all."
    ),
]
Limit = Annotated[
    int,
    typer.Option(
        "--limit", metavar="N", min=1, help="The first N of those that were made at run time."
    ),
]

_WORD = 24
"""The most columns of a word that is not cut."""


@app.command("list", epilog=EPILOG)
def list_command(
    *,
    target: opt.AppArgument,
    names: Asked = None,
    limit: Limit = 1000,
    zone: Zone = None,
    as_json: opt.Json = False,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """List the schedules of an application: of its code, of its topology file, and those made at run time."""
    overrides = opt.Overrides(backend_url=backend_url, namespace=namespace, topology=topology)
    stem = load(target, overrides)
    now = time.time()
    schedules, stored = _read(stem, names or [], limit, now)
    if as_json:
        listed = [_document(one, stored, now) for one in schedules]
        show_json({"schedules": listed, "more": stored.more})
        return
    if not schedules:
        if names:
            note(f"no schedule of {target} matches {' or '.join(map(repr, names))}")
        else:
            note(
                f"{target} has no schedules: see @stem.every(…), or schedules in the topology file"
            )
        return
    columns = ["schedule", "task", "when", "next", *(["last"] if has_store(stem) else [])]
    lines = table(*columns, whole=("schedule",))
    for schedule in schedules:
        cells = [schedule.name, schedule.task, _when(schedule), _next(schedule, stored, zone, now)]
        lines.add_row(*cells, *([_last(schedule, stored, now)] if has_store(stem) else []))
    # A time zone is not cut where columns are scarce
    words = (len(word) for one in schedules for word in _when(one).split())
    lines.columns[columns.index("when")].min_width = min(_WORD, max(words))
    show(lines)
    if stored.more:
        note(f"{stored.more:,} more made at run time: a larger --limit, names or globs show them")


def _read(stem: Stem, names: list[str], limit: int, now: float) -> tuple[list[Schedule], Stored]:
    defined, stored = stem.blueprint.schedules, Stored()
    if has_store(stem):
        try:
            stored = asyncio.run(read_stored(stem, names, limit, now))
        except StemError as error:
            # What the code and the file say is of use without the store, too
            show_warning(f"last runs and schedules made at run time are not shown: {error}")
    for name, why in stored.unreadable.items():
        show_warning(f"schedule {name} is not shown: {why}")
    found = {**stored.made, **defined}
    for name in names:
        if name not in found and not is_glob(name):
            raise unknown(name, found)
    return [found[name] for name in sorted(found) if not names or _is_one_of(name, names)], stored


def _is_one_of(name: str, asked: list[str]) -> bool:
    return any(fnmatchcase(name, one) if is_glob(one) else name == one for one in asked)


def _next_tick(schedule: Schedule, stored: Stored, now: float) -> Tick | None:
    return None if _paused(schedule, stored) else next(iter(next_ticks(schedule, now)), None)


def _paused(schedule: Schedule, stored: Stored) -> bool:
    state = stored.states.get(schedule.name)
    return state is not None and state.paused


def _next(schedule: Schedule, stored: Stored, zone: str | None, now: float) -> str:
    tick = _next_tick(schedule, stored, now)
    if tick is not None:
        return f"{local_time(tick.at, shown_zone(schedule, zone))}, {ago(tick.at, now)}"
    if not schedule.enabled:
        return "disabled"
    return "paused" if _paused(schedule, stored) else NOTHING


def _last(schedule: Schedule, stored: Stored, now: float) -> Text:
    last, state = stored.last.get(schedule.name), stored.states.get(schedule.name)
    missed = f", {state.missed} missed" if state is not None and state.missed else ""
    if last is None:
        return Text(NOTHING + missed)
    tick, record = last
    result = "published" if record is None else record.state.value
    style = "red" if result == "failed" else ""
    return Text.assemble((result, style), f" {ago(tick.due, now)}{missed}")


def _when(schedule: Schedule) -> str:
    jitter = f", up to {format_seconds(schedule.jitter)} later" if schedule.jitter else ""
    return f"{schedule.timing}{jitter}"


def _document(schedule: Schedule, stored: Stored, now: float) -> dict[str, Any]:
    tick = _next_tick(schedule, stored, now)
    state = stored.states.get(schedule.name)
    return {
        "name": schedule.name,
        "task": schedule.task,
        "when": str(schedule.timing),
        "args": dict(schedule.args),
        "tz": zone_of(schedule),
        "jitter": schedule.jitter,
        "start": iso(schedule.start),
        "end": iso(schedule.end),
        "misfire": asdict(schedule.misfire),
        "enabled": schedule.enabled,
        "description": schedule.description,
        "next": None if tick is None else iso(tick.at),
        "dynamic": schedule.name in stored.made,
        "paused": None if state is None else state.paused,
        "missed": None if state is None else state.missed,
        "last": _last_document(schedule, stored),
    }


def _last_document(schedule: Schedule, stored: Stored) -> dict[str, Any] | None:
    last = stored.last.get(schedule.name)
    if last is None:
        return None
    tick, record = last
    return {
        "at": iso(tick.at),
        "id": tick.id,
        "state": None if record is None else record.state.value,
        "error": None if record is None else record.error,
    }
