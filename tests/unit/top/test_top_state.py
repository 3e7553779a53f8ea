"""Keys change the state of ``stem-amqp top``, and nothing else does."""

import pytest
from top_rows import snapshot

from stem_amqp.cli.top.keys import names
from stem_amqp.cli.top.snapshot import DeadRow, View
from stem_amqp.cli.top.state import State, press, refreshed


def pressed(*keys, state=None, data=None):
    """Return the state after some keys."""
    state = state or State()
    for key in keys:
        state = press(state, key, data or snapshot())
    return state


@pytest.mark.parametrize(
    ("keys", "view"),
    [
        (["2"], View.WORKERS),
        (["tab", "tab"], View.FAILURES),
        (["backtab"], View.DEAD),
        (["4", "tab"], View.QUEUES),
    ],
)
def test_views(keys, view):
    """Numbers choose a view, and Tab goes to the next one."""
    assert pressed(*keys).view is view


@pytest.mark.parametrize(
    "keys", [["q"], ["ctrl-c"], ["?", "q"], ["/", "ctrl-c"], ["3", "enter", "q"]]
)
def test_quit(keys):
    """The display can be quit from everywhere."""
    assert pressed(*keys).quit


def test_the_filter():
    """Characters after a slash are the filter, not commands; Escape removes it."""
    state = pressed("/", *"pqs", "backspace")
    assert (state.pattern, state.typing, state.quit) == ("pq", True, False)
    state = pressed("enter", state=state)
    assert (state.pattern, state.typing) == ("pq", False)
    assert pressed("escape", state=state).pattern == ""
    assert pressed("escape", state=pressed("/", "a")).pattern == ""


@pytest.mark.parametrize(
    ("pattern", "count"), [("ORD", 1), ("*s", 2), ("none", 0), ("a-very-*", 1), ("", 3)]
)
def test_filtered_rows(pattern, count):
    """A filter is a part of a name or a glob."""
    assert len(State(pattern=pattern).rows(snapshot())) == count


def test_sort_orders():
    """The key s goes through the orders of a view, and each view has its own."""
    state = pressed("s", "s", "s", "s", "s")
    names_of = [row.queue for row in state.rows(snapshot())]
    assert names_of == sorted(names_of)
    assert pressed("2", state=state).order == 0
    assert pressed("s", state=state).order % 6 == 0
    ready = [row.ready for row in pressed("s").rows(snapshot())]
    assert ready == sorted(ready, reverse=True)


def test_the_cursor_stays_in_the_rows():
    """The cursor neither leaves the rows nor stays behind a filter that has fewer."""
    assert pressed("down", "down", "down", "down").cursor == 2
    assert pressed("up").cursor == 0
    assert pressed("3", "end").cursor == 39
    assert pressed("3", "pagedown", "pagedown", "home").cursor == 0
    assert pressed("down", "/", "o").cursor == 0


def test_a_page_opens_and_closes():
    """Enter opens the selected failure, and Escape closes it."""
    state = pressed("3", "down", "enter")
    assert state.opened == snapshot().failures[1]
    state = pressed("pagedown", "p", state=state)
    assert (state.scroll, state.paused) == (10, True)
    assert pressed("escape", state=state).opened is None


def test_enter_without_rows_does_nothing():
    """There is nothing to open in an empty view."""
    assert pressed("3", "enter", data=snapshot(failures=())).opened is None


def test_enter_on_dead_letters_lists_the_failures():
    """From the number of dead letters with a reason to these letters."""
    state = pressed("4", "enter")
    assert state.view is View.FAILURES
    assert {row.reason for row in state.rows(snapshot())} == {"retries-exhausted"}
    unread = snapshot(dead=(DeadRow(queue="orders", reason="not read yet", messages=1),))
    assert len(pressed("4", "enter", data=unread).rows(unread)) == 40


def test_an_open_page_shows_newer_data():
    """The page of a worker follows its heartbeats, and a failure gets its traceback."""
    data = snapshot()
    opened = pressed("2", "enter").opened
    assert refreshed(State(opened=opened), snapshot(workers=data.workers[1:])).opened is opened
    failure = data.failures[0]
    unread = type(failure)(at=1.0, queue="orders", task="t", id=failure.id, reason="")
    assert refreshed(State(opened=unread), data).opened == failure


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x1b[A", ["up"]),
        (b"\x1b", ["escape"]),
        (b"ab\x1b[Bc", ["a", "b", "down", "c"]),
        (b"\r\t\x7f\x1b[Z\x1b[5~", ["enter", "tab", "backspace", "backtab", "pageup"]),
        ("é世".encode(), ["é", "世"]),
        (b"\x03", ["ctrl-c"]),
        (b"\x1b[1;5P\x00\xff", []),
    ],
)
def test_names_of_keys(data, expected):
    """The bytes of a terminal are named; unknown ones are ignored."""
    assert list(names(data)) == expected
