"""Output of commands: tables and text for people, one JSON document for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from stem_amqp.cli.streams import is_unicode
from stem_amqp.durations import format_seconds
from stem_amqp.text import escaped_lines, indented, json_text, one_line

_PIPE_WIDTH = 500
"""Columns without a terminal, so that nothing is cut or wrapped in a pipe or a log."""
NOTHING = "–"  # noqa: RUF001 - a dash as wide as a digit
"""Printed for an unknown value."""
_ONE_DAY = 86400


class SafeConsole(Console):
    """A console that prints control characters of a text as escapes.

    Only rich's own control codes are passed to the terminal.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render an object with control characters escaped."""
        for segment in super().render(renderable, options):
            if segment.control is None and not segment.text.isprintable():
                yield Segment(escaped_lines(segment.text), segment.style)
            else:
                yield segment

    def on_broken_pipe(self) -> None:
        """Raise it again; rich would exit with code 1, which has another meaning here."""
        raise  # noqa: PLE0704 - called where it is handled


def console(*, errors: bool = False) -> Console:
    """Return a console on standard output, or on standard error.

    Text is printed literally: brackets in a task's error are not markup.
    """
    stream = sys.stderr if errors else sys.stdout
    width, height = None if "COLUMNS" in os.environ else _PIPE_WIDTH, None
    if stream.isatty():
        # rich assumes 80 columns for a dumb terminal, such as an editor's
        dumb = os.environ.get("TERM", "") in {"dumb", "unknown"}
        width, height = shutil.get_terminal_size() if dumb else (None, None)
    return SafeConsole(
        file=stream, width=width, height=height, markup=False, highlight=False, emoji=False
    )


def show(view: RenderableType) -> None:
    """Print a table or a text to standard output."""
    out = console()
    if out.is_terminal:
        out.print(view)
        return
    with out.capture() as captured:
        out.print(view, soft_wrap=isinstance(view, Text))
    # Tables pad their lines with spaces, which disturb diff and grep
    lines = (line.rstrip() for line in captured.get().splitlines())
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def show_error(message: str) -> None:
    """Print an error and its remedy to standard error."""
    first, separator, rest = _indent_rest(indented(message, "")).partition("\n")
    _write_to_stderr(Text.assemble(("error: ", "bold red"), first, separator + rest))


def show_warning(message: str) -> None:
    """Print a warning to standard error."""
    _write_to_stderr(Text.assemble(("warning: ", "bold yellow"), _indent_rest(message)))


def note(message: str) -> None:
    """Print a remark to standard error."""
    _write_to_stderr(Text(message, style="dim"))


def _indent_rest(text: str) -> str:
    """Indent all lines but the first, so that none can be mistaken for an error or a warning."""
    lines = text.splitlines()
    return "\n".join(
        line if not number or line.startswith(" ") else f"  {line}"
        for number, line in enumerate(lines)
    )


def _write_to_stderr(text: Text) -> None:
    out = console(errors=True)
    # If standard error is closed, the exit code still reports the result
    with suppress(OSError, ValueError):
        out.print(text, soft_wrap=not out.is_terminal)


def print_line(line: str) -> None:
    """Print one line to standard output."""
    sys.stdout.write(f"{one_line(line)}\n")
    sys.stdout.flush()


def show_json(document: Any) -> None:
    """Print one JSON document to standard output."""
    text = json_text(document, indent=True)
    if not is_unicode(sys.stdout):  # escapes in ASCII are still valid JSON
        text = json.dumps(json.loads(text), indent=2)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def table(*columns: str, numbers: tuple[str, ...] = (), whole: tuple[str, ...] = ()) -> Table:
    """Return an empty table without borders, which awk can parse.

    Args:
        *columns: the headings.
        numbers: the columns with numbers, which are right-aligned.
        whole: the columns whose cells are never wrapped, such as ids.
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


def format_time(at: float | datetime) -> str:
    """Format a time in UTC, to the second."""
    when = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at: float | datetime | None) -> str | None:
    """Format a time in ISO 8601, in UTC with milliseconds."""
    if at is None:
        return None
    when = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def short(seconds: float) -> str:
    """Format a duration for a narrow column, without spaces: ``1m30s``.

    Args:
        seconds: the duration.
    """
    return format_seconds(seconds).replace(" ", "")


def ago(at: float | datetime, now: float) -> str:
    """Format a time relative to now: ``3 min ago``, ``in 20 s``; a date beyond two days."""
    then = at.timestamp() if isinstance(at, datetime) else at
    distance = now - then
    if abs(distance) >= 2 * _ONE_DAY:
        return format_time(then)
    if abs(distance) < 1:
        return "now"
    text = format_seconds(round(abs(distance)))
    return f"{text} ago" if distance > 0 else f"in {text}"
