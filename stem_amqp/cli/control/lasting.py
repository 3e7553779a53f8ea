"""``stem-amqp control pause``, ``resume``, ``concurrency``, ``rate-limit`` and ``log-level``: they last."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from stem_amqp.cli import options as opt
from stem_amqp.cli.control.options import Given, Issuer, Timeout, Workers
from stem_amqp.cli.control.ran import EPILOG, run
from stem_amqp.cli.output import table
from stem_amqp.cli.queue_names import logical_queue
from stem_amqp.control import Answers, CommandKeywords, Control, LastingKeywords
from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.answers import Obeyed
from stem_amqp.text import count, one_line

app = opt.command_app()

Queue = Annotated[
    str | None,
    typer.Option("--queue", "-Q", metavar="GLOB", help="The queue, or a glob of queues: 'mail.*'."),
]
Task = Annotated[
    str | None, typer.Option("--task", metavar="GLOB", help="The task's name, or a glob of names.")
]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why, for the history.")
]
For = Annotated[
    float | None,
    typer.Option(
        "--for",
        parser=opt.duration,
        metavar="DURATION",
        help="How long it holds, such as 2h; default: until it is ended.",
    ),
]
RESET = "reset"
"""The word that ends a lasting change."""

Last = Callable[[Control, LastingKeywords], Coroutine[Any, Any, Answers[Obeyed]]]


@app.command("pause", epilog=EPILOG)
def pause_command(
    *,
    queue: Queue = None,
    task: Task = None,
    reason: Reason = None,
    lifetime: For = None,
    workers: Workers = None,
    timeout: Timeout = None,
    as_json: opt.Json = False,
    issuer: Issuer = None,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Pause a queue or a task in every worker, also in those that start later.

    Running tasks finish; delayed and new ones wait in the broker.
    """
    given = Given(
        workers=workers,
        timeout=timeout,
        issuer=issuer,
        application=application,
        overrides=_overrides(broker_url, backend_url, namespace, topology),
    )
    queue = _logical(given, queue)
    last(
        given,
        lambda control, to: control.pause(queue=queue, task=task, **to),
        reason=reason,
        lifetime=lifetime,
        as_json=as_json,
    )


