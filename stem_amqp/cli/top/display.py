"""The live display: draws a frame each second, after each key and after each change of the size."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from stem_amqp.cancellation import end
from stem_amqp.cli.top.frame import frame
from stem_amqp.cli.top.snapshot import FailureRow, Snapshot
from stem_amqp.cli.top.sources.collector import Collector
from stem_amqp.cli.top.state import State, press, refreshed
from stem_amqp.cli.top.terminal import screen

_TICK = 1.0
"""Seconds until the next frame if nothing happens."""
_ATTEMPTS = 10
"""Frames in which an unread dead letter is asked for; RabbitMQ counts it up to 5 seconds late."""


class Display:
    """The state and the data that are shown.

    Args:
        pattern: the filter at the beginning.
        on_unread: called with an opened failure whose dead letter is not read yet.
    """

    def __init__(self, pattern: str, on_unread: Callable[[FailureRow], None]) -> None:
        self._on_unread = on_unread
        self._attempts = _ATTEMPTS
        self.state = State(pattern=pattern)
        self.shown = Snapshot(at=time.time())
        self.changed = asyncio.Event()

    def press(self, key: str) -> None:
        """Apply a key."""
        before = self.state.opened
        self.state = press(self.state, key, self.shown)
        if self.state.opened is not before:
            self._attempts = _ATTEMPTS
        self.changed.set()

    def update(self, snapshot: Snapshot) -> None:
        """Show other data, unless the display is paused."""
        if not self.state.paused:
            self.shown = replace(snapshot, at=time.time())
            self.state = refreshed(self.state, self.shown)
        opened = self.state.opened
        if isinstance(opened, FailureRow) and opened.traceback is None and self._attempts:
            self._attempts -= 1
            self._on_unread(opened)

    async def wait(self) -> None:
        """Wait for a change, at most until the next frame is due."""
        try:
            async with asyncio.timeout(_TICK):
                await self.changed.wait()
        except TimeoutError:
            pass
        self.changed.clear()


async def display(collector: Collector, *, pattern: str, interval: float) -> None:
    """Show the data of a collector until the user quits.

    Args:
        collector: the data.
        pattern: the filter at the beginning.
        interval: the least seconds between two measurements.
    """
    shown = Display(pattern, collector.read_again)
    collecting = asyncio.create_task(collector.run(interval, shown.changed.set))
    try:
        with screen(shown.press, shown.changed.set) as terminal:
            while not shown.state.quit and not collecting.done():
                shown.update(collector.snapshot)
                terminal.draw(frame(shown.state, shown.shown, terminal.size))
                await shown.wait()
    finally:
        await end(collecting)
    if not collecting.cancelled():
        collecting.result()
