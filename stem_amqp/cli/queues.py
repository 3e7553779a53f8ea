"""``stem-amqp queues``: the messages and consumers of each queue.

``--json`` prints an object: ``at``, ``namespace``, ``broker``, ``queues`` (objects with ``queue``,
``name``, ``ready``, ``running``, ``consumers``, ``dead``; null where a number is not known; ``paused``, who paused it
and why, or an empty text), ``held`` (messages of paused tasks: ``queue``, ``task``, ``name``, ``messages``, ``paused``),
``delayed`` (``total`` and ``buckets`` with ``seconds``, ``messages`` and the queue's ``name``), ``unroutable``,
``running_unknown`` (why ``running`` is null).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import nullcontext, suppress
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.load import load
from stem_amqp.cli.output import NOTHING, console, iso, show, show_json, table
from stem_amqp.cli.queue_names import check_on_broker, logical_queues, queues_on_broker
from stem_amqp.cli.session import broker_of
from stem_amqp.durations import format_seconds
from stem_amqp.errors import BrokerError, ConfigurationError
from stem_amqp.health import QueueLine, QueueReport, queue_report
from stem_amqp.management import Management
from stem_amqp.text import count, one_line
from stem_amqp.transport.base import BrokerInfo, Transport

app = opt.command_app()


@app.command("queues", epilog=EPILOG)
def queues_command(
    *,
    target: opt.OptionalApp = None,
    only: Annotated[
        list[str] | None,
        typer.Option("-Q", "--queues", metavar="NAMES", help="These queues, as a,b."),
    ] = None,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Refresh continuously.")] = False,
    every: Annotated[
        float,
        typer.Option(
            parser=opt.duration,
            metavar="DURATION",
            help="With --watch: the interval.",
            show_default="2s",
        ),
    ] = 2.0,
    as_json: opt.Json = False,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Show the ready and running tasks, consumers and dead letters of each queue.

    Delayed messages are listed below by their waiting time. Nothing is declared. Without an
    application or a topology, the queues are read from the management API.
    """
    if watch and as_json:
        raise ConfigurationError("--json prints one document: it cannot be used with --watch")
    overrides = opt.Overrides(broker_url=broker_url, namespace=namespace, topology=topology)
    stem = load(target, overrides)
    names = logical_queues(stem, opt.split(only))
    if not watch:
        asyncio.run(_once(stem, names, as_json=as_json))
        return
    with suppress(KeyboardInterrupt):  # the regular end
        asyncio.run(_watch(stem, names, every))


async def _once(stem: Stem, names: list[str], *, as_json: bool) -> None:
    management = Management.of(stem.settings)
    async with broker_of(stem) as (transport, broker):
        names = await _asked(stem, transport, management, names)
        report = await queue_report(stem, transport, management=management, queues=names)
    if as_json:
        show_json(_document(stem, broker, report))
    else:
        show(_view(stem, broker, report))


async def _asked(
    stem: Stem, transport: Transport, management: Management, names: list[str]
) -> list[str]:
    """Return the queues to show: the given ones, or all."""
    if names:
        await check_on_broker(stem, transport, names)
        return names
    if stem.registry or stem.topology.declared:
        return list(stem.queues)
    return await queues_on_broker(stem, management)


async def _watch(stem: Stem, names: list[str], every: float) -> None:
    out = console()
    management = Management.of(stem.settings)
    async with broker_of(stem) as (transport, broker):
        names = await _asked(stem, transport, management, names)
        live = Live(console=out, auto_refresh=False) if out.is_terminal else nullcontext()
        with live as screen:
            while True:
                view: Group | Text
                try:
                    report = await queue_report(
                        stem, transport, management=management, queues=names
                    )
                    view = _view(stem, broker, report)
                except BrokerError as error:
                    view = Text(f"{error}\ntrying again …", style="red")
                if screen is None:
                    show(view)
                    show("")
                else:
                    screen.update(view, refresh=True)
                await asyncio.sleep(every)


