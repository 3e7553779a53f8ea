"""``stem-amqp dlq``: list, show, replay and purge the dead letters of a queue.

``--json`` prints, for ``list``, an object with ``queue``, ``total`` and ``letters``; for ``show`` one
letter; for ``replay`` ``queue``, ``matched``, ``replayed``, ``failed``, ``skipped``, ``errors``,
``interrupted``, ``dry_run``; with ``--composition`` ``composition`` and ``queues``, a list of those; for ``purge`` ``queue`` and ``dropped``. A letter has ``position``,
``id``, ``task``, ``reason``, ``error``, ``failed_at``, ``enqueued_at``, ``attempt``, ``replays``,
``worker``, ``size``, ``problem``, ``encryption``, ``signature``, and from ``show`` also ``traceback``, ``history``, ``meta``,
``args`` and ``headers``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, TypeVar

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.dead_letter_view import document, list_view, show_view
from stem_amqp.cli.exit_codes import EPILOG, ExitCode
from stem_amqp.cli.load import load
from stem_amqp.cli.output import note, show, show_error, show_json
from stem_amqp.cli.queue_names import logical_queue
from stem_amqp.cli.session import confirm, refuse_memory
from stem_amqp.cli.waiting import connected as connected_to
from stem_amqp.dead_letter import (
    ALL,
    CompositionReplay,
    DeadLetter,
    DeadLetters,
    ReplayReport,
    Selection,
    replay_composition,
)
from stem_amqp.durations import Rate
from stem_amqp.errors import ConfigurationError
from stem_amqp.settings import Provision
from stem_amqp.text import count, one_line

T = TypeVar("T")
app = opt.command_app("List, show, replay or purge dead letters.")

QueueArgument = Annotated[
    str,
    typer.Argument(metavar="QUEUE", help="The queue: orders, or its broker name."),
]
OptionalQueue = Annotated[
    str | None,
    typer.Argument(metavar="[QUEUE]", help="The queue: orders, or its broker name."),
]
Ids = Annotated[
    list[str] | None,
    typer.Option(
        "--id",
        metavar="ID",
        parser=opt.not_empty,
        help="A task's id or a prefix; may be repeated.",
    ),
]
Task = Annotated[
    str | None,
    typer.Option("--task", metavar="GLOB", parser=opt.not_empty, help="Tasks by name: 'orders.*'."),
]
Reasons = Annotated[
    list[str] | None,
    typer.Option(
        "--reason",
        metavar="REASON",
        parser=opt.not_empty,
        help="Such as retries-exhausted; may be repeated.",
    ),
]
OlderThan = Annotated[
    float | None, typer.Option(parser=opt.duration, metavar="DURATION", help="Failed before: 1h.")
]
NewerThan = Annotated[
    float | None, typer.Option(parser=opt.duration, metavar="DURATION", help="Failed since: 1h.")
]
Composition = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        parser=opt.composition_id,
        help="Only of a composition, by its id or that of a task of it; without QUEUE, of all queues.",
    ),
]
Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="At most N dead letters.")
]


@app.command("list", epilog=EPILOG)
def list_command(
    *,
    queue: QueueArgument,
    ids: Ids = None,
    task: Task = None,
    reasons: Reasons = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Limit = 50,
    as_json: opt.Json = False,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """List dead letters, the oldest first. It removes none."""
    stem = _application(application, broker_url, namespace)
    queue = logical_queue(stem, queue)
    selection = _selection(ids, task, reasons, older_than, newer_than)

    async def browse(letters: DeadLetters) -> tuple[int, list[DeadLetter]]:
        wanted = await letters.resolve(selection)
        return await letters.count(), list(await letters.list(wanted, limit=limit))

    total, found = _with_letters(stem, queue, browse)
    if as_json:
        lines = [document(letter) for letter in found]
        show_json({"queue": queue, "total": total, "letters": lines})
        return
    show(list_view(found))
    note(f"{len(found)} of {total} dead letters of {queue}")


@app.command("show", epilog=EPILOG)
def show_command(
    *,
    queue: QueueArgument,
    task_id: opt.TaskId,
    as_json: opt.Json = False,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Show one dead letter with its traceback, arguments and history."""
    stem = _application(application, broker_url, namespace)
    queue = logical_queue(stem, queue)
    letter = _with_letters(stem, queue, lambda letters: letters.show(task_id))
    if as_json:
        show_json(document(letter, whole=True))
    else:
        show(show_view(letter))


