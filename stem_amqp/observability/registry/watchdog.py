"""Notices in a thread of its own that the event loop of a worker is blocked, and says by what."""

from __future__ import annotations

import asyncio
import logging
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any

import stem_amqp.observability as own
from stem_amqp.durations import format_seconds
from stem_amqp.errors import StemError
from stem_amqp.observability.loop_lag import LoopLag
from stem_amqp.observability.registry.heartbeat import STACK, BlockedLoop

log = logging.getLogger("stem_amqp.worker")

LIMIT = 1.0
"""Seconds from which a loop that does not turn counts as blocked."""
CHECK = 0.5
"""Seconds between two looks at the loop."""
_LIBRARIES = (
    *(
        sysconfig.get_paths()[name]
        for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    ),
    "<frozen ",
    str(Path(own.__file__).parents[1]),
)
"""The folders of code that is not the application's."""

Blocked = Callable[[], BlockedLoop | None]
"""Returns what blocks the loop; None if it turns."""
ReportBlocked = Callable[[Blocked], Coroutine[Any, Any, None]]
"""Reports to other processes that the loop is blocked, until it turns."""
RunIn = Callable[[asyncio.Task[Any]], tuple[str, str] | None]
"""Returns name and id of the task whose run an asyncio task belongs to."""


class Watchdog:
    """Watches the event loop in which it is started.

    Python runs one thread at a time: code in C that holds its lock, such as a regular expression, also
    stops this thread.

    Args:
        lag: the measurement of the loop, which runs.
        run_in: returns the run that an asyncio task belongs to.
        report: called in an event loop of the watchdog's own while the loop is blocked; None: a blocked loop
            is only logged.
    """

    def __init__(self, lag: LoopLag, run_in: RunIn, report: ReportBlocked | None) -> None:
        self._lag = lag
        self._run_in = run_in
        self._report = report
        self._stopping = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="stem-amqp watchdog", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, within the next `CHECK`; this call does not wait for it."""
        self._stopping.set()

    def blocked(self) -> BlockedLoop | None:
        """Return what blocks the loop; None if it turns, or the watchdog stops."""
        seconds = self._lag.overdue
        if seconds < LIMIT or self._stopping.is_set():
            return None
        try:
            task = asyncio.current_task(self._loop)
            run = None if task is None else self._run_in(task)
        except RuntimeError:  # the loop turned meanwhile, and changed what was read
            task, run = None, None
        frame = sys._current_frames().get(self._watched)  # noqa: SLF001 - documented for this
        return BlockedLoop(
            seconds=round(seconds, 3),
            task=run[0] if run is not None else _name(task),
            id=None if run is None else run[1],
            place="" if frame is None else _place(frame),
            stack="" if frame is None else _stack(frame),
        )

    def _watch(self) -> None:
        while not self._stopping.wait(CHECK):
            blocked = self.blocked()
            if blocked is None:
                continue
            log.warning("%s", _described(blocked))
            if self._report is not None:
                self._run(self._report)
            while self._lag.overdue >= LIMIT and not self._stopping.wait(CHECK):
                pass

    def _run(self, report: ReportBlocked) -> None:
        try:
            asyncio.run(report(self.blocked))
        except StemError as error:
            log.debug("no other process knows that the loop is blocked: %s", error)
        except Exception:
            log.exception("the watchdog of the event loop failed")


def _described(blocked: BlockedLoop) -> str:
    what = "a callback" if blocked.task is None else f"task {blocked.task}"
    if blocked.id is not None:
        what += f" {blocked.id}"
    return (
        f"the event loop is blocked for {format_seconds(blocked.seconds)} by {what} at"
        f" {blocked.place or 'an unknown place'}: the worker can neither start nor settle tasks meanwhile."
        " Make the task a plain function (def), which runs in a thread, or call what blocks with"
        " asyncio.to_thread"
    )


def _name(task: asyncio.Task[Any] | None) -> str | None:
    """Return a name for an asyncio task that belongs to no run."""
    if task is None:
        return None
    return getattr(task.get_coro(), "__qualname__", None) or task.get_name()


def _stack(frame: FrameType) -> str:
    """Return the calls from the application's outermost one on, or all without one."""
    calls = traceback.extract_stack(frame)
    begin = next((n for n, call in enumerate(calls) if not _in_library(call.filename)), 0)
    return "".join(traceback.format_list(calls[begin:]))[-STACK:]


def _in_library(file: str) -> bool:
    return file.startswith(_LIBRARIES)


def _place(frame: FrameType) -> str:
    """Return the innermost place in the application's code, or just the innermost one."""
    innermost: FrameType = frame
    outer: FrameType | None = frame
    while outer is not None and _in_library(outer.f_code.co_filename):
        outer = outer.f_back
    shown = innermost if outer is None else outer
    code = shown.f_code
    return f"{code.co_filename}:{shown.f_lineno} in {code.co_name}"
