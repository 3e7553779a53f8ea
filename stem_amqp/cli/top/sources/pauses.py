"""What is paused: read from the store in the background, so that a slow store delays no frame."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stem_amqp.app import Stem
from stem_amqp.cancellation import end
from stem_amqp.errors import BrokerError
from stem_amqp.health import HeldLine, read_pauses
from stem_amqp.text import count
from stem_amqp.transport.base import Transport

INTERVAL = 5.0
"""Seconds between two reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pauses:
    """What was read last.

    Args:
        queues: who paused a queue, and why, by its name.
        tasks: a line for each paused task.
        problem: why it is not known; empty if it is.
    """

    queues: Mapping[str, str] = field(default_factory=dict)
    tasks: Sequence[str] = ()
    problem: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each paused queue and task."""
        of_queues = (f"{queue} is paused {why}" for queue, why in self.queues.items())
        return (*of_queues, *self.tasks)


class PauseSource:
    """Reads what is paused, at most every `INTERVAL`.

    Args:
        app: the application; it need not be connected.
        transport: connected when it is read.
        queues: the logical queues.
    """

    def __init__(self, app: Stem, transport: Transport, queues: Sequence[str]) -> None:
        self._app = app
        self._transport = transport
        self._queues = queues
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self.last = Pauses()

    async def refresh(self, *, patient: bool) -> Pauses:
        """Return what was read last, and read again if that is old.

        Args:
            patient: whether to wait for the read.
        """
        now = time.monotonic()
        if now - self._read_at >= INTERVAL and (self._reading is None or self._reading.done()):
            self._read_at = now
            self._reading = asyncio.create_task(self._read(), name="stem-amqp top pauses")
        if patient and self._reading is not None:
            await self._reading
        return self.last

    async def _read(self) -> None:
        try:
            stored = await read_pauses(self._app, self._transport)
            held = await stored.held(self._app, self._transport)
        except BrokerError as error:
            self.last = Pauses(problem=str(error).partition("\n")[0])
            return
        queues = {queue: why for queue in self._queues if (why := stored.of_queue(queue))}
        tasks = stored.paused_tasks()
        self.last = Pauses(
            queues=queues,
            tasks=[*(f"{what} is paused {why}" for what, why in tasks), *map(_waiting, held)],
            problem=stored.unknown,
        )

    async def close(self) -> None:
        """Stop reading."""
        await end(self._reading)


def _waiting(line: HeldLine) -> str:
    resumed = "" if line.paused else ", which is resumed"
    waiting = count(line.messages or 0, "message")
    return f"{waiting} of task {line.task}{resumed}, wait in {line.name}"
