"""``stem-amqp events``: lifecycle events of all workers, one line each, until Ctrl-C.

``--json`` prints one JSON object per line: the fields of an event that have a value, see docs/observability.md.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import iso, note, print_line
from stem_amqp.cli.session import broker_of
from stem_amqp.durations import format_seconds
from stem_amqp.observability.events import Filters, LifecycleEvent, stream_events
from stem_amqp.signing.source import seal_from
from stem_amqp.text import count, json_text, one_line

app = opt.command_app()


@app.command("events", epilog=EPILOG)
def events_command(
    *,
    target: opt.OptionalApp = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--task", metavar="GLOB", help="Only these tasks, such as 'orders.*'."),
    ] = None,
    events: Annotated[
        list[str] | None,
        typer.Option("--event", metavar="NAMES", help="Only these, as failed,retried."),
    ] = None,
    queues: Annotated[
        list[str] | None,
        typer.Option("-Q", "--queues", metavar="GLOBS", help="Only these queues, as a,b."),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option("--for", parser=opt.duration, metavar="DURATION", help="End after this time."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each event.")
    ] = False,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Print what happens to tasks and workers from now on, until Ctrl-C.

    Workers send events while somebody listens, and begin within a second. They are information: under load
    some are dropped, and counted.
    """
    overrides = opt.Overrides(broker_url=broker_url, namespace=namespace, topology=topology)
    stem = load(target, overrides)
    filters = Filters(
        tasks=tuple(tasks or ()), events=tuple(opt.split(events)), queues=tuple(opt.split(queues))
    )
    with suppress(KeyboardInterrupt):  # the regular end
        asyncio.run(_follow(stem, filters, duration, as_json=as_json))


async def _follow(stem: Stem, filters: Filters, duration: float | None, *, as_json: bool) -> None:
    async with broker_of(stem) as (transport, _):
        stream = stream_events(
            transport, stem.names, seal=seal_from(stem.settings, stem.keys), filters=filters
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(duration), aclosing(stream):
                async for event in stream:
                    _print(event, as_json=as_json)


def _print(event: LifecycleEvent, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(f"{json_text(_document(event))}\n")
        sys.stdout.flush()
        return
    if event.dropped:
        note(f"{count(event.dropped, 'event')} dropped before the next one")
    print_line(_line(event))


def _document(event: LifecycleEvent) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(event).items() if value is not None}
    return {**fields, "at": iso(event.at)}


def _line(event: LifecycleEvent) -> str:
    time = datetime.fromtimestamp(event.at, UTC).strftime("%H:%M:%S")
    subject = f"{event.task} {event.id}" if event.task is not None else event.worker
    return one_line(f"{time} {event.event:13} {subject} {_details(event)}".rstrip())


def _details(event: LifecycleEvent) -> str:
    words = [f"attempt {event.attempt}"] if event.attempt else []
    if event.duration is not None:
        words.append(format_seconds(event.duration))
    if event.delay is not None:
        words.append(f"again in {format_seconds(event.delay)}")
    if event.fraction is not None:
        words.append(f"{event.fraction:.0%}")
    if event.heartbeat is not None:
        words.append(f"{event.heartbeat.running} running, {event.heartbeat.done} done")
    texts = (event.reason, event.error, event.message)
    return " ".join([*words, *(text for text in texts if text)])
