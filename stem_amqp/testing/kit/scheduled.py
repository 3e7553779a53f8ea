"""The schedules of an application in memory: its ticks become tasks as a test moves the clock."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from stem_amqp.app import Stem
from stem_amqp.errors import DuplicateTaskError
from stem_amqp.schedules import Schedule, Tick, missed_ticks, ticks
from stem_amqp.tasks.call import Call
from stem_amqp.transport.memory import ManualClock


class Scheduled:
    """Enqueues the ticks of an application's schedules.

    Args:
        app: the application.
        clock: moved by hand; ticks later than its present time are enqueued.
    """

    def __init__(self, app: Stem, clock: ManualClock) -> None:
        self._app = app
        self._clock = clock
        self._seen = clock.time()
        self._order = itertools.count()
        self._next: list[tuple[float, int, Tick, Schedule, Iterator[Tick]]] = []
        self._due: list[tuple[float, int, Tick, Schedule]] = []

    def look_ahead(self, end: float) -> None:
        """Let the ticks up to a time become due at their times.

        If the clock was moved elsewhere since the last call, there was no scheduler meanwhile, and each
        schedule's misfire policy decides which of these ticks run.

        Args:
            end: seconds since the epoch.
        """
        now = self._clock.time()
        for schedule in self._app.blueprint.schedules.values():
            grace = max(self._seen, now - schedule.misfire.grace)
            late = [*missed_ticks(schedule, self._seen, now), *ticks(schedule, grace, now)]
            for tick in late if now > self._seen else ():
                heapq.heappush(self._due, (tick.due, next(self._order), tick, schedule))
            self._read_next(schedule, ticks(schedule, now, end))
        self._seen = max(now, end)

    def next_due(self) -> float | None:
        """Return the time of the next tick, with its jitter; None if there is none."""
        # With jitter, a later tick of another schedule may be due earlier
        while self._next and (not self._due or self._next[0][0] <= self._due[0][0]):
            _, _, tick, schedule, rest = heapq.heappop(self._next)
            heapq.heappush(self._due, (tick.due, next(self._order), tick, schedule))
            self._read_next(schedule, rest)
        return self._due[0][0] if self._due else None

    async def enqueue_due(self) -> None:
        """Enqueue the ticks that are due at the clock's time."""
        now = self._clock.time()
        while (due := self.next_due()) is not None and due <= now:
            _, _, tick, schedule = heapq.heappop(self._due)
            # A unique task that still runs, or a throttled one, drops this tick
            with suppress(DuplicateTaskError):
                await self._app.enqueue_call(self._call(tick, schedule))

    def _read_next(self, schedule: Schedule, rest: Iterator[Tick]) -> None:
        tick = next(rest, None)
        if tick is not None:
            heapq.heappush(self._next, (tick.at, next(self._order), tick, schedule, rest))

    def _call(self, tick: Tick, schedule: Schedule) -> Call:
        return Call(
            task=schedule.task,
            args=schedule.args,
            options=replace(schedule.options, task_id=tick.id),
            definition=self._app.blueprint.registry.get(schedule.task),
        )
