"""The progress of the demo: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from examples.orders.events import RUNNING, WAITING
from examples.orders.gateway import Gateway

QUEUED, SUCCEEDED, DEAD = "queued", "succeeded", "dead"
BARS = {
    QUEUED: ("queued", "cyan"),
    RUNNING: ("running", "blue"),
    WAITING: ("waiting for retry", "yellow"),
    SUCCEEDED: ("succeeded", "green"),
    DEAD: ("dead letters", "red"),
}
FINAL = frozenset({SUCCEEDED, DEAD})
REFRESH = 0.1
PLAIN_REFRESH = 2.0
WIDEST = 120
NOTES = 4
"""Number of notes that stay visible below the bars."""


class Board:
    """The states of all tasks, and their display.

    Args:
        console: the console to write to.
        gateway: the gateway whose counters are shown.
    """

    def __init__(self, console: Console, gateway: Gateway) -> None:
        self.console = console
        self.states: dict[str, str] = {}
        self._gateway = gateway
        self._begun = time.monotonic()
        self._notes: deque[Text] = deque(maxlen=NOTES)
        self._live = False

    def queue(self, task_ids: Iterable[str]) -> None:
        """Record tasks that were enqueued, for the first time or again."""
        self.states.update(dict.fromkeys(task_ids, QUEUED))

    def forget(self, task_ids: Iterable[str]) -> None:
        """Remove tasks from the display."""
        for task_id in task_ids:
            self.states.pop(task_id, None)

    def record(self, task_id: str, state: str) -> None:
        """Record a task's state; a final state is kept even if a worker's report arrives later."""
        if self.states.get(task_id) not in FINAL:
            self.states[task_id] = state

    def note(self, text: str, style: str = "") -> None:
        """Print an event."""
        line = Text.assemble((f"{self.elapsed():5.1f} s  ", "dim"), (text, style))
        self._notes.append(line)
        if not self._live:
            self.console.print(line)

    @contextlib.asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        """Update the display during a block."""
        self._notes.clear()
        ticker = asyncio.create_task(self._bars() if self.console.is_terminal else self._lines())
        try:
            yield
        finally:
            ticker.cancel()
            await asyncio.gather(ticker, return_exceptions=True)

    async def _bars(self) -> None:
        self._live = True
        with Live(console=self.console, auto_refresh=False) as live:
            try:
                while True:
                    live.update(self._picture(), refresh=True)
                    await asyncio.sleep(REFRESH)
            finally:
                self._live = False
                live.update(self._picture(), refresh=True)

    async def _lines(self) -> None:
        while True:
            await asyncio.sleep(PLAIN_REFRESH)
            numbers = Counter(self.states.values())
            counts = "  ".join(f"{state} {numbers[state]}" for state in BARS)
            self.console.print(f"{self.elapsed():5.1f} s  {counts}", style="dim")

    def _picture(self) -> RenderableType:
        counts, total = Counter(self.states.values()), len(self.states)
        width = max(20, min(self.console.width, WIDEST) - 26)
        table = Table.grid(padding=(0, 1))
        table.add_column(width=17)
        table.add_column(width=width)
        table.add_column(width=6, justify="right")
        for state, (label, color) in BARS.items():
            filled = _cells(counts[state], total, width)
            bar = Text.assemble(("█" * filled, color), ("░" * (width - filled), "bright_black"))
            table.add_row(Text(label, style=color), bar, f"{counts[state]:,}")
        return Group(Text(), table, Text(), self._gateway_line(), Text(), *self._notes)

    def _gateway_line(self) -> Text:
        gateway = self._gateway
        return Text.assemble(
            ("payment gateway   ", "magenta"),
            f"{len(gateway.ledger):,} payments  ",
            (f"{gateway.failed:,} failed (503)  {gateway.refused:,} refused (429)", "dim"),
        )

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._begun


def _cells(count: int, total: int, width: int) -> int:
    """Return the length of a bar; it is at least one character if the count is not zero."""
    return 0 if count == 0 else max(1, round(width * count / total))
