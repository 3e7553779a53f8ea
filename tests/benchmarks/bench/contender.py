"""What is measured: the contract that every framework and client is fitted to."""

from __future__ import annotations

import asyncio
import os
import sys
from abc import ABC, abstractmethod
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from bench import broker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from bench.run import Run

WINDOW = 500
"""Publishes that await their confirm at a time, where the caller decides that."""
PYTHON = sys.executable
BIN = Path(PYTHON).parent


class UnsupportedError(Exception):
    """The contender cannot do this as it is installed here; the message says why."""


class Producer(Protocol):
    """Enqueues tasks; opened and closed by `Contender.producer`."""

    async def enqueue(self, task: str, number: int, due: float | None = None) -> None:
        """Enqueue one, and return when the broker has confirmed it.

        Args:
            task: a name of `bench.work`.
            number: its argument.
            due: when it is to run, in seconds since the epoch; None is at once.
        """

    async def enqueue_many(
        self, task: str, numbers: Sequence[int], due: Mapping[int, float] | None = None
    ) -> None:
        """Enqueue many in the fastest documented way; all confirmed when it returns."""


class Contender(ABC):
    """A framework or client, with the settings that are fair to it."""

    name: str
    """For the command line and the report."""
    packages: tuple[str, ...]
    """Distributions whose versions are reported."""
    loop: str
    """``uvloop``, ``asyncio``, or ``none`` where there is no event loop."""
    durability: str
    """How it is made durable: persistence, confirms, queue type, time of the ack."""
    settings: tuple[str, ...]
    """What is set, and why: one sentence each."""
    blanks: ClassVar[Mapping[str, str | None]] = {}
    """Pattern of case names to why they are left out; the first that matches counts, None runs."""

    def blank(self, case: str) -> str | None:
        """Return why a case is left out, or None."""
        return next((why for like, why in self.blanks.items() if fnmatchcase(case, like)), None)

    @abstractmethod
    def producer(self, run: Run) -> AbstractAsyncContextManager[Producer]:
        """Return a context manager of a `Producer`; what it needs is declared when it opens."""

    @abstractmethod
    def workers(self, run: Run) -> list[list[str]]:
        """Return the command lines that start the workers."""

    def environment(self, run: Run) -> dict[str, str]:
        """Return more variables for the workers."""
        return {}

    def queue(self, run: Run) -> str:
        """Return the name of the work queue on the broker."""
        return run.name

    def queues(self, run: Run) -> tuple[str, ...]:
        """Return every queue that a run leaves behind."""
        return (self.queue(run),)

    def exchanges(self, run: Run) -> tuple[str, ...]:
        """Return every exchange that a run leaves behind."""
        return ()

    async def prepare(self, run: Run) -> None:  # noqa: B027 - most have nothing to look at
        """Look at the broker before anything of a run is on it."""

    async def clean(self, run: Run) -> None:
        """Delete what a run has left on the broker."""
        await broker.delete(run.url, queues=self.queues(run), exchanges=self.exchanges(run))


async def in_flight(
    send: Callable[[int], Awaitable[object]], numbers: Iterable[int], window: int = WINDOW
) -> None:
    """Send every number, with at most ``window`` on their way."""
    remaining = iter(numbers)

    async def lane() -> None:
        for number in remaining:
            await send(number)

    await asyncio.gather(*(lane() for _ in range(window)))


def inherited(run: Run, more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker: this process's, the run, and what a contender adds."""
    return {**os.environ, **run.environment(), **more}