@app.command("resume", epilog=EPILOG)
def resume_command(
    *,
    queue: Queue = None,
    task: Task = None,
    reason: Reason = None,
    workers: Workers = None,
    timeout: Timeout = None,
    as_json: opt.Json = False,
    issuer: Issuer = None,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """End a pause, and close an open breaker of the queue or task.

    Name it as it was paused; `stem-amqp control history --in-force` lists pauses and open breakers.
    """
    given = Given(
        workers=workers,
        timeout=timeout,
        issuer=issuer,
        application=application,
        overrides=_overrides(broker_url, backend_url, namespace, topology),
    )
    queue = _logical(given, queue)
    last(
        given,
        lambda control, to: control.resume(queue=queue, task=task, **to),
        reason=reason,
        as_json=as_json,
    )


@app.command("concurrency", epilog=EPILOG, context_settings={"ignore_unknown_options": True})
def concurrency_command(
    *,
    change: Annotated[
        str,
        typer.Argument(
            metavar="CHANGE", help="+5: five more, -5: five fewer, =20: exactly, or reset."
        ),
    ],
    queue: Queue = None,
    reason: Reason = None,
    lifetime: For = None,
    workers: Workers = None,
    timeout: Timeout = None,
    as_json: opt.Json = False,
    issuer: Issuer = None,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Change how many tasks of each queue run at once in each worker; running ones continue.

    Several relative changes add up; reset ends them.
    """
    given = Given(
        workers=workers,
        timeout=timeout,
        issuer=issuer,
        application=application,
        overrides=_overrides(broker_url, backend_url, namespace, topology),
    )
    queue = _logical(given, queue)
    value = None if change == RESET else change
    last(
        given,
        lambda control, to: control.concurrency(value, queue=queue, **to),
        reason=reason,
        lifetime=lifetime,
        as_json=as_json,
    )


@app.command("rate-limit", epilog=EPILOG)
def rate_limit_command(
    *,
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's name, or a glob.")],
    rate: Annotated[
        str, typer.Argument(metavar="RATE", help="The most starts: 5/s, 600/m, or reset.")
    ],
    reason: Reason = None,
    lifetime: For = None,
    workers: Workers = None,
    timeout: Timeout = None,
    as_json: opt.Json = False,
    issuer: Issuer = None,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Limit how often a task starts, in place of its own rate limit; reset ends it."""
    given = Given(
        workers=workers,
        timeout=timeout,
        issuer=issuer,
        application=application,
        overrides=_overrides(broker_url, backend_url, namespace, topology),
    )
    value = None if rate == RESET else rate
    last(
        given,
        lambda control, to: control.rate_limit(task, value, **to),
        reason=reason,
        lifetime=lifetime,
        as_json=as_json,
    )


@app.command("log-level", epilog=EPILOG)
def log_level_command(
    *,
    level: Annotated[
        str,
        typer.Argument(metavar="LEVEL", help="DEBUG, INFO, WARNING, ERROR, CRITICAL, or reset."),
    ],
    queue: Queue = None,
    reason: Reason = None,
    lifetime: For = None,
    workers: Workers = None,
    timeout: Timeout = None,
    as_json: opt.Json = False,
    issuer: Issuer = None,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Set the level of the workers' logs; reset returns to the configured one. --for ends it by itself."""
    given = Given(
        workers=workers,
        timeout=timeout,
        issuer=issuer,
        application=application,
        overrides=_overrides(broker_url, backend_url, namespace, topology),
    )
    queue = _logical(given, queue)
    value = None if level == RESET else level
    last(
        given,
        lambda control, to: control.log_level(value, queue=queue, **to),
        reason=reason,
        lifetime=lifetime,
        as_json=as_json,
    )


def last(
    given: Given,
    command: Last,
    *,
    as_json: bool,
    reason: str | None = None,
    lifetime: float | None = None,
) -> None:
    """Send a command that lasts, show the answers, and exit with the code for what came of it.

    Args:
        given: the options.
        command: sends it.
        as_json: print one JSON document.
        reason: why, for the history.
        lifetime: seconds that it holds; None: until it is ended.
    """

    async def send(control: Control, to: CommandKeywords) -> Answers[Obeyed]:
        return await command(control, lasting(to, reason, lifetime))

    run(given, send, obeyed_view, as_json=as_json)


def lasting(to: CommandKeywords, reason: str | None, lifetime: float | None) -> LastingKeywords:
    """Return the options of a command that lasts.

    Args:
        to: who is meant.
        reason: why, for the history.
        lifetime: seconds that it holds; None: until it is ended.
    """
    options: LastingKeywords = {"workers": to.get("workers", ())}
    if "timeout" in to:
        options["timeout"] = to["timeout"]
    if "issuer" in to:
        options["issuer"] = to["issuer"]
    if reason is not None:
        options["reason"] = reason
    if lifetime is not None:
        options["lifetime"] = lifetime
    return options


def obeyed_view(answers: Answers[Obeyed]) -> RenderableType:
    """Return the table of what a command has changed in each worker."""
    lines = table("worker", "done")
    for answer in answers:
        if answer.value is not None:
            lines.add_row(one_line(answer.worker), _text(answer.value))
    return lines


def _text(value: Obeyed) -> str:
    parts = [f"{one_line(one.queue)}: {one.before} to {one.now}" for one in value.queues]
    if value.level:
        parts.append(f"{one_line(value.level_before)} to {one_line(value.level)}")
    if value.running:
        parts.append(f"{count(value.running, 'task')} running to the end")
    if value.ended:
        parts.append(f"ended {', '.join(one_line(one.id) for one in value.ended)}")
    if value.not_ended:
        ids = ", ".join(one_line(one.id) for one in value.not_ended)
        parts.append(f"NOT ended, in a thread: {ids}")
    return "; ".join(parts) or "ok"


def _overrides(
    broker_url: str | None, backend_url: str | None, namespace: str | None, topology: Any
) -> opt.Overrides:
    return opt.Overrides(
        broker_url=broker_url, backend_url=backend_url, namespace=namespace, topology=topology
    )


def _logical(given: Given, queue: str | None) -> str | None:
    if queue is None:
        return None
    if not queue:
        raise ConfigurationError("--queue must name a queue")
    return logical_queue(given.load(), queue)