@app.command("replay", epilog=EPILOG)
def replay_command(
    *,
    queue: OptionalQueue = None,
    ids: Ids = None,
    task: Task = None,
    composition: Composition = None,
    reasons: Reasons = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Limit = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")] = False,
    rate: Annotated[
        Rate | None, typer.Option(parser=opt.rate, metavar="RATE", help="Maximum rate: 10/s.")
    ] = None,
    yes: opt.Yes = False,
    as_json: opt.Json = False,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Requeue dead letters: same id, same arguments, attempt 0.

    Each is confirmed in its work queue before it is removed from the dead-letter queue. Fix the cause
    first, and try with --dry-run or --limit 1.
    """
    stem = _application(application, broker_url, namespace, backend_url)
    selection = _selection(ids, task, reasons, older_than, newer_than)
    if queue is None:
        if composition is None:
            raise ConfigurationError(
                "name the queue whose dead letters are replayed, or --composition ID\n"
                "  The queues with dead letters: stem-amqp queues"
            )
        _replay_composition(
            stem, composition, selection, dry_run=dry_run, rate=rate, limit=limit, as_json=as_json
        )
        return
    queue = logical_queue(stem, queue)
    if composition is not None:
        selection = replace(selection, composition=composition.partition(".")[0])
    if selection == ALL and limit is None and not dry_run and not yes:
        total = _with_letters(stem, queue, lambda letters: letters.count())
        confirm(f"replay all of {total} dead letters of {queue}")

    on_each = None if as_json else partial(_note_replayed, dry_run=dry_run)

    async def replay(letters: DeadLetters) -> ReplayReport:
        wanted = await letters.resolve(selection)
        return await letters.replay(
            wanted, dry_run=dry_run, rate=rate, limit=limit, on_each=on_each
        )

    report = _with_letters(stem, queue, replay)
    _show_replay(queue, report, as_json=as_json)
    raise typer.Exit(ExitCode.OK if report.complete else ExitCode.NO)


def _note_replayed(letter: DeadLetter, error: Exception | None, *, dry_run: bool) -> None:
    what = "would replay" if dry_run else "replayed"
    name = f"{letter.task} {letter.id}"
    line = f"{what} {name}" if error is None else f"not replayed: {name}: {error}"
    note(one_line(line))


def _replay_composition(
    stem: Stem,
    composition: str,
    selection: Selection,
    *,
    dry_run: bool,
    rate: Rate | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Replay the dead letters of a composition from all queues."""
    if limit is not None or selection.ids is not None:
        raise ConfigurationError(
            "--limit and --id need a queue: stem-amqp dlq replay QUEUE --composition ID"
        )
    on_each = None if as_json else partial(_note_replayed, dry_run=dry_run)

    async def replay() -> CompositionReplay:
        async with connected_to(stem, 0.0):
            return await replay_composition(
                stem, composition, selection=selection, dry_run=dry_run, rate=rate, on_each=on_each
            )

    done = asyncio.run(replay())
    if as_json:
        queues = [_replay_fields(queue, report) for queue, report in done.queues.items()]
        show_json({"composition": done.composition, "queues": queues})
    for queue, report in done.queues.items() if not as_json else ():
        _show_replay(queue, report, as_json=False)
    if not done.queues and not as_json:
        typer.echo(f"no dead letters of composition {one_line(done.composition)}")
    raise typer.Exit(ExitCode.OK if done.complete else ExitCode.NO)


@app.command("purge", epilog=EPILOG)
def purge_command(
    *,
    queue: QueueArgument,
    ids: Ids = None,
    task: Task = None,
    reasons: Reasons = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    yes: opt.Yes = False,
    as_json: opt.Json = False,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Delete dead letters permanently."""
    stem = _application(application, broker_url, namespace)
    queue = logical_queue(stem, queue)
    selection = _selection(ids, task, reasons, older_than, newer_than)
    everything = selection == ALL
    if not yes:
        total = _with_letters(stem, queue, lambda letters: letters.count())
        which = "all" if everything else "the matching ones of"
        confirm(f"delete {which} {total} dead letters of {queue} permanently")

    async def purge(letters: DeadLetters) -> int:
        return await letters.purge(None if everything else await letters.resolve(selection))

    dropped = _with_letters(stem, queue, purge)
    if as_json:
        show_json({"queue": queue, "dropped": dropped})
    else:
        typer.echo(f"deleted {count(dropped, 'dead letter')} of {queue}")


def _application(
    target: str | None,
    broker_url: str | None,
    namespace: str | None,
    backend_url: str | None = None,
) -> Stem:
    # Declare nothing: listing the letters of a misspelt queue must not create it
    overrides = opt.Overrides(
        broker_url=broker_url,
        backend_url=backend_url,
        namespace=namespace,
        more={"provision": Provision.NONE},
    )
    stem = load(target, overrides)
    refuse_memory(stem)
    return stem


def _selection(
    ids: list[str] | None,
    task: str | None,
    reasons: list[str] | None,
    older_than: float | None,
    newer_than: float | None,
) -> Selection:
    return Selection(
        ids=frozenset(opt.split(ids)) or None,
        tasks=task,
        reasons=frozenset(opt.split(reasons)) or None,
        older_than=older_than,
        newer_than=newer_than,
    )


def _with_letters(stem: Stem, queue: str, use: Callable[[DeadLetters], Awaitable[T]]) -> T:
    async def connected() -> T:
        async with connected_to(stem, 0.0):
            return await use(DeadLetters(stem, queue))

    return asyncio.run(connected())


def _replay_fields(queue: str, report: ReplayReport) -> dict[str, object]:
    names = ("matched", "replayed", "failed", "skipped", "errors", "interrupted", "dry_run")
    return {"queue": queue, **{name: getattr(report, name) for name in names}}


def _show_replay(queue: str, report: ReplayReport, *, as_json: bool) -> None:
    if as_json:
        show_json(_replay_fields(queue, report))
        return
    if report.dry_run:
        found = count(report.matched - report.skipped, "dead letter")
        typer.echo(f"{found} of {queue} would be replayed")
    else:
        typer.echo(f"replayed {report.replayed} of {report.matched} dead letters of {queue}")
    if report.skipped:
        note(f"{report.skipped} cannot be decoded, and are replayed only if selected by --id")
    if report.failed:
        show_error(f"{report.failed} could not be replayed; they are still dead letters")
    if report.interrupted:
        show_error(f"ended early: {report.interrupted}\n  Repeat the command for the rest.")
