"""``stem-amqp schedules next``: the next ticks of an application's schedules.

``--json`` prints an object: ``ticks``, objects with ``schedule``, ``task``, ``at`` (the time that the schedule names),
``due`` (with its jitter), ``local`` (``at`` in the time zone ``tz``, with its offset) and ``id`` (of the tick's
task).
"""

from __future__ import annotations

import heapq
import itertools
import time
import zoneinfo
from datetime import datetime
from typing import Annotated, Any

import typer

from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import iso, note, short, show, show_json, table
from stem_amqp.cli.schedules.group import Names, Zone, app, local_time, selected, shown_zone
from stem_amqp.schedules import Schedule, Tick, ticks

Count = Annotated[
    int, typer.Option("--count", metavar="N", min=1, max=10_000, help="Ticks at most.")
]
After = Annotated[
    float | None,
    typer.Option(
        "--after",
        parser=opt.time_of,
        metavar="TIME",
        help="Begin after this time, such as 2026-10-24T22:00:00Z; default: now.",
    ),
]


@app.command("next", epilog=EPILOG)
def next_command(
    *,
    target: opt.AppArgument,
    names: Names = None,
    count: Count = 10,
    after: After = None,
    zone: Zone = None,
    as_json: opt.Json = False,
    topology: opt.TopologyFile = None,
) -> None:
    """Show the next ticks, in the order of their times; to try what a schedule does."""
    stem = load(target, opt.Overrides(topology=topology))
    schedules = selected(stem, names)
    begin = time.time() if after is None else after
    merged = heapq.merge(
        *(ticks(one, begin, float("inf")) for one in schedules.values()), key=lambda tick: tick.at
    )
    found = [(tick, schedules[tick.schedule]) for tick in itertools.islice(merged, count)]
    if as_json:
        show_json({"ticks": [_document(*one, zone) for one in found]})
        return
    if not found:
        note(
            f"no schedule of {target} ticks after that time: see stem-amqp schedules list {target}"
        )
        return
    lines = table("time", "schedule", "task", whole=("time", "schedule"))
    for tick, schedule in found:
        late = f" +{short(tick.due - tick.at)}" if tick.due > tick.at else ""
        lines.add_row(
            local_time(tick.at, shown_zone(schedule, zone)) + late, schedule.name, schedule.task
        )
    show(lines)


def _document(tick: Tick, schedule: Schedule, wanted: str | None) -> dict[str, Any]:
    zone = shown_zone(schedule, wanted)
    return {
        "schedule": schedule.name,
        "task": schedule.task,
        "at": iso(tick.at),
        "due": iso(tick.due),
        "local": datetime.fromtimestamp(tick.at, zoneinfo.ZoneInfo(zone)).isoformat(),
        "tz": zone,
        "id": tick.id,
    }