def _document(stem: Stem, broker: BrokerInfo, report: QueueReport) -> dict[str, Any]:
    return {
        "at": iso(report.at),
        "namespace": stem.names.namespace,
        "broker": str(broker),
        "queues": report.queues,
        "delayed": {"total": report.delayed, "buckets": report.delays},
        "held": report.held,
        "unroutable": report.unroutable,
        "running_unknown": report.running_unknown or None,
    }


def _view(stem: Stem, broker: BrokerInfo, report: QueueReport) -> Group:
    numbers = ("ready", "running", "consumers", "dead")
    lines = table("queue", *numbers, numbers=numbers, whole=("queue",))
    replaced = Counter(line.queue for line in report.queues)
    for line in report.queues:
        changing = replaced[line.queue] > 1
        label = line.name.removeprefix(f"{stem.names.namespace}.") if changing else line.queue
        lines.add_row(label, *_numbers(line))
    head = Text(f"{broker}, namespace {stem.names.namespace}", style="dim")
    delayed = _delayed(report)
    held = _held(report)
    return Group(head, "", lines, "", *delayed, *held, _unroutable(report), *_footnotes(report))


def _numbers(line: QueueLine) -> list[str | Text]:
    return [
        _number(line.ready),
        _number(line.running),
        _consumers(line),
        _number(line.dead, "red"),
    ]


def _consumers(line: QueueLine) -> str | Text:
    if line.paused:
        return Text("paused", style="yellow")
    idle = bool(line.ready) and line.consumers == 0
    return Text("0", style="bold red") if idle else _number(line.consumers)


def _held(report: QueueReport) -> list[RenderableType]:
    """Return the messages of paused tasks, if there are any."""
    if not report.held:
        return []
    rows = Table.grid(padding=(0, 2))
    rows.add_column()
    rows.add_column(justify="right")
    rows.add_column(style="dim")
    for line in report.held:
        state = "" if line.paused else " (resumed)"
        waiting = count(line.messages or 0, "message")
        rows.add_row(f"  {one_line(line.task)}{state}:", waiting, one_line(line.name))
    return ["paused tasks", rows]


def _number(value: int | None, style: str = "") -> Text:
    return Text(NOTHING, style="dim") if value is None else Text(str(value), style if value else "")


def _delayed(report: QueueReport) -> list[RenderableType]:
    if not report.delays:
        return ["delayed     none"]
    buckets = Table.grid(padding=(0, 2))
    buckets.add_column()
    buckets.add_column(justify="right")
    buckets.add_column(style="dim")
    for bucket in report.delays:
        waiting = f"  {format_seconds(bucket.seconds)}:"
        buckets.add_row(waiting, count(bucket.messages, "message"), bucket.name)
    return [f"delayed     {report.delayed}", buckets]


def _unroutable(report: QueueReport) -> Text:
    text = Text("unroutable  ")
    if not report.unroutable:
        return text.append("none")
    lost = count(report.unroutable, "message")
    return text.append(f"✗ {lost} without a queue: see stem-amqp health", style="bold red")


def _footnotes(report: QueueReport) -> list[Text]:
    notes = []
    missing = [line.queue for line in report.queues if line.ready is None]
    if missing:
        notes.append(
            f"{NOTHING} not on the broker: {', '.join(missing)}. Start a worker, or declare them:"
            " stem-amqp topology apply."
        )
    notes += [
        f"{line.queue} is paused {one_line(line.paused)}" for line in report.queues if line.paused
    ]
    if report.pauses_unknown:
        notes.append(f"It is not known what is paused: {report.pauses_unknown}.")
    if report.running_unknown:
        notes.append(
            f"{NOTHING} running: {report.running_unknown}. Enable rabbitmq_management, or set"
            " STEM_MANAGEMENT_URL."
        )
    return [Text("")] * bool(notes) + [Text(note, style="dim") for note in notes]
