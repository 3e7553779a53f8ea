"""The pages of one row: a failure with its traceback, a worker with its runs; and the help."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import chop_cells
from rich.text import Text

from stem_amqp.cli.output import format_time
from stem_amqp.cli.top import sections
from stem_amqp.cli.top.layout import Size
from stem_amqp.cli.top.snapshot import FailureRow, Row, WorkerRow
from stem_amqp.text import indented, one_line

HELP = (
    ("1 2 3 4, Tab", "the views: queues, workers, failures, dead letters and delays"),
    ("Up, Down, j, k", "select a row; PageUp, PageDown, Home, End"),
    ("Enter", "open a failure (traceback), a worker (runs), a reason"),
    ("Esc", "close the page, or remove the filter"),
    ("/", "filter by a part of a name or by a glob such as orders.*"),
    ("s", "the next sort order"),
    ("p", "pause, and continue"),
    ("?", "this help"),
    ("q, Ctrl-C", "quit"),
)
MEANINGS = (
    ("IN/S, OUT/S", "messages published and acknowledged per second"),
    ("OLDEST", "the oldest ready message waits at least this long"),
    ("LAG", "how late the worker's event loop is"),
)


def help_page(size: Size) -> list[Text]:
    """Return the explanation of keys and columns."""
    lines = [Text("Keys", style="bold")]
    lines += [_fact(name, text, size) for name, text in HELP]
    lines += [Text(""), Text("Columns", style="bold")]
    return lines + [_fact(name, text, size) for name, text in MEANINGS]


def page_of(row: Row, size: Size) -> list[Text]:
    """Return the page of a row, in lines that fit."""
    if isinstance(row, FailureRow):
        return list(_failure(row, size))
    return list(_worker(row, size)) if isinstance(row, WorkerRow) else []


def _failure(row: FailureRow, size: Size) -> Iterator[Text]:
    yield Text.assemble((one_line(row.task), "bold"), f"  {one_line(row.id)}")
    facts = {
        "queue": row.queue,
        "reason": row.reason,
        "failed at": format_time(row.at) if row.at else "not recorded",
        "runs": str(row.attempt + 1),
        "worker": row.worker,
        "error": row.error,
    }
    for name, value in facts.items():
        if value:
            yield from _wrapped(name, value, size)
    for number, line in enumerate(row.history, 1):
        yield from _wrapped(f"failure {number}", line, size)
    yield Text("")
    if row.traceback:
        for line in indented(row.traceback.rstrip(), "").split("\n"):
            yield from _pieces(line, size.width)
        return
    if row.traceback is None:
        hint = f"The dead letter is not read yet; or: stem-amqp dlq show {row.queue} {row.id}"
    else:
        hint = "There is no traceback."
    for piece in _pieces(one_line(hint), size.width):
        yield Text(piece.plain, style="dim")


def _worker(row: WorkerRow, size: Size) -> Iterator[Text]:
    yield Text.assemble(
        (one_line(row.name), "bold"), "  ", (row.state, "green" if row.healthy else "bold red")
    )
    for name, value in row.facts:
        yield from _wrapped(name, value, size)
    if row.stack:
        yield Text("")
        yield Text("The event loop is blocked at:", style="bold red")
        for line in indented(row.stack.rstrip(), "").split("\n"):
            yield from _pieces(line, size.width)
    yield Text("")
    yield from sections.runs(row.runs, size) if row.runs else [Text("No task runs.", style="dim")]


def _fact(name: str, value: str, size: Size) -> Text:
    line = Text.assemble("  ", (f"{name:<16}", "cyan"), value)
    line.truncate(size.width, overflow="ellipsis" if size.unicode else "crop")
    return line


def _wrapped(name: str, value: str, size: Size) -> Iterator[Text]:
    """Yield a value in as many lines as it needs, aligned behind its name."""
    margin = 13
    text = indented(value, "")
    first = True
    for line in text.split("\n"):
        for piece in _pieces(line, max(1, size.width - margin)):
            label = f"  {name if first else '':<{margin - 2}}"
            yield Text.assemble((label, "dim"), piece)
            first = False


def _pieces(line: str, width: int) -> Iterator[Text]:
    """Yield a line in pieces that are not wider than the width."""
    yield from map(Text, chop_cells(line, width) or [""])
