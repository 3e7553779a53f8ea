"""Frames of ``stem-amqp top`` fit the terminal, and show what they should."""

from dataclasses import replace

import pytest
from rich.cells import cell_len
from top_rows import AT, snapshot

from stem_amqp.cli.top.frame import frame, text_frame
from stem_amqp.cli.top.layout import Size, sparkline
from stem_amqp.cli.top.numbers import number, rate, short
from stem_amqp.cli.top.snapshot import Snapshot, View
from stem_amqp.cli.top.state import State

SIZES = [(80, 24), (60, 20), (120, 40), (200, 60), (20, 6), (3, 2)]
STATES = {
    "queues": State(),
    "workers": State(view=View.WORKERS, cursor=1),
    "failures": State(view=View.FAILURES, cursor=30),
    "dead": State(view=View.DEAD),
    "filter": State(view=View.FAILURES, pattern="nothing has this text", typing=True),
    "help": State(help=True),
    "paused": State(paused=True, cursor=99),
    "failure": State(opened=snapshot().failures[0], scroll=1000),
    "worker": State(opened=snapshot().workers[0]),
}
DATA = {
    "all": snapshot(),
    "none": Snapshot(at=AT),
    "outage": snapshot(
        problem="no connection to 世界世界世界世界世界世界世界世界世界世界 " * 9,
        problem_since=AT - 70,
    ),
    "missing": snapshot(workers=(), missing={"workers": "workers: not available, " + "x" * 300}),
}


def texts(state, data, width, height, *, unicode=True):
    """Return the lines of a frame."""
    return [line.plain for line in frame(state, data, Size(width, height, unicode))]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("state", STATES)
def test_a_frame_fits(state, data, width, height):
    """No line is wider than the terminal, there are as many as its height, and none controls it."""
    lines = texts(STATES[state], DATA[data], width, height)
    assert len(lines) == height
    assert max(map(cell_len, lines)) <= width
    assert not any("\x1b" in line or "\n" in line for line in lines)


def test_the_queues_at_80_columns():
    """The first view shows queues with their numbers, and below them runs and failures."""
    lines = texts(State(), snapshot(), 80, 24)
    assert lines[0].startswith("stem-amqp top  stem on RabbitMQ 4.3.0")
    assert lines[0].endswith("08:00:00 UTC")
    assert "12352 ready, 6 delayed, 8 running, 1.5 out/s, 2 workers, 3 dead" in lines[1]
    heading = "QUEUE     READY UNACKED CONS IN/S OUT/S OUT, 1 MIN OLDEST DEAD"
    assert lines[3].split() == heading.split()
    assert lines[4].split()[:6] == ["orders", "12345", "8", "2", "35", "1.5"]
    body = "\n".join(lines)
    assert "RUNNING" in body
    assert "orders.sync_0" in body
    assert "blocks the loop" in body


def test_narrow_frames_leave_columns_out():
    """Names and numbers that matter most stay."""
    heading = texts(State(), snapshot(), 44, 20)[3]
    assert "READY" in heading
    assert "DEAD" in heading
    assert "1 MIN" not in heading
    assert "READY, 1 MIN" in texts(State(), snapshot(), 120, 40)[3]


def test_ids_of_one_millisecond_are_told_apart():
    """As many characters are shown as are needed."""
    same = "01a22d0b-0000-7ab"
    data = snapshot()
    two = [
        replace(data.runs[0], id=f"{same}{end}")
        for end in ("1-8000-aaaaaaaaaaaa", "2-8000-aaaaaaaaaaaa")
    ]
    body = texts(State(view=View.WORKERS), replace(data, runs=tuple(two)), 80, 24)
    assert [line for line in body if f"{same}1" in line]
    assert [line for line in body if f"{same}2" in line]
    apart = replace(data, runs=(two[0], replace(two[1], id="01a22d0b-1" + "0" * 26)))
    body = "\n".join(texts(State(view=View.WORKERS), apart, 80, 24))
    assert "01a22d0b-0000 " in body
    assert f"{same}1" not in body


