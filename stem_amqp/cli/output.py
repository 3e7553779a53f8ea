"""What commands print: tables and texts for people, one JSON document for programs."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from stem_amqp.durations import format_seconds

_PIPE_WIDTH = 500
"""Columns where no terminal limits them, so that nothing is cut or wrapped in a pipe or a log."""
NOTHING = "–"  # noqa: RUF001 - a dash as wide as a digit
"""Stands where a value is not known."""
_ONE_DAY = 86400


def console(*, errors: bool = False) -> Console:
    """Return a console on standard output, or on standard error.

    What is printed is taken as it is: brackets of a task's error are no markup.
    """
    stream = sys.stderr if errors else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def show(view: RenderableType) -> None:
    """Print a table or a text to standard output."""
    out = console()
    if out.is_terminal:
        out.print(view)
        return
    with out.capture() as captured:
        out.print(view, soft_wrap=isinstance(view, Text))
    # Tables fill their lines with blanks, which only get in the way of diff and grep
    lines = (line.rstrip() for line in captured.get().splitlines())
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def show_error(message: str) -> None:
    """Print an error and its remedy to standard error."""
    first, separator, rest = message.partition("\n")
    _tell(Text.assemble(("error: ", "bold red"), first, separator + rest))


def show_warning(message: str) -> None:
    """Print a warning to standard error."""
    _tell(Text.assemble(("warning: ", "bold yellow"), message))


def note(message: str) -> None:
    """Print a remark for people to standard error."""
    _tell(Text(message, style="dim"))


def _tell(text: Text) -> None:
    out = console(errors=True)
    out.print(text, soft_wrap=not out.is_terminal)


def show_json(document: Any) -> None:
    """Print one JSON document to standard output."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
    sys.stdout.write(orjson.dumps(document, default=str, option=options).decode())
    sys.stdout.flush()


def table(*columns: str, numbers: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> Table:
    """Return an empty table without lines, which can be cut with awk as well as read.

    Args:
        *columns: the headings.
        numbers: those with numbers, which stand to the right.
        whole: those whose cells are never wrapped, such as ids.
    """
    result = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        result.add_column(
            column.upper(),
            justify="right" if column in numbers else "left",
            no_wrap=column in whole or column in numbers,
            overflow="fold",
        )
    return result


def count(number: int, word: str) -> str:
    """Write how many there are: ``no mistakes``, ``1 message``, ``312 messages``."""
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"


def moment(at: float | datetime) -> str:
    """Write a point in time in UTC, to the second."""
    when = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at: float | datetime | None) -> str | None:
    """Write a point in time for programs: ISO 8601 in UTC with milliseconds."""
    if at is None:
        return None
    when = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(at: float | datetime, now: float) -> str:
    """Write how long ago something was: ``3 min ago``, ``in 20 s``; a date beyond two days."""
    then = at.timestamp() if isinstance(at, datetime) else at
    distance = now - then
    if abs(distance) >= 2 * _ONE_DAY:
        return moment(then)
    if abs(distance) < 1:
        return "now"
    text = format_seconds(round(abs(distance)))
    return f"{text} ago" if distance > 0 else f"in {text}"
