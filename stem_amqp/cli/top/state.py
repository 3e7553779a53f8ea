"""The state of the display, and how keys change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from stem_amqp.cli.top.selection import ORDERS, rows
from stem_amqp.cli.top.snapshot import DeadRow, FailureRow, Row, Snapshot, View, WorkerRow

VIEWS = tuple(View)
_PAGE = 10
_FILTER = 60
"""The most characters of a filter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What the user has chosen.

    Args:
        view: the view.
        pattern: the filter; empty shows all.
        typing: whether keys change the filter.
        orders: the number of the sort order, by view.
        cursor: the number of the selected row.
        opened: the row whose page is shown; None shows the view.
        scroll: the first line of that page.
        paused: whether the data stays as it is.
        help: whether the keys are explained.
        quit: whether to end.
    """

    view: View = View.QUEUES
    pattern: str = ""
    typing: bool = False
    orders: Mapping[View, int] = field(default_factory=dict)
    cursor: int = 0
    opened: Row | None = None
    scroll: int = 0
    paused: bool = False
    help: bool = False
    quit: bool = False

    @property
    def order(self) -> int:
        """The number of the sort order of the view."""
        return self.orders.get(self.view, 0)

    def rows(self, snapshot: Snapshot) -> list[Row]:
        """Return the rows of the view as they are shown."""
        return rows(snapshot, self.view, self.pattern, self.order)


def press(state: State, key: str, snapshot: Snapshot) -> State:
    """Return the state after a key.

    Args:
        state: the state.
        key: a character, or the name of a key; see `stem_amqp.cli.top.keys`.
        snapshot: what is shown.
    """
    if key == "ctrl-c":
        return replace(state, quit=True)
    if state.typing:
        return _edit(state, key)
    if state.help:
        return replace(state, help=False, quit=key == "q")
    if state.opened is not None:
        return _read(state, key)
    if key in _COMMANDS:
        return _COMMANDS[key](state)
    if key == "enter":
        return _open(state, snapshot)
    return _move(state, key, len(state.rows(snapshot)))


def refreshed(state: State, snapshot: Snapshot) -> State:
    """Return the state with the opened page as in newer data."""
    opened = state.opened
    if isinstance(opened, WorkerRow):
        workers = (row for row in snapshot.workers if row.name == opened.name)
        return replace(state, opened=next(workers, opened))
    if isinstance(opened, FailureRow) and opened.traceback is None:
        name = (opened.queue, opened.id)
        letters = (row for row in snapshot.failures if (row.queue, row.id) == name)
        return replace(state, opened=next(letters, opened))
    return state


def _edit(state: State, key: str) -> State:
    if key == "enter":
        return replace(state, typing=False)
    if key == "escape":
        return replace(state, typing=False, pattern="", cursor=0)
    if key == "backspace":
        return replace(state, pattern=state.pattern[:-1], cursor=0)
    if len(key) == 1 and key.isprintable():
        return replace(state, pattern=(state.pattern + key)[:_FILTER], cursor=0)
    return state


def _read(state: State, key: str) -> State:
    """Scroll a page, or close it."""
    if key == "q":
        return replace(state, quit=True)
    if key in {"escape", "enter", "backspace", "left"}:
        return replace(state, opened=None, scroll=0)
    if key == "p":
        return replace(state, paused=not state.paused)
    return replace(state, scroll=_moved(state.scroll, key, None))


def _move(state: State, key: str, count: int) -> State:
    return replace(state, cursor=min(_moved(state.cursor, key, count), max(0, count - 1)))


def _moved(position: int, key: str, count: int | None) -> int:
    steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -_PAGE, "pagedown": _PAGE, " ": _PAGE}
    if key in {"home", "g"}:
        return 0
    if key in {"end", "G"}:
        return position if count is None else max(0, count - 1)
    return max(0, position + steps.get(key, 0))


def _open(state: State, snapshot: Snapshot) -> State:
    """Open the page of the selected row; for dead letters, list the failures with its reason."""
    found = state.rows(snapshot)
    if not found:
        return state
    row = found[min(state.cursor, len(found) - 1)]
    if isinstance(row, FailureRow | WorkerRow):
        return replace(state, opened=row, scroll=0)
    if isinstance(row, DeadRow):
        known = any(one.reason == row.reason for one in snapshot.failures)
        pattern = row.reason if known else row.queue
        return replace(state, view=View.FAILURES, pattern=pattern, cursor=0)
    return state


def _show(view: View) -> Callable[[State], State]:
    return lambda state: replace(state, view=view, cursor=0)


def _turn(step: int) -> Callable[[State], State]:
    def turned(state: State) -> State:
        number = (VIEWS.index(state.view) + step) % len(VIEWS)
        return replace(state, view=VIEWS[number], cursor=0)

    return turned


def _sort(state: State) -> State:
    number = (state.order + 1) % len(ORDERS[state.view])
    return replace(state, orders={**state.orders, state.view: number}, cursor=0)


_COMMANDS: dict[str, Callable[[State], State]] = {
    "q": lambda state: replace(state, quit=True),
    "?": lambda state: replace(state, help=True),
    "h": lambda state: replace(state, help=True),
    "p": lambda state: replace(state, paused=not state.paused),
    "/": lambda state: replace(state, typing=True),
    "escape": lambda state: replace(state, pattern="", cursor=0),
    "s": _sort,
    "tab": _turn(1),
    "right": _turn(1),
    "backtab": _turn(-1),
    "left": _turn(-1),
    **{str(number): _show(view) for number, view in enumerate(VIEWS, 1)},
}