def test_what_is_paused_is_shown_with_the_queues():
    """A queue shows it in its row, and a line below says who paused what."""
    data = snapshot()
    first = replace(data.queues[0], paused="by ann: ERP is down")
    lines = ("orders is paused by ann: ERP is down", "task orders.* is paused by bob")
    data = replace(data, queues=(first, *data.queues[1:]), pauses=lines)
    body = texts(State(), data, 80, 24)
    assert body[4].split()[:4] == ["orders", "12345", "8", "paused"]
    assert [line for line in lines if line not in body] == []
    assert not [line for line in lines if line in texts(State(view=View.WORKERS), data, 80, 24)]
    whole = [line.plain for line in text_frame(data, Size(120))]
    assert [line for line in lines if line not in whole] == []


def test_the_selected_row_is_visible():
    """The rows scroll with the cursor."""
    data = snapshot()
    for cursor in (0, 25, 39):
        lines = frame(State(view=View.FAILURES, cursor=cursor), data, Size(80, 24))
        marked = [
            line for line in lines if any(str(span.style) == "reverse" for span in line.spans)
        ]
        assert f"orders.sync_{cursor}" in marked[-1].plain


def test_a_page_has_all_that_is_known():
    """The page of a failure shows its facts and its traceback, wrapped and escaped."""
    body = "\n".join(texts(State(opened=snapshot().failures[0]), snapshot(), 60, 40))
    for text in ("01a22d0b-0000", "2027-01-15", "\\x1b[31mis wrong", "and more", "Traceback"):
        assert text in body
    unread = replace(snapshot().failures[0], traceback=None)
    assert "stem-amqp dlq show orders" in "\n".join(texts(State(opened=unread), snapshot(), 90, 40))
    worker = "\n".join(texts(State(opened=snapshot().workers[0]), snapshot(), 80, 40))
    assert "/app/shop.py:3 in spin" in worker
    assert "reports.build_7" in worker


def test_an_outage_is_named():
    """The line of totals is replaced by the outage and its duration."""
    assert texts(State(), DATA["outage"], 80, 24)[1].startswith("NO ANSWER for 1m")


def test_a_missing_source_is_named():
    """A view says why it has no rows."""
    lines = texts(State(view=View.WORKERS), DATA["missing"], 80, 24)
    assert "There is no worker." in lines
    assert any(line.startswith("workers: not available") for line in lines)


def test_a_worker_with_a_problem_is_named_in_other_views():
    """A blocked event loop is seen whatever view is shown."""
    assert "worker problem, see 2" in texts(State(), snapshot(), 80, 24)[2]


@pytest.mark.parametrize("width", [60, 80, 500])
def test_one_frame_as_text(width):
    """All sections are below each other, with every row."""
    lines = [line.plain for line in text_frame(snapshot(), Size(width))]
    assert max(map(cell_len, lines)) <= width
    assert sum("orders.sync_" in line for line in lines) == 40
    for title in ("QUEUE", "WORKER", "RUNNING", "DEAD LETTERS OF", "DELAY"):
        assert any(line.startswith(title) for line in lines), title
    assert ("01a22d0b-0039-7000-8000-000000000000" in "\n".join(lines)) == (width == 500)


def test_a_terminal_without_unicode():
    """The display itself uses only ASCII then."""
    data = snapshot(queues=snapshot().queues[:1], runs=(), workers=())
    lines = texts(State(), data, 60, 24, unicode=False)
    assert all(line.isascii() for line in lines)


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ((), "    "),
        ((0, 0), "  ▁▁"),
        ((0, 4, 8), " ▁▅█"),
        ((9, 1, 2, 3, 4), "▃▅▆█"),
        ((0.001,), "   █"),
    ],
)
def test_sparklines(values, bars):
    """The highest of the last values has the full height."""
    assert sparkline(values, 4, Size(80)) == bars


def test_numbers():
    """Numbers and times need few characters."""
    assert [number(one) for one in (0, 999_999, 2_500_000, 3e9)] == ["0", "999999", "2.5M", "3.0G"]
    assert [rate(one) for one in (0.0, 0.44, 35.2, 1250.0)] == ["0", "0.4", "35", "1250"]
    times = [short(one) for one in (0.0, 0.04, 12.0, 180.0, 7200.0, 500_000.0)]
    assert times == ["0ms", "40ms", "12s", "3m", "2h", "6d"]
