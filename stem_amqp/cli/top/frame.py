"""One frame: head, the view or page, and the keys, at a given width and height."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.text import Text

from stem_amqp.cli.output import NOTHING
from stem_amqp.cli.top import pages, sections
from stem_amqp.cli.top.layout import Size, fitted
from stem_amqp.cli.top.numbers import number, rate, short
from stem_amqp.cli.top.selection import matching, order_name
from stem_amqp.cli.top.snapshot import (
    DeadRow,
    FailureRow,
    QueueRow,
    Row,
    Snapshot,
    View,
    WorkerRow,
)
from stem_amqp.cli.top.state import VIEWS, State
from stem_amqp.text import count, one_line

_SECTION = 3
"""The least lines of a further section: its heading and two rows."""
_NARROWEST = 20
"""The least width in which sentences are wrapped; in a smaller one they are cut."""
_LINES = 3
"""The most lines of one sentence."""
_NO_ROWS = {
    View.QUEUES: "no queue",
    View.WORKERS: "no worker",
    View.FAILURES: "no dead letter",
    View.DEAD: "no dead letter",
}


def frame(state: State, snapshot: Snapshot, size: Size) -> list[Text]:
    """Return the lines of the display; as many as the height.

    Args:
        state: what the user has chosen.
        snapshot: the data.
        size: the terminal.
    """
    height = size.height or 0
    head = _head(state, snapshot, size)
    room = max(1, height - len(head) - 1)
    if state.help:
        body = pages.help_page(size)
    elif state.opened is not None:
        page = pages.page_of(state.opened, size)
        body = page[min(state.scroll, max(0, len(page) - room)) :]
    else:
        body = _view(state, snapshot, Size(size.width, room, size.unicode))
    body = [*body[:room], *[Text("")] * (room - len(body))]
    return [fitted(line, size) for line in [*head, *body, _foot(state)]][-height:]


def text_frame(snapshot: Snapshot, size: Size, pattern: str = "") -> list[Text]:
    """Return all sections below each other, for a file or a log.

    Args:
        snapshot: the data.
        size: the width; the height is that of the content.
        pattern: the filter.
    """
    running = matching(snapshot.runs, pattern)
    failed = matching(snapshot.failures, pattern)
    tables = [
        sections.queues(matching(snapshot.queues, pattern), size),
        _missing(snapshot.pauses, size),
        sections.workers(matching(snapshot.workers, pattern), size),
        sections.runs(running, size) if running else [],
        sections.failures(failed, snapshot.at, size) if failed else [],
        sections.dead(dead, size) if (dead := matching(snapshot.dead, pattern)) else [],
        sections.delays(snapshot, size),
        _missing(snapshot.missing.values(), size),
    ]
    lines = [_title(snapshot), _totals(snapshot), *_problem(snapshot)]
    for one in tables:
        lines += [Text(""), *one] if one else []
    return [fitted(line, size) for line in lines]


def _head(state: State, snapshot: Snapshot, size: Size) -> list[Text]:
    clock = datetime.fromtimestamp(snapshot.at, UTC).strftime("%H:%M:%S UTC")
    right = Text("PAUSED " + clock if state.paused else clock)
    if state.paused:
        right.stylize("bold yellow", 0, 6)
    title = _title(snapshot)
    title.truncate(max(0, size.width - right.cell_len - 1), overflow="crop", pad=True)
    title.append(" ").append_text(right)
    return [title, *(_problem(snapshot) or [_totals(snapshot)]), _tabs(state, snapshot)]


def _title(snapshot: Snapshot) -> Text:
    broker = f" on {one_line(snapshot.broker)}" if snapshot.broker else ""
    return Text.assemble(("stem-amqp top", "bold"), f"  {one_line(snapshot.namespace)}{broker}")


def _totals(snapshot: Snapshot) -> Text:
    rows = snapshot.queues
    rates = [row.acked for row in rows if row.acked is not None]
    if not rates:
        rates = [row.rate for row in snapshot.workers if row.rate is not None]
    unknown = not snapshot.workers and "workers" in snapshot.missing
    facts = [
        f"{number(sum(row.ready or 0 for row in rows))} ready",
        f"{number(sum(snapshot.delays.values()))} delayed",
        f"{len(snapshot.runs)} running",
        f"{rate(sum(rates)) if rates else rate(None)} out/s",
        f"{NOTHING} workers" if unknown else count(len(snapshot.workers), "worker"),
    ]
    text = Text(", ".join(facts))
    dead = sum(row.dead or 0 for row in rows)
    text.append(f", {number(dead)} dead", style="red" if dead else "")
    if snapshot.unroutable:
        text.append(f", {snapshot.unroutable} unroutable", style="bold red")
    for alarm in snapshot.alarms:
        text.append(f", ALARM: {one_line(alarm)}", style="bold red")
    return text


def _problem(snapshot: Snapshot) -> list[Text]:
    if not snapshot.problem:
        return []
    since = short(max(0.0, snapshot.at - snapshot.problem_since))
    reason = one_line(snapshot.problem.partition("\n")[0])
    text = f"NO ANSWER for {since}, the numbers are older: {reason}"
    return [Text(text, style="bold red")]


def _tabs(state: State, snapshot: Snapshot) -> Text:
    text = Text()
    for position, view in enumerate(VIEWS, 1):
        style = "reverse bold" if view is state.view else ""
        text.append(f" {position} {view.value} ", style=style).append(" ")
    if state.typing:
        text.append(f" /{one_line(state.pattern)}_", style="bold yellow")
    elif state.pattern:
        text.append(f" /{one_line(state.pattern)}", style="yellow")
    silent = any(not row.healthy for row in snapshot.workers)
    if silent and state.view is not View.WORKERS:
        text.append(" worker problem, see 2", style="bold red")
    return text


def _foot(state: State) -> Text:
    if state.typing:
        return Text("type a part of a name or a glob   Enter keep   Esc remove", style="dim")
    if state.help:
        return Text("any key: back", style="dim")
    if state.opened is not None:
        return Text("Up Down PageUp PageDown scroll   Esc back   q quit", style="dim")
    order = order_name(state.view, state.order)
    keys = f"? help  q quit  / filter  s sort: {order}  Tab view  Enter open  p pause"
    return Text(keys, style="dim")


def _view(state: State, snapshot: Snapshot, size: Size) -> list[Text]:
    """Return a view: its rows, and below them what still fits."""
    room = size.height or 0
    rows = state.rows(snapshot)
    cursor = min(state.cursor, max(0, len(rows) - 1))
    shown = _shared(state.view, snapshot, len(rows), room)
    first = max(0, cursor - max(1, shown - 1) + 1)
    visible = rows[first : first + max(1, shown - 1)]
    lines = _rows(state.view, visible, snapshot, size) if rows else [_nothing(state)]
    if rows:
        selected = lines[1 + cursor - first]
        selected.append(" " * (size.width - selected.cell_len))
        selected.stylize("reverse")
    paused = snapshot.pauses if state.view is View.QUEUES else ()
    notes = _missing([*paused, *_reasons(state.view, snapshot)], size)
    for section in [*([notes] if notes else []), *_further(state, snapshot, size)]:
        left = room - len(lines) - 1
        if left >= min(_SECTION, len(section)):
            lines += [Text(""), *section[:left]]
    return lines


def _shared(view: View, snapshot: Snapshot, rows: int, room: int) -> int:
    """Return the lines for the rows of a view: some are left for what is below them."""
    below = {View.WORKERS: len(snapshot.runs), View.DEAD: sum(map(bool, snapshot.delays.values()))}
    wanted = below.get(view, 0)
    reserved = min(wanted + 2, room // 2) if wanted else 0
    return min(rows + 1, room - reserved)


def _rows(view: View, rows: Sequence[Row], snapshot: Snapshot, size: Size) -> list[Text]:
    if view is View.QUEUES:
        return sections.queues([row for row in rows if isinstance(row, QueueRow)], size)
    if view is View.WORKERS:
        return sections.workers([row for row in rows if isinstance(row, WorkerRow)], size)
    if view is View.FAILURES:
        failed = [row for row in rows if isinstance(row, FailureRow)]
        return sections.failures(failed, snapshot.at, size)
    return sections.dead([row for row in rows if isinstance(row, DeadRow)], size)


def _further(state: State, snapshot: Snapshot, size: Size) -> list[list[Text]]:
    """Return the sections below the rows of a view."""
    running = matching(snapshot.runs, state.pattern)
    runs = [sections.runs(running, size)] if running else []
    if state.view is View.WORKERS:
        return runs
    if state.view is View.DEAD:
        return [sections.delays(snapshot, size)]
    if state.view is View.QUEUES:
        room = max(_SECTION, ((size.height or 0) - len(snapshot.queues) - 3) // 2)
        failed = matching(snapshot.failures, state.pattern)
        below = [sections.failures(failed, snapshot.at, size)] if failed else []
        return [*([one[:room] for one in runs] if failed else runs), *below]
    return []


def _reasons(view: View, snapshot: Snapshot) -> list[str]:
    sources = {
        View.QUEUES: ("queues", "management", "pauses"),
        View.WORKERS: ("workers",),
        View.FAILURES: ("failures",),
        View.DEAD: ("dead",),
    }
    return [snapshot.missing[name] for name in sources[view] if name in snapshot.missing]


def _missing(reasons: Iterable[str], size: Size) -> list[Text]:
    width = max(_NARROWEST, size.width)
    return [
        Text(line, style="yellow")
        for reason in reasons
        for line in textwrap.wrap(one_line(reason), width, max_lines=_LINES, placeholder=" ...")
    ]


def _nothing(state: State) -> Text:
    what = _NO_ROWS[state.view]
    return Text(f"There is {what}{' that fits the filter' if state.pattern else ''}.", style="dim")
