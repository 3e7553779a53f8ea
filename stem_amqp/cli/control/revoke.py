"""``stem-amqp control revoke``: prevent that tasks run, and end those that do."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, cast

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.control.lasting import For, Queue, Reason, Task, lasting, obeyed_view
from stem_amqp.cli.control.options import Given, Issuer, Timeout, Workers
from stem_amqp.cli.control.ran import EPILOG, run
from stem_amqp.cli.exit_codes import ExitCode
from stem_amqp.cli.output import note, show, show_json, table
from stem_amqp.cli.queue_names import logical_queue
from stem_amqp.cli.session import confirm
from stem_amqp.cli.waiting import connected as connected_to
from stem_amqp.control import Answers, CommandKeywords, Control, RevokeManyKeywords
from stem_amqp.directives.revocation import RevokeTarget, target_of
from stem_amqp.errors import ConfigurationError
from stem_amqp.health import read_pauses
from stem_amqp.messages.answers import HeldTask, Obeyed
from stem_amqp.results.listing import is_glob
from stem_amqp.text import count, one_line

app = opt.command_app()

Id = Annotated[
    str | None,
    typer.Argument(metavar="ID", parser=opt.task_id, help="The id of one task."),
]
Metas = Annotated[
    list[str] | None,
    typer.Option("--meta", metavar="KEY=VALUE", help="Tasks with this metadata; may be repeated."),
]
Key = Annotated[
    str | None, typer.Option("--unique-key", metavar="KEY", help="The unique task of this key.")
]
Composition = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        parser=opt.composition_id,
        help="All tasks of a composition, by its id or the id of a task of it.",
    ),
]
Terminate = Annotated[
    bool,
    typer.Option(
        "--terminate", help="Also end runs: cancel async tasks, kill processes; not threads."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what it would be for.")]


@app.command("revoke", epilog=EPILOG)
def revoke_command(
    *,
    task_id: Id = None,
    task: Task = None,
    queue: Queue = None,
    meta: Metas = None,
    unique_key: Key = None,
    composition: Composition = None,
    terminate: Terminate = False,
    dry_run: DryRun = False,
    yes: opt.Yes = False,
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
    """Revoke one task by its id, or all that match and were enqueued before now.

    Queued and delayed tasks are dropped when a worker gets them, also one that starts later.
    """
    given = Given(
        workers=workers,
        timeout=timeout,
        issuer=issuer,
        application=application,
        overrides=opt.Overrides(
            broker_url=broker_url, backend_url=backend_url, namespace=namespace, topology=topology
        ),
    )
    texts = {"task": task, "queue": queue, "unique_key": unique_key, "composition": composition}
    which = _which(given, task_id, texts, meta)
    if dry_run:
        _show_met(given, task_id, which, as_json=as_json)
        raise typer.Exit(ExitCode.OK)
    if task_id is None and not yes:
        confirm(f"revoke {_described(which)}{' and end their runs' if terminate else ''}")

    async def send(control: Control, to: CommandKeywords) -> Answers[Obeyed]:
        options = lasting(to, reason, lifetime)
        if task_id is not None:
            return await control.revoke(task_id, terminate=terminate, **options)
        many: RevokeManyKeywords = {**which, **options}
        return await control.revoke_all(terminate=terminate, **many)

    run(given, send, obeyed_view, as_json=as_json)


def _which(
    given: Given, task_id: str | None, texts: Mapping[str, str | None], meta: list[str] | None
) -> RevokeTarget:
    conditions: dict[str, Any] = {name: text for name, text in texts.items() if text is not None}
    if "queue" in conditions:
        conditions["queue"] = logical_queue(given.load(), conditions["queue"])
    if meta:
        conditions["meta"] = dict(_pair(text) for text in meta)
    which = cast("RevokeTarget", conditions)
    if (task_id is None) == (not which):
        raise ConfigurationError(
            "name either one task by its id, or conditions: --task, --queue, --meta, --unique-key,"
            " --composition\n"
            "  For all tasks of all queues: --task '*'"
        )
    return which


def _described(which: RevokeTarget) -> str:
    when = "" if "composition" in which else " that was enqueued before now"
    return f"every task of {target_of(which)}{when}"


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigurationError(f"--meta {text!r:.60} is not a pair: write KEY=VALUE")
    return key, value


def _show_met(given: Given, task_id: str | None, which: RevokeTarget, *, as_json: bool) -> None:
    """Show how many messages are in the queues that are meant, what waits, and which runs match."""
    stem = given.load()
    ready, held, runs = asyncio.run(_met(stem, given.keywords(stem), task_id, which))
    if as_json:
        show_json(
            {
                "target": task_id or str(target_of(which)),
                "ready": ready,
                "held": held,
                "running": [{"id": one.id, "task": one.task, "queue": one.queue} for one in runs],
            }
        )
        return
    if runs:
        lines = table("running", "task", "queue", whole=("running",))
        for one in runs:
            lines.add_row(one_line(one.id), one_line(one.task), one_line(one.queue))
        show(lines)
    queues = ", ".join(f"{queue} {number}" for queue, number in ready.items())
    paused = ", ".join(f"{task} {number}" for task, number in held.items())
    note(
        f"would revoke {task_id or target_of(which)}: {count(len(runs), 'run')} that match;"
        f" messages ready in the queues: {queues or 'not known'}"
        + (f"; of paused tasks: {one_line(paused)}" if paused else "")
        + ", of which those that match are dropped"
    )


async def _met(
    stem: Stem, keywords: CommandKeywords, task_id: str | None, which: RevokeTarget
) -> tuple[dict[str, int], dict[str, int], list[HeldTask]]:
    """Return the messages ready by queue, those of paused tasks by task, and the runs that match."""
    wanted = which.get("queue", "*")
    async with connected_to(stem, 0.0):
        queues = [queue for queue in stem.queues if fnmatchcase(queue, wanted)]
        if not queues and "queue" in which and not is_glob(wanted):
            queues = [wanted]
        names = {
            stem.names.work(queue, stem.topology.queue(queue).version): queue for queue in queues
        }
        transport = stem.connected.transport
        status = await transport.status(names)
        ready = {names[name]: one.ready for name, one in status.items() if one is not None}
        held: Counter[str] = Counter()
        for line in await (await read_pauses(stem, transport)).held(stem, transport):
            if _names(line.task, line.queue, which):
                held[line.task] += line.messages or 0
        inside = (await stem.control.inspect(**keywords)).values.values()
    runs: Sequence[Any] = [one for each in inside for one in each.running]
    return ready, dict(+held), [one for one in runs if _is_met(one, task_id, which)]


def _is_met(run: HeldTask, task_id: str | None, which: RevokeTarget) -> bool:
    if task_id is not None:
        return run.id == task_id
    composition = target_of(which).composition
    if composition is not None and not run.id.startswith(f"{composition}."):
        return False
    return _names(run.task, run.queue, which)


def _names(task: str, queue: str, which: RevokeTarget) -> bool:
    """Return whether a task in a queue is meant, as far as their names say."""
    return fnmatchcase(task, which.get("task", "*")) and fnmatchcase(queue, which.get("queue", "*"))
