"""``stem-amqp dlq``: list, show, replay and purge the dead letters of a queue.

``--json`` prints, for ``list``, an object with ``queue``, ``total`` and ``letters``; for ``show`` one
letter; for ``replay`` ``queue``, ``matched``, ``replayed``, ``failed``, ``skipped``, ``errors``,
``interrupted``, ``dry_run``; for ``purge`` ``queue`` and ``dropped``. A letter has ``position``,
``id``, ``task``, ``reason``, ``error``, ``failed_at``, ``enqueued_at``, ``attempt``, ``replays``,
``worker``, ``size``, ``problem``, ``encryption``, ``signature``, and from ``show`` also ``traceback``, ``history``, ``meta``,
``args`` and ``headers``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.dead_letter_view import document, list_view, show_view
from stem_amqp.cli.exit_codes import EPILOG, ExitCode
from stem_amqp.cli.load import load
from stem_amqp.cli.output import count, note, show, show_error, show_json
from stem_amqp.cli.session import confirm, refuse_memory
from stem_amqp.dead_letter import ALL, DeadLetter, DeadLetters, ReplayReport, Selection
from stem_amqp.durations import Rate
from stem_amqp.settings import Provision

T = TypeVar("T")
app = opt.command_app("List, show, replay or purge dead letters.")

QueueArgument = Annotated[
    str, typer.Argument(metavar="QUEUE", help="The logical queue, such as orders.")
]
Ids = Annotated[
    list[str] | None, typer.Option("--id", metavar="ID", help="A task's id; may be repeated.")
]
Task = Annotated[
    str | None, typer.Option("--task", metavar="GLOB", help="Tasks of such a name: 'orders.*'.")
]
Reasons = Annotated[
    list[str] | None,
    typer.Option("--reason", metavar="REASON", help="Such as retries-exhausted; may be repeated."),
]
OlderThan = Annotated[
    float | None, typer.Option(parser=opt.duration, metavar="DURATION", help="Failed before: 1h.")
]
NewerThan = Annotated[
    float | None, typer.Option(parser=opt.duration, metavar="DURATION", help="Failed since: 1h.")
]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="So many at most.")]


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
    """List dead letters, the oldest first. Looking takes none out."""
    stem = _application(application, broker_url, namespace)
    selection = _selection(ids, task, reasons, older_than, newer_than)

    async def look(letters: DeadLetters) -> tuple[int, list[DeadLetter]]:
        return await letters.count(), list(await letters.list(selection, limit=limit))

    total, found = _with_letters(stem, queue, look)
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
    task_id: Annotated[str, typer.Argument(metavar="ID", help="The task's id.")],
    as_json: opt.Json = False,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Show one dead letter with its traceback, arguments and history."""
    stem = _application(application, broker_url, namespace)
    letter = _with_letters(stem, queue, lambda letters: letters.show(task_id))
    if as_json:
        show_json(document(letter, whole=True))
    else:
        show(show_view(letter))


@app.command("replay", epilog=EPILOG)
def replay_command(
    *,
    queue: QueueArgument,
    ids: Ids = None,
    task: Task = None,
    reasons: Reasons = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    limit: Limit = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    rate: Annotated[
        Rate | None, typer.Option(parser=opt.rate, metavar="RATE", help="At most so many: 10/s.")
    ] = None,
    yes: opt.Yes = False,
    as_json: opt.Json = False,
    application: opt.AppOption = None,
    broker_url: opt.BrokerUrl = None,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """Give dead letters another life: same id, same arguments, attempt 0.

    Each is confirmed in its work queue before it leaves the dead-letter queue. Fix the cause first,
    and try with --dry-run or --limit 1.
    """
    stem = _application(application, broker_url, namespace, backend_url)
    selection = _selection(ids, task, reasons, older_than, newer_than)
    if selection == ALL and limit is None and not dry_run and not yes:
        total = _with_letters(stem, queue, lambda letters: letters.count())
        confirm(f"replay all of {total} dead letters of {queue}")

    def each(letter: DeadLetter, error: Exception | None) -> None:
        what = "would replay" if dry_run else "replayed"
        name = f"{letter.task} {letter.id}"
        note(f"{what} {name}" if error is None else f"not replayed: {name}: {error}")

    report = _with_letters(
        stem,
        queue,
        lambda letters: letters.replay(
            selection, dry_run=dry_run, rate=rate, limit=limit, on_each=None if as_json else each
        ),
    )
    _show_replay(queue, report, as_json=as_json)
    raise typer.Exit(ExitCode.OK if report.complete else ExitCode.NO)


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
    """Drop dead letters for good."""
    stem = _application(application, broker_url, namespace)
    selection = _selection(ids, task, reasons, older_than, newer_than)
    everything = selection == ALL
    if not yes:
        total = _with_letters(stem, queue, lambda letters: letters.count())
        which = "all of" if everything else "those that fit, of"
        confirm(f"drop {which} {total} dead letters of {queue} for good")
    dropped = _with_letters(
        stem, queue, lambda letters: letters.purge(None if everything else selection)
    )
    if as_json:
        show_json({"queue": queue, "dropped": dropped})
    else:
        typer.echo(f"dropped {count(dropped, 'dead letter')} of {queue}")


def _application(
    target: str | None,
    broker_url: str | None,
    namespace: str | None,
    backend_url: str | None = None,
) -> Stem:
    # Nothing is declared: a misspelt queue must not be made by looking into it
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
        async with stem:
            return await use(DeadLetters(stem, queue))

    return asyncio.run(connected())


def _show_replay(queue: str, report: ReplayReport, *, as_json: bool) -> None:
    if as_json:
        names = ("matched", "replayed", "failed", "skipped", "errors", "interrupted", "dry_run")
        show_json({"queue": queue, **{name: getattr(report, name) for name in names}})
        return
    if report.dry_run:
        found = count(report.matched - report.skipped, "dead letter")
        typer.echo(f"{found} of {queue} would be replayed")
    else:
        typer.echo(f"replayed {report.replayed} of {report.matched} dead letters of {queue}")
    if report.skipped:
        note(f"{report.skipped} cannot be read, and are replayed only if named by --id")
    if report.failed:
        show_error(f"{report.failed} could not be replayed; they are dead letters still")
    if report.interrupted:
        show_error(f"ended early: {report.interrupted}\n  Repeat the command for the rest.")
