"""``stem-amqp results``: list or count tasks.

``--json`` prints an object: ``tasks``, each as ``stem-amqp result --json`` prints it, and ``cursor``,
for the next page, which is null on the last one. With ``--count``: ``counts``, an object of states and
numbers, and ``total``.
"""

from __future__ import annotations

import asyncio
import shlex
from typing import Annotated, NamedTuple

import typer

from stem_amqp.app import Stem
from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.cli.json_argument import read_values
from stem_amqp.cli.load import load
from stem_amqp.cli.output import console, iso, note, show, show_json
from stem_amqp.cli.record_view import count_view, document, list_view
from stem_amqp.cli.session import store_of
from stem_amqp.errors import ConfigurationError
from stem_amqp.results.filters import TaskFilters, query_of
from stem_amqp.results.listing import PAGE_LIMIT, TaskQuery
from stem_amqp.text import count, redacted

_LIMIT = 50
app = opt.command_app()

Application = Annotated[
    str | None,
    typer.Argument(metavar="APP", help="The application as module:attribute: its settings."),
]
States = Annotated[
    list[str] | None, typer.Option("--state", metavar="STATES", help="By state: failed,expired.")
]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--task", metavar="GLOB", help="By name: 'orders.*'; may be repeated."),
]
Queues = Annotated[
    list[str] | None, typer.Option("--queue", "-Q", metavar="NAMES", help="By queue, as a,b.")
]
Meta = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=TEXT", help="By metadata; KEY:=JSON for other values; may be repeated."
    ),
]
Since = Annotated[
    float | None,
    typer.Option(parser=opt.time_of, metavar="TIME", help="Enqueued since: 1h ago, or a date."),
]
Until = Annotated[
    float | None, typer.Option(parser=opt.time_of, metavar="TIME", help="Enqueued before.")
]
UpdatedSince = Annotated[
    float | None, typer.Option(parser=opt.time_of, metavar="TIME", help="Last changed since.")
]
UpdatedUntil = Annotated[
    float | None, typer.Option(parser=opt.time_of, metavar="TIME", help="Last changed before.")
]
OldestFirst = Annotated[bool, typer.Option("--oldest-first", help="The oldest first.")]
Limit = Annotated[int, typer.Option(metavar="N", min=1, max=PAGE_LIMIT, help="At most N tasks.")]
Cursor = Annotated[
    str | None, typer.Option(metavar="CURSOR", help="Continue with the page after this cursor.")
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
    """List or count tasks, the newest first; all given filters must match.

    It reads the result backend, so STEM_BACKEND_URL must be that of the workers. A TIME is how long ago
    (30m, 1h, 7d) or a date with a time. `stem-amqp result ID` shows one task with its traceback.
    """
    if only_count and cursor is not None:
        raise ConfigurationError("--count counts all pages: it cannot be used with --cursor")
    times = _Times(since, until, updated_since, updated_until)
    filters = _filters(states, tasks, queues)
    filters |= times.filters()
    filters |= {"oldest_first": oldest_first, "meta": read_values("--meta", meta or ())}
    query = query_of(**filters)
    query.position(cursor)  # report mistakes before the store is opened
    stem = load(application, opt.Overrides(backend_url=backend_url, namespace=namespace))
    if only_count:
        asyncio.run(_count(stem, query, as_json=as_json))
        return
    given: dict[str, list[str] | str | None] = {
        "--state": states,
        "--task": tasks,
        "--queue": queues,
        "--meta": meta,
        **times.options(),
        "--limit": None if limit == _LIMIT else str(limit),
        "--backend-url": None if backend_url is None else redacted(backend_url),
        "--namespace": namespace,
    }
    again = _command(application, given, oldest_first=oldest_first)
    asyncio.run(_list(stem, query, limit, cursor, again=None if as_json else again))


class _Times(NamedTuple):
    """The times of the options; seconds since the epoch."""

    since: float | None
    until: float | None
    updated_since: float | None
    updated_until: float | None

    def filters(self) -> TaskFilters:
        """Return the filters.

        Raises:
            ConfigurationError: a range ends before it begins.
        """
        _check_range("--since", self.since, "--until", self.until)
        _check_range("--updated-since", self.updated_since, "--updated-until", self.updated_until)
        return {
            "created_after": self.since,
            "created_before": self.until,
            "updated_after": self.updated_since,
            "updated_before": self.updated_until,
        }

    def options(self) -> dict[str, str | None]:
        """Return the options that mean the same, for another command line."""
        return {f"--{name.replace('_', '-')}": iso(at) for name, at in self._asdict().items()}


def _filters(
    states: list[str] | None, tasks: list[str] | None, queues: list[str] | None
) -> TaskFilters:
    """Return the filters of options that may be left out."""
    filters: TaskFilters = {}
    if states:
        filters["state"] = opt.split(states)
    if tasks:
        filters["task"] = tasks
    if queues:
        filters["queue"] = opt.split(queues)
    return filters


async def _list(
    stem: Stem, query: TaskQuery, limit: int, cursor: str | None, *, again: str | None
) -> None:
    """Print a page.

    Args:
        stem: the application.
        query: which tasks.
        limit: maximum records of the page.
        cursor: the cursor of the previous page.
        again: the command for the next page, without the cursor; None prints JSON.
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
    """Return the command line with absolute times, and without a URL's password."""
    words = ["stem-amqp", "results", *([application] if application else ())]
    for option, values in given.items():
        for value in [values] if isinstance(values, str) else values or ():
            words += [option, value]
    return shlex.join([*words, *(["--oldest-first"] if oldest_first else ())])
