"""``stem-amqp enqueue``: enqueue a task by its name, and optionally wait for its result.

It prints the task's id to standard output, on a line of its own; with ``--wait``, the result as JSON.
``--json`` prints an object: ``id``, ``task``, ``queue``, ``state``, and with ``--wait`` ``result``,
``reason``, ``error`` and ``traceback``.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.json_argument import read_object, read_pairs
from stem_amqp.cli.load import load
from stem_amqp.cli.output import note, show_json
from stem_amqp.cli.session import refuse_memory
from stem_amqp.cli.waiting import connected
from stem_amqp.errors import (
    ArgumentsError,
    ConfigurationError,
    ResultTimeoutError,
    TaskFailedError,
    UnknownTaskError,
    UnroutableError,
)
from stem_amqp.results.handle import TaskHandle
from stem_amqp.settings import Provision
from stem_amqp.tasks.call import Call
from stem_amqp.tasks.keywords import CallKeywords
from stem_amqp.text import indented

SHOWN = 10
"""Maximum number of task names in an error."""

app = opt.command_app()


TaskName = Annotated[str, typer.Argument(metavar="TASK", help="The task's name: orders.sync.")]
Arguments = Annotated[
    str, typer.Option("--args", metavar="JSON", help="Arguments as a JSON object; - reads stdin.")
]
Queue = Annotated[str | None, typer.Option(metavar="NAME", help="Another queue than the task's.")]
Delay = Annotated[
    float | None,
    typer.Option(parser=opt.duration, metavar="DURATION", help="Run later: 30s, 5m, 2h."),
]
Eta = Annotated[str | None, typer.Option(metavar="TIME", help="Run at 2030-01-31T08:00:00+01:00.")]
Priority = Annotated[
    int | None, typer.Option(metavar="N", min=0, max=255, help="For queues with priorities.")
]
Meta = Annotated[
    list[str] | None, typer.Option(metavar="KEY=TEXT", help="Metadata; may be repeated.")
]
TaskId = Annotated[
    str | None, typer.Option(metavar="ID", help="Your own id; default: a generated one.")
]


@app.command("enqueue", epilog=EPILOG)
def enqueue_command(
    *,
    task: TaskName,
    args: Arguments = "{}",
    application: opt.AppOption = None,
    queue: Queue = None,
    delay: Delay = None,
    eta: Eta = None,
    priority: Priority = None,
    meta: Meta = None,
    task_id: TaskId = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result.")] = False,
    timeout: opt.WaitTimeout = None,
    as_json: opt.Json = False,
    wait_for_broker: opt.WaitForBroker = None,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
    topology: opt.TopologyFile = None,
) -> None:
    """Enqueue a task by its name, and print its id.

    With --app, the arguments are checked and the queue is declared. Without it neither happens, and
    the task's code is not needed.
    """
    options: CallKeywords = {
        "queue": queue,
        "delay": delay,
        "eta": None if eta is None else _parse_eta(eta),
        "priority": priority,
        "meta": read_pairs("--meta", meta or ()),
        "task_id": task_id,
    }
    arguments = read_object("--args", args)
    overrides = opt.Overrides(
        broker_url=broker_url, backend_url=backend_url, namespace=namespace, topology=topology
    )
    stem = _application(application, overrides)
    call = _call(stem, task, arguments, options, known=application is not None)
    asyncio.run(
        _enqueue(
            stem,
            call,
            patience=wait_for_broker or 0.0,
            wait=wait or timeout is not None,
            timeout=timeout,
            as_json=as_json,
        )
    )


def _call(
    stem: Stem, task: str, arguments: dict[str, Any], options: CallKeywords, *, known: bool
) -> Call:
    """Make the call; the task must be one of the application's, if there is one."""
    try:
        signature = stem.registry[task].arguments if known else None
    except UnknownTaskError as error:
        has = ", ".join(sorted(definition.name for definition in stem.registry)[:SHOWN])
        raise UnknownTaskError(
            f"{error}\n  The application has {has or 'no tasks'}: import the module of the task there."
            " To enqueue a task of another application, omit --app."
        ) from None
    if known and stem.registry[task].options.debounce:
        _check_debounced(task, options)
    try:
        return stem.prepare(task, arguments, **options)
    except ArgumentsError as error:
        raise ArgumentsError(
            f"invalid arguments for {task}: {error}\n  It takes {signature}."
        ) from None


def _check_debounced(task: str, options: CallKeywords) -> None:
    """Refuse a delay in the words of this command, which cannot pass ``debounce=False``."""
    for name in ("delay", "eta"):
        if options.get(name) is not None:
            raise ConfigurationError(
                f"task {task} is debounced: its wait is its delay.\n  Leave --{name} out."
            )


def _application(target: str | None, overrides: opt.Overrides) -> Stem:
    stem = load(target, overrides)
    refuse_memory(stem)
    if target is None and stem.settings.topology is None:
        # Queues declared with default settings could differ from the application's topology
        stem.reconfigure(provision=Provision.NONE)
    return stem


def _parse_eta(text: str) -> datetime:
    try:
        eta = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(
            f"--eta {text} is not a valid time: write 2030-01-31T08:00:00+01:00 or …T07:00:00Z"
        ) from None
    if eta.tzinfo is None:
        raise ConfigurationError(
            f"--eta {text} has no time zone: append Z for UTC, or an offset such as +01:00"
        )
    return eta


async def _enqueue(
    stem: Stem, call: Call, *, patience: float, wait: bool, timeout: float | None, as_json: bool
) -> None:
    async with connected(stem, patience):
        handle = await _publish(stem, call)
        document: dict[str, Any] = {
            "id": handle.id,
            "task": handle.task,
            "queue": handle.queue,
            "state": "queued",
        }
        if not as_json:
            typer.echo(handle.id)
            note(f"{handle.task} is in queue {handle.queue}" + (", waiting …" if wait else ""))
        if wait:
            try:
                result = await handle.result(timeout)
            except TaskFailedError as error:
                _show_failure(error, document, as_json=as_json)
                raise
            except ResultTimeoutError:
                if as_json:
                    show_json(document)
                raise
            document |= {"state": "succeeded", "result": result}
        if as_json:
            show_json(document)
        elif wait:
            show_json(document["result"])


async def _publish(stem: Stem, call: Call) -> TaskHandle[Any]:
    try:
        return await stem.enqueue_call(call)
    except UnroutableError as error:
        work = stem.names.work(stem.settings.default_queue)
        elsewhere = error.missing and work not in error.missing
        if elsewhere or call.definition is not None or call.options.queue is not None:
            raise
        raise UnroutableError(
            f"{error}\n  No queue was given: set it with --queue, or the application with --app."
        ) from None


def _show_failure(error: TaskFailedError, document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show_json(
            document
            | {
                "state": error.state,
                "reason": error.reason,
                "error": error.error,
                "traceback": error.traceback,
            }
        )
    elif error.traceback:
        note("    " + indented(error.traceback.rstrip(), "    "))
