"""``stem-amqp control ping``, ``inspect`` and ``stats``: they change nothing."""

from __future__ import annotations

import time

from rich.console import Group, RenderableType
from rich.text import Text

from stem_amqp.cli import options as opt
from stem_amqp.cli.control.options import Given, Issuer, Queues, Timeout, Workers
from stem_amqp.cli.control.ran import EPILOG, run
from stem_amqp.cli.output import NOTHING, ago, short, table
from stem_amqp.control import Answers
from stem_amqp.messages.answers import HeldTask, Inspection, Pong, Statistics
from stem_amqp.text import one_line

app = opt.command_app()
_MEGABYTE = 1024 * 1024


@app.command("ping", epilog=EPILOG)
def ping_command(
    *,
    queues: Queues = None,
    workers: Workers = None,
    timeout: Timeout = None,
    as_json: opt.Json = False,
    issuer: Issuer = None,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Ask each worker for a sign of life: its event loop turns, and it can publish."""
    given = Given(
        queues=queues,
        workers=workers,
        timeout=timeout,
        issuer=issuer,
        application=application,
        overrides=opt.Overrides(broker_url=broker_url, namespace=namespace, topology=topology),
    )
    run(given, lambda control, to: control.ping(**to), _pongs, as_json=as_json)


@app.command("inspect", epilog=EPILOG)
def inspect_command(
    *,
    queues: Queues = None,
    workers: Workers = None,
    timeout: Timeout = None,
    as_json: opt.Json = False,
    issuer: Issuer = None,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Show the inside of each worker: queues, registered tasks, settings, what runs and waits.

    No argument of a task, no URL and no key is shown.
    """
    given = Given(
        queues=queues,
        workers=workers,
        timeout=timeout,
        issuer=issuer,
        application=application,
        overrides=opt.Overrides(broker_url=broker_url, namespace=namespace, topology=topology),
    )
    run(given, lambda control, to: control.inspect(**to), _inspections, as_json=as_json)


@app.command("stats", epilog=EPILOG)
def stats_command(
    *,
    queues: Queues = None,
    workers: Workers = None,
    timeout: Timeout = None,
    as_json: opt.Json = False,
    issuer: Issuer = None,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Show the counters of each worker since its start, and its use of the machine."""
    given = Given(
        queues=queues,
        workers=workers,
        timeout=timeout,
        issuer=issuer,
        application=application,
        overrides=opt.Overrides(broker_url=broker_url, namespace=namespace, topology=topology),
    )
    run(given, lambda control, to: control.stats(**to), _statistics, as_json=as_json)


def _pongs(answers: Answers[Pong]) -> RenderableType:
    lines = table("worker", "version", "state", "started", "answer", numbers=("answer",))
    for answer in answers:
        pong = answer.value
        if pong is not None:
            lines.add_row(
                one_line(answer.worker),
                one_line(pong.version),
                one_line(pong.state),
                ago(pong.started, time.time()),
                short(answer.seconds),
            )
    return lines


def _statistics(answers: Answers[Statistics]) -> RenderableType:
    numbers = ("done", "run", "wait", "failed", "lag", "memory", "cpu")
    lines = table("worker", *numbers, numbers=numbers)
    for answer in answers:
        found = answer.value
        if found is not None:
            failed = found.worker_failures + found.signature_invalid + found.settle_refused
            lines.add_row(
                one_line(answer.worker),
                str(found.done),
                str(found.running),
                str(found.waiting),
                str(failed),
                short(found.lag),
                f"{found.memory / _MEGABYTE:.0f}M",
                f"{found.cpu:.0%}",
            )
    return lines


def _inspections(answers: Answers[Inspection]) -> RenderableType:
    parts: list[RenderableType] = []
    for answer in answers:
        if answer.value is not None:
            parts += ["", *_inspection(answer.worker, answer.value)]
    return Group(*parts[1:])


def _inspection(worker: str, found: Inspection) -> list[RenderableType]:
    since = ago(found.started, time.time())
    parts: list[RenderableType] = [
        Text(f"{one_line(worker)}: stem-amqp {one_line(found.version)}, started {since}", "bold"),
        _queues(found),
    ]
    if found.tasks:
        parts += ["", _tasks(found)]
    for title, held in (("running", found.running), ("waiting", found.waiting)):
        if held:
            parts += ["", _held(title, held)]
    if found.omitted:
        parts.append(Text(f"{found.omitted} more are not listed", "dim"))
    settings = ", ".join(
        f"{name} {NOTHING if value is None else one_line(str(value))}"
        for name, value in found.settings.items()
    )
    return [*parts, "", Text(f"settings: {settings}")]


def _queues(found: Inspection) -> RenderableType:
    numbers = ("at once", "prefetch", "run", "wait")
    lines = table("queue", *numbers, "state", numbers=numbers)
    for queue in found.queues:
        lines.add_row(
            one_line(queue.name),
            str(queue.concurrency),
            str(queue.prefetch),
            str(queue.running),
            str(queue.waiting),
            "consuming" if queue.consuming else Text("not consuming", "red"),
        )
    return lines


def _tasks(found: Inspection) -> RenderableType:
    lines = table("task", "queue", "runs in", "options")
    for task in found.tasks:
        options = " ".join(f"{name}={one_line(str(value))}" for name, value in task.options.items())
        lines.add_row(one_line(task.name), one_line(task.queue), one_line(task.runs_in), options)
    return lines


def _held(title: str, held: tuple[HeldTask, ...]) -> RenderableType:
    lines = table(title, "task", "queue", "attempt", "for", numbers=("attempt", "for"))
    for one in held:
        time_ = short(one.seconds) if one.seconds else NOTHING
        lines.add_row(
            one_line(one.id), one_line(one.task), one_line(one.queue), str(one.attempt), time_
        )
    return lines
