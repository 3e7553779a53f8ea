"""The tables of the display, one function for each kind of row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rich.text import Text

from stem_amqp.cli.top.layout import Cell, Column, Size, sparkline, table
from stem_amqp.cli.top.numbers import memory, number, rate, short
from stem_amqp.cli.top.snapshot import DeadRow, FailureRow, QueueRow, RunRow, Snapshot, WorkerRow
from stem_amqp.durations import format_seconds
from stem_amqp.text import distinguishing_length, one_line

_TREND = 12
_ID = 13
"""The beginning of an id down to the millisecond of its creation; more is shown if several begin alike."""
_WHOLE = 36
_WIDE = 140
"""Columns of a frame in which ids are whole."""
_SLOW = 0.1
"""Seconds of an event loop's lag that are shown as a problem."""

QUEUES = (
    Column("QUEUE", 8, 40),
    Column("READY", 6, 8, right=True),
    Column("UNACKED", 7, 8, right=True, rank=1),
    Column("CONS", 4, 6, right=True),
    Column("IN/S", 5, 7, right=True, rank=2),
    Column("OUT/S", 5, 7, right=True),
    Column("OUT, 1 MIN", _TREND, _TREND, rank=4),
    Column("READY, 1 MIN", _TREND, _TREND, rank=6),
    Column("OLDEST", 6, 6, right=True, rank=3),
    Column("DEAD", 4, 7, right=True),
)
WORKERS = (
    Column("WORKER", 12, 40),
    Column("QUEUES", 8, 40, rank=2),
    Column("RUN", 3, 6, right=True),
    Column("DONE/S", 6, 7, right=True, rank=1),
    Column("LAG", 5, 6, right=True, rank=3),
    Column("MEMORY", 6, 7, right=True, rank=4),
    Column("STATE", 9, 24),
)
RUNS = (
    Column("RUNNING", 12, 40),
    Column("ID", _ID, 36, rank=3),
    Column("FOR", 5, 6, right=True),
    Column("RETRIES", 7, 7, right=True, rank=4),
    Column("WORKER", 10, 30, rank=2),
    Column("PROGRESS", 9, 60),
)
FAILURES = (
    Column("AGO", 5, 6, right=True),
    Column("FAILED TASK", 14, 40),
    Column("ID", _ID, 36, rank=3),
    Column("REASON", 17, 21, rank=1),
    Column("QUEUE", 6, 20, rank=2),
    Column("ERROR", 24, 200),
)
DEAD = (
    Column("DEAD LETTERS OF", 16, 60),
    Column("REASON", 17, 24),
    Column("MESSAGES", 8, 9, right=True),
    Column("OLDEST", 6, 6, right=True, rank=1),
)
DELAYS = (Column("DELAY", 16, 20), Column("MESSAGES", 8, 9, right=True))


def queues(rows: Iterable[QueueRow], size: Size) -> list[Text]:
    """Return the table of queues."""
    return table(QUEUES, [_queue(row, size) for row in rows], size)


def _queue(row: QueueRow, size: Size) -> list[Cell]:
    idle = bool(row.ready) and not row.consumers
    late = row.limit is not None and (row.oldest or 0) > row.limit
    return [
        row.queue,
        number(row.ready),
        number(row.unacked),
        Text("paused", style="yellow")
        if row.paused
        else Text(number(row.consumers), style="bold red" if idle else ""),
        rate(row.published),
        rate(row.acked),
        Text(sparkline(row.throughput, _TREND, size), style="green"),
        Text(sparkline(row.backlog, _TREND, size), style="cyan"),
        Text(short(row.oldest) if row.oldest or row.ready else "", style="bold red" * late),
        Text(number(row.dead), style="red" if row.dead else ""),
    ]


def workers(rows: Iterable[WorkerRow], size: Size) -> list[Text]:
    """Return the table of workers."""
    return table(WORKERS, [_worker(row) for row in rows], size)


def _worker(row: WorkerRow) -> list[Cell]:
    slow = row.lag is not None and row.lag >= _SLOW
    return [
        row.name,
        row.queues,
        number(row.running),
        rate(row.rate),
        Text(short(row.lag), style="yellow" if slow else ""),
        memory(row.memory),
        Text(one_line(row.state), style="green" if row.healthy else "bold red"),
    ]


def runs(rows: Iterable[RunRow], size: Size) -> list[Text]:
    """Return the table of runs."""
    shown = list(rows)
    length = _length([row.id for row in shown], size)
    return table(_with_ids(RUNS, length), [_run(row, length) for row in shown], size)


def _run(row: RunRow, length: int) -> list[Cell]:
    progress = f"blocks the loop {row.progress}".rstrip() if row.blocking else row.progress
    return [
        Text(one_line(row.task), style="bold red" if row.blocking else ""),
        row.id[:length],
        short(row.seconds),
        str(row.attempt),
        row.worker,
        Text(one_line(progress), style="bold red" if row.blocking else ""),
    ]


def failures(rows: Iterable[FailureRow], now: float, size: Size) -> list[Text]:
    """Return the table of failures."""
    shown = list(rows)
    length = _length([row.id for row in shown], size)
    return table(_with_ids(FAILURES, length), [_failure(row, now, length) for row in shown], size)


def _failure(row: FailureRow, now: float, length: int) -> list[Cell]:
    ago = short(max(0, round(now - row.at))) if row.at else ""
    first = row.error.strip().partition("\n")[0]
    reason = Text(one_line(row.reason), style="red")
    return [ago, row.task, row.id[:length], reason, row.queue, first]


def _length(ids: Sequence[str], size: Size) -> int:
    """Return the number of characters of ids that are shown: as many as tell them apart."""
    return _WHOLE if size.width >= _WIDE else distinguishing_length(ids, _ID)


def _with_ids(columns: Sequence[Column], length: int) -> list[Column]:
    """Return columns of which the one with ids is not narrower than its ids."""
    least = min(length, _WHOLE)
    return [replace(one, least=least) if one.title == "ID" else one for one in columns]


def dead(rows: Iterable[DeadRow], size: Size) -> list[Text]:
    """Return the table of dead letters by queue and reason."""
    cells: list[list[Cell]] = [
        [row.queue, row.reason, number(row.messages), short(row.oldest)] for row in rows
    ]
    return table(DEAD, cells, size)


def delays(snapshot: Snapshot, size: Size) -> list[Text]:
    """Return the table of delayed messages by waiting time; those without messages are left out."""
    waiting = sorted((seconds, n) for seconds, n in snapshot.delays.items() if n)
    cells: Sequence[list[Cell]] = [[format_seconds(one), number(n)] for one, n in waiting]
    if not cells:
        return [Text("No message is delayed.", style="dim")]
    return table(DELAYS, cells, size)
