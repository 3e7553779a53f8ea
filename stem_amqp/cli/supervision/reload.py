"""A worker process that is restarted when its code changes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from stem_amqp.cli.exit_codes import ExitCode
from stem_amqp.cli.supervision.signal_handlers import STOPPING, on_signals
from stem_amqp.cli.supervision.supervisor import Slot
from stem_amqp.errors import ConfigurationError

WatchFilter: TypeAlias = Callable[[Any, str], bool]
"""Returns whether a change of a path is relevant."""
WATCHED = (".py", ".yaml", ".yml")
"""Suffixes of the watched files."""


class Reloader:
    """Keeps one worker process running with the current code.

    Args:
        command: its command line.
        changes: yields changed files after each change; None does not watch files.
        patience: maximum seconds for the process to stop, after which it is killed.
        report: called with a line for each event.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        changes: AsyncIterator[Sequence[Path]] | None,
        patience: float,
        report: Callable[[str], None],
    ) -> None:
        self._command = command
        self._changes = changes
        self._patience = patience
        self._report = report
        self._slot = Slot(1)
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()

    async def run(self) -> int:
        """Run until a signal stops it, and return the exit code.

        Without `changes` it also ends when the process exits. After it the signals are ignored.
        """
        with on_signals(dict.fromkeys(STOPPING, self._stop)):
            watching = asyncio.create_task(self._watch())
            try:
                while not self._stopping.is_set():
                    code = await self._run_once()
                    if self._changes is None and not self._stopping.is_set():
                        return code
                return ExitCode.OK
            finally:
                watching.cancel()
                await asyncio.wait({watching})

    def _stop(self) -> None:
        self._stopping.set()
        self._slot.send(signal.SIGTERM)  # a second one shortens the grace time

    async def _watch(self) -> None:
        if self._changes is None:
            return
        async for files in self._changes:
            names = ", ".join(sorted({file.name for file in files})[:3])
            if not self._changed.is_set():
                self._report(f"{names} changed: restarting the worker")
            self._changed.set()

    async def _run_once(self) -> int:
        """Run a process until it exits or must stop; if it exited, wait for a change."""
        self._changed.clear()
        await self._slot.start(self._command)
        ended = asyncio.create_task(self._slot.ended())
        await _first_of(_wait(ended), self._stopping.wait(), self._changed.wait())
        if self._slot.alive:
            self._slot.send(signal.SIGTERM)
            await asyncio.wait({ended}, timeout=self._patience)
            if not ended.done():
                self._report(f"the worker did not stop within {self._patience:g} s: killing it")
                self._slot.send(signal.SIGKILL)
        elif self._changes is not None and not self._stopping.is_set():
            self._report(f"the worker {self._slot.exit_reason}; it restarts once a file changes")
            await _first_of(self._stopping.wait(), self._changed.wait())
        await ended
        return self._slot.exit_code


async def changes_of(folders: Iterable[Path]) -> AsyncIterator[Sequence[Path]]:
    """Yield the changed source and topology files below some folders after each change.

    Args:
        folders: the folders; folders of tools (``.git``, ``.venv``, …) are ignored.

    Raises:
        ConfigurationError: watchfiles is not installed.
    """
    watch, wanted = _watcher()
    async for changed in watch(*folders, watch_filter=wanted):
        yield [Path(path) for _, path in changed]


def check_watcher() -> None:
    """Check that changes can be watched.

    Raises:
        ConfigurationError: watchfiles is not installed.
    """
    _watcher()


def _watcher() -> tuple[Callable[..., AsyncIterator[set[tuple[Any, str]]]], WatchFilter]:
    try:
        from watchfiles import DefaultFilter, awatch  # noqa: PLC0415 an extra
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "the worker cannot restart when code changes: watchfiles is not installed.\n"
            "  pip install 'stem-amqp[dev]', or disable it: --no-reload"
        ) from error
    usual = DefaultFilter()
    return awatch, lambda change, path: path.endswith(WATCHED) and usual(change, path)


async def _wait(task: asyncio.Task[None]) -> None:
    await asyncio.wait({task})


async def _first_of(*events: Awaitable[object]) -> None:
    waiting = {asyncio.ensure_future(event) for event in events}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
