"""``stem-amqp results``: which tasks there are, and how many.

``--json`` prints an object: ``tasks``, each as ``stem-amqp result --json`` prints it, and ``cursor``,
which asks for the next page and is null after the last one. With ``--count``: ``counts``, an object of
states and numbers, and ``total``.
"""

from __future__ import annotations

import asyncio
import shlex
from typing import Annotated

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.json_argument import read_values
from stem_amqp.cli.load import load
from stem_amqp.cli.output import console, count, iso, note, show, show_json
from stem_amqp.cli.record_view import count_view, document, list_view
from stem_amqp.cli.session import store_of
from stem_amqp.errors import ConfigurationError
from stem_amqp.results.filters import TaskFilters, query_of
from stem_amqp.results.listing import PAGE_LIMIT, TaskQuery
from stem_amqp.settings import redacted

_LIMIT = 50
app = opt.command_app()

Application = Annotated[
    str | None,
    typer.Argument(metavar="APP", help="The application as module:attribute: its settings."),
]
States = Annotated[
    list[str] | None, typer.Option("--state", metavar="STATES", help="In these: failed,expired.")
]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--task", metavar="GLOB", help="Of such a name: 'orders.*'; may be repeated."),
]
Queues = Annotated[
    list[str] | None, typer.Option("--queue", "-Q", metavar="NAMES", help="Of these queues, a,b.")
]
Meta = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=TEXT", help="With this metadata, KEY:=JSON for no text; may be repeated."
    ),
]
Since = Annotated[
    float | None,
    typer.Option(parser=opt.moment, metavar="TIME", help="Enqueued since: 1h ago, or a date."),
]
Until = Annotated[
    float | None, typer.Option(parser=opt.moment, metavar="TIME", help="Enqueued before that.")
]
UpdatedSince = Annotated[
    float | None, typer.Option(parser=opt.moment, metavar="TIME", help="Last changed since.")
]
UpdatedUntil = Annotated[
    float | None, typer.Option(parser=opt.moment, metavar="TIME", help="Last changed before that.")
]
OldestFirst = Annotated[bool, typer.Option("--oldest-first", help="Not the newest first.")]
Limit = Annotated[
    int, typer.Option(metavar="N", min=1, max=PAGE_LIMIT, help="So many of them at most.")
]
Cursor = Annotated[
    str | None, typer.Option(metavar="CURSOR", help="Go on here: what the page before said.")
]
Count = Annotated[bool, typer.Option("--count", help="Only count them, by state.")]


@app.command("results", epilog=EPILOG)
def results_command(
    *,
    application: Application = None,
    states: States = None,
    tasks: Tasks = None,
    queues: Queues = None,
    meta: Meta = None,
    since: Since = None,
    until: Until = None,
    updated_since: UpdatedSince = None,
    updated_until: UpdatedUntil = None,
    oldest_first: OldestFirst = False,
    limit: Limit = _LIMIT,
    cursor: Cursor = None,
    only_count: Count = False,
    as_json: opt.Json = False,
    backend_url: opt.BackendUrl = None,
    namespace: opt.Namespace = None,
) -> None:
    """List or count tasks, the newest first; all that is given must fit.

    It reads the result backend, so STEM_BACKEND_URL must be the workers'. A TIME is how long ago (30m,
    1h, 7d) or a date with a time. `stem-amqp result ID` shows one task with its traceback.
    """
    if only_count and cursor is not None:
        raise ConfigurationError("--count counts all pages: it goes without --cursor")
    _check_range("--since", since, "--until", until)
    _check_range("--updated-since", updated_since, "--updated-until", updated_until)
    filters: TaskFilters = {
        "created_after": since,
        "created_before": until,
        "updated_after": updated_since,
        "updated_before": updated_until,
        "oldest_first": oldest_first,
        "meta": read_values("--meta", meta or ()),
    }
    if states:
        filters["state"] = opt.split(states)
    if tasks:
        filters["task"] = tasks
    if queues:
        filters["queue"] = opt.split(queues)
    query = query_of(**filters)
    query.position(cursor)  # mistakes come before a store that does not answer
    stem = load(application, opt.Overrides(backend_url=backend_url, namespace=namespace))
    if only_count:
        asyncio.run(_count(stem, query, as_json=as_json))
        return
    given: dict[str, list[str] | str | None] = {
        "--state": states,
        "--task": tasks,
        "--queue": queues,
        "--meta": meta,
        "--since": iso(since),
        "--until": iso(until),
        "--updated-since": iso(updated_since),
        "--updated-until": iso(updated_until),
        "--limit": None if limit == _LIMIT else str(limit),
        "--backend-url": None if backend_url is None else redacted(backend_url),
        "--namespace": namespace,
    }
    again = _command(application, given, oldest_first=oldest_first)
    asyncio.run(_list(stem, query, limit, cursor, again=None if as_json else again))


async def _list(
    stem: Stem, query: TaskQuery, limit: int, cursor: str | None, *, again: str | None
) -> None:
    """Print a page.

    Args:
        stem: the application.
        query: which tasks.
        limit: records of the page.
        cursor: that of the page before.
        again: the command that shows it, for the next page; None prints JSON.
    """
    async with store_of(stem) as backend:
        page = await backend.list_tasks(query, cursor=cursor, limit=limit)
    if again is None:
        show_json({"tasks": [document(record) for record in page], "cursor": page.cursor})
        return
    if page.records:
        show(list_view(page.records, console().width))
    order = "oldest" if query.oldest_first else "newest"
    note(f"{count(len(page), 'task')}{f', the {order} first' if len(page) > 1 else ''}")
    if page.cursor is not None:
        note(f"next page: {again} --cursor {page.cursor}")


async def _count(stem: Stem, query: TaskQuery, *, as_json: bool) -> None:
    async with store_of(stem) as backend:
        counts = await backend.count_tasks(query)
    total = sum(counts.values())
    if as_json:
        show_json({"counts": {state.value: n for state, n in counts.items()}, "total": total})
        return
    if counts:
        show(count_view(counts))
    note(count(total, "task"))


def _check_range(after: str, since: float | None, before: str, until: float | None) -> None:
    if since is not None and until is not None and not since < until:
        raise ConfigurationError(
            f"{after} must be earlier than {before}: {iso(since)} is not before {iso(until)}"
        )


def _command(
    application: str | None, given: dict[str, list[str] | str | None], *, oldest_first: bool
) -> str:
    """Write the command again, with times that do not move; a URL's password is left out."""
    words = ["stem-amqp", "results", *([application] if application else ())]
    for option, values in given.items():
        for value in [values] if isinstance(values, str) else values or ():
            words += [option, value]
    return shlex.join([*words, *(["--oldest-first"] if oldest_first else ())])
