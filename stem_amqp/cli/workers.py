"""``stem-amqp workers``: the worker processes of a namespace, with what they do.

``--json`` prints an object: ``at``, ``namespace``, ``workers`` (the fields of a heartbeat, see
docs/wire.md, and ``age`` in seconds), ``silent`` (by queue, the number of consumers whose worker did not answer).
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import NOTHING, iso, note, short, show, show_json, table
from stem_amqp.cli.session import broker_of
from stem_amqp.durations import format_seconds
from stem_amqp.observability.registry.heartbeat import BlockedLoop, Heartbeat
from stem_amqp.observability.registry.listing import WorkerListing, list_workers
from stem_amqp.observability.registry.watch import Seen
from stem_amqp.signing.source import seal_from
from stem_amqp.text import count, indented, one_line

app = opt.command_app()

Wait = Annotated[
    float | None,
    typer.Option(
        "--wait",
        parser=opt.duration,
        metavar="DURATION",
        help="For workers that do not answer at once; default: a second more than the interval of"
        " heartbeats.",
    ),
]
_MEGABYTE = 1024 * 1024
_ID = 8
"""Characters of a task's id in a table."""


@app.command("workers", epilog=EPILOG)
def workers_command(
    *,
    target: opt.OptionalApp = None,
    stacks: Annotated[
        bool, typer.Option("--stacks", help="Show where a blocked event loop is.")
    ] = False,
    wait: Wait = None,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """List the workers: queues, running and finished tasks, lag of the event loop, memory.

    Workers answer within a second. If there are more consumers on the queues than answers, the command
    waits for the heartbeats of workers whose event loop is blocked.
    """
    overrides = opt.Overrides(broker_url=broker_url, namespace=namespace, topology=topology)
    stem = load(target, overrides)
    listing = asyncio.run(listing_of(stem, wait))
    if as_json:
        show_json(_document(stem, listing))
        return
    if listing.workers:
        show(_view(listing, stacks=stacks))
    notes_on(stem, listing)


async def listing_of(stem: Stem, wait: float | None) -> WorkerListing:
    """Return the workers of an application's namespace.

    Args:
        stem: the application.
        wait: seconds to wait for workers that do not answer at once; None: the interval of heartbeats and
            a second.
    """
    if wait is None:
        wait = stem.settings.heartbeat_interval + 1.0
    async with broker_of(stem) as (transport, _):
        return await list_workers(
            transport,
            stem.names,
            {queue: stem.topology.queue(queue).version for queue in stem.queues},
            seal=seal_from(stem.settings, stem.keys),
            wait=wait,
        )


def notes_on(stem: Stem, listing: WorkerListing) -> None:
    """Print how many workers there are, and which did not answer, to standard error."""
    if listing.workers:
        note(count(len(listing.workers), "worker"))
    elif not listing.silent:
        note(f"no worker runs in namespace {stem.names.namespace}")
    if listing.silent:
        queues = ", ".join(f"{queue} {number}" for queue, number in listing.silent.items())
        note(
            f"consumers without an answer: {queues}. Their workers are of an earlier release, have no"
            " heartbeats, refuse an unsigned request, or do not reach the broker; --wait waits longer."
        )


def _document(stem: Stem, listing: WorkerListing) -> dict[str, Any]:
    return {
        "at": iso(listing.at),
        "namespace": stem.names.namespace,
        "workers": [
            asdict(seen.heartbeat) | {"age": round(seen.age, 3)} for seen in listing.workers
        ],
        "silent": listing.silent,
    }


def _view(listing: WorkerListing, *, stacks: bool) -> Group:
    numbers = ("run", "done", "lag", "memory", "age")
    place = not all(_names_place(seen.heartbeat) for seen in listing.workers)
    columns = ("name", *(("process",) if place else ()), "queues")
    lines = table(*columns, "run", "done", "lag", "memory", "state", "age", numbers=numbers)
    for seen in listing.workers:
        worker = seen.heartbeat
        where = (one_line(f"{worker.host}:{worker.pid}"),) if place else ()
        lines.add_row(one_line(worker.name), *where, _queues(worker), *_values(seen))
    below = [_blocked(worker, worker.blocked, stacks=stacks) for worker in _blocked_ones(listing)]
    parts: list[RenderableType] = [lines]
    return Group(*parts, *([""] if below else []), *below)


def _blocked_ones(listing: WorkerListing) -> list[Heartbeat]:
    return [seen.heartbeat for seen in listing.workers if seen.heartbeat.blocked is not None]


def _names_place(worker: Heartbeat) -> bool:
    """Return whether a worker's name says where it runs."""
    return not worker.host or worker.name.startswith(f"{worker.host}:{worker.pid}")


def _queues(worker: Heartbeat) -> Text:
    text = Text()
    for number, queue in enumerate(worker.queues):
        capacity = worker.capacity.get(queue)
        word = one_line(queue) if capacity is None else f"{one_line(queue)} x{capacity}"
        text.append(", " if number else "")
        if queue in worker.paused:
            text.append(f"{word} paused", style="yellow")
        else:
            text.append(word, style="" if queue in worker.consuming else "red")
    return text


def _values(seen: Seen) -> list[Text | str]:
    worker = seen.heartbeat
    return [
        str(worker.running),
        str(worker.done),
        short(worker.lag) if worker.interval else NOTHING,
        f"{worker.memory / _MEGABYTE:.0f}M" if worker.memory else NOTHING,
        _state(worker),
        f"{seen.age:.0f}s",
    ]


def _state(worker: Heartbeat) -> Text:
    if worker.blocked is not None:
        return Text(f"blocked {worker.blocked.seconds:.0f}s", style="bold red")
    if worker.threads_used_up:
        return Text("no thread", style="bold red")
    if worker.state == "stopping":
        return Text("stopping", style="yellow")
    if worker.idle_queues:
        return Text("not consuming", style="red")
    if worker.paused and not worker.consuming:
        return Text("paused", style="yellow")
    return Text("ok", style="green")


def _blocked(worker: Heartbeat, blocked: BlockedLoop | None, *, stacks: bool) -> Text:
    if blocked is None:
        return Text()
    what = "a callback" if blocked.task is None else one_line(blocked.task)
    if blocked.id is not None:
        what += f" {one_line(blocked.id)}"
    text = Text(
        f"{one_line(worker.name)} is blocked for {format_seconds(blocked.seconds)} by {what}\n"
        f"  at {one_line(blocked.place)}"
    )
    if stacks and blocked.stack:
        text.append(f"\n    {indented(blocked.stack, '    ')}", style="dim")
    return text
