"""``stem-amqp running``: the tasks that run now in all workers, the oldest first.

``--json`` prints an object: ``at``, ``namespace``, ``runs`` (objects with ``task``, ``id``, ``since``, ``seconds``,
``attempt``, ``queue``, ``worker``, ``fraction``, ``message``), ``omitted`` (the number of runs that workers left
out), ``silent`` (by queue, the number of consumers whose worker did not answer).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any

import typer
from rich.table import Table

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import NOTHING, console, iso, note, short, show, show_json, table
from stem_amqp.cli.workers import Wait, listing_of, notes_on
from stem_amqp.observability.registry.heartbeat import Heartbeat, RunningTask
from stem_amqp.observability.registry.listing import WorkerListing
from stem_amqp.text import count, one_line

app = opt.command_app()

WIDE = 110
"""The width in columns from which queues and workers are shown."""


@dataclass(frozen=True, slots=True)
class _Line:
    run: RunningTask
    worker: Heartbeat

    @property
    def seconds(self) -> float:
        """How long it has run, by the clock of its worker."""
        return max(0.0, self.worker.at - self.run.since)


@app.command("running", epilog=EPILOG)
def running_command(
    *,
    target: opt.OptionalApp = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", metavar="GLOB", help="Only these tasks, such as 'orders.*'."),
    ] = None,
    wait: Wait = None,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """List the runs in all workers with their progress, the oldest first.

    Queues and workers are shown in a terminal of 110 columns or more, and with --json.

    `stem-amqp result ID` shows one task; `stem-amqp queues` counts those that wait.
    """
    overrides = opt.Overrides(broker_url=broker_url, namespace=namespace, topology=topology)
    stem = load(target, overrides)
    listing = asyncio.run(listing_of(stem, wait))
    lines = _lines(listing, tasks or ["*"])
    omitted = sum(seen.heartbeat.runs_omitted for seen in listing.workers)
    if as_json:
        show_json(_document(stem, listing, lines, omitted))
        return
    if lines:
        show(_view(lines))
    if listing.workers:
        note(f"{count(len(lines), 'task')} running" if lines else "no task runs")
    if omitted:
        note(f"{count(omitted, 'further run')} not shown: a heartbeat contains the oldest 100")
    notes_on(stem, listing)


def _lines(listing: WorkerListing, globs: list[str]) -> list[_Line]:
    lines = [
        _Line(run, seen.heartbeat)
        for seen in listing.workers
        for run in seen.heartbeat.runs
        if any(fnmatchcase(run.task, glob) for glob in globs)
    ]
    return sorted(lines, key=lambda line: -line.seconds)


def _document(
    stem: Stem, listing: WorkerListing, lines: list[_Line], omitted: int
) -> dict[str, Any]:
    return {
        "at": iso(listing.at),
        "namespace": stem.names.namespace,
        "runs": [
            {
                "task": line.run.task,
                "id": line.run.id,
                "since": iso(line.run.since),
                "seconds": round(line.seconds, 3),
                "attempt": line.run.attempt,
                "queue": line.run.queue,
                "worker": line.worker.name,
                "fraction": line.run.fraction,
                "message": line.run.message,
            }
            for line in lines
        ],
        "omitted": omitted,
        "silent": listing.silent,
    }


def _view(lines: list[_Line]) -> Table:
    # Ids are copied, so they are never wrapped; a narrow terminal then has no room for all columns
    wide = console().width >= WIDE
    more = ("queue", "worker") if wide else ()
    view = table(
        "id", "for", "try", "task", *more, "progress", numbers=("for", "try"), whole=("id",)
    )
    for line in lines:
        run = line.run
        view.add_row(
            one_line(run.id),
            short(round(line.seconds, 1)),
            str(run.attempt),
            one_line(run.task),
            *((one_line(run.queue), one_line(line.worker.name)) if wide else ()),
            _progress(run),
        )
    return view


def _progress(run: RunningTask) -> str:
    percent = "" if run.fraction is None else f"{run.fraction:.0%}"
    message = "" if run.message is None else one_line(run.message)
    return f"{percent} {message}".strip() or NOTHING
