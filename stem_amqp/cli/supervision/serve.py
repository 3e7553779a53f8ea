"""Run one worker in this process until a signal stops it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stem_amqp import __version__
from stem_amqp.app import Stem
from stem_amqp.cli.alive import keep_alive_file
from stem_amqp.cli.exit_codes import ExitCode
from stem_amqp.cli.supervision.hangup import HangUp
from stem_amqp.cli.supervision.orphan import stop_without_parent
from stem_amqp.cli.supervision.ports import observed
from stem_amqp.cli.supervision.signal_handlers import STOPPING, Handlers, on_signals
from stem_amqp.cli.waiting import connected
from stem_amqp.signing.reload import reload_keys
from stem_amqp.text import redacted
from stem_amqp.worker.runner import Worker
from stem_amqp.worker.running.fork import own_signals

log = logging.getLogger("stem_amqp.cli")

LATENESS = 15.0
"""Seconds after the grace period at which a process that has not stopped counts as stuck."""
_THREADS = ("stem-amqp-task", "stem-amqp-default")
"""Name prefixes of the threads that run tasks' code."""
_SETTLING = 1.0
"""Maximum seconds for idle threads to notice that their pool is closed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """The options of a worker.

    Args:
        target: the application as ``module:attribute``.
        queues: the logical queues; empty for all.
        concurrency: concurrent tasks per queue; None uses topology and settings.
        prefetch: maximum unsettled deliveries per queue; None uses topology and settings.
        name: the worker's name; None generates one from host, process id and a random part.
        parent: process id of the supervisor, if there is one.
        patience: seconds to wait at the start for a broker or backend that cannot be reached.
        alive_file: the file that is touched while the event loop runs; None for none.
        shared: the process's name in the folder that it shares with its supervisor, if they serve ports.
        scheduler: whether it also takes part as a scheduler.
    """

    target: str
    queues: list[str] = field(default_factory=list)
    concurrency: int | None = None
    prefetch: int | None = None
    name: str | None = None
    parent: int | None = None
    patience: float = 0.0
    alive_file: Path | None = None
    shared: Path | None = None
    scheduler: bool = False


def serve(stem: Stem, order: Order) -> ExitCode:
    """Run a worker until SIGTERM or SIGINT; a second signal shortens the grace time.

    SIGHUP reloads the keys. If threads of tasks do not end, the process exits here: Python would wait
    for them forever.

    Args:
        stem: the application, not connected yet.
        order: the options of the worker.

    Raises:
        StemError: the worker could not start.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = _run(runner, _work(stem, order))
        left = _threads_left()
        if left:
            log.warning("exiting with threads whose tasks do not end: %s", ", ".join(left))
            for report in stem.blueprint.telemetry.exiting:
                report()
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return code


def _run(runner: asyncio.Runner, work: Coroutine[Any, Any, ExitCode]) -> ExitCode:
    """Run the worker to its end, whatever the application's background tasks raise.

    asyncio stops the event loop when any asyncio task raises SystemExit or KeyboardInterrupt. A
    background task of the application may do so: its awaiter gets the exception, and the worker
    continues.
    """
    loop = runner.get_loop()
    working = loop.create_task(work)
    while True:
        try:
            return loop.run_until_complete(working)
        except (SystemExit, KeyboardInterrupt) as error:
            ctrl_c = signal.getsignal(signal.SIGINT) is signal.default_int_handler
            if working.done() or (ctrl_c and isinstance(error, KeyboardInterrupt)):
                raise
            log.exception(
                "a background task has raised %s; the worker continues", type(error).__name__
            )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - optional: pip install "stem-amqp[uvloop]"
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _work(stem: Stem, order: Order) -> ExitCode:
    # A separate executor, so that its threads can be recognized at the end
    executor = ThreadPoolExecutor(thread_name_prefix="stem-amqp-default")
    asyncio.get_running_loop().set_default_executor(executor)
    stopper = Stopper()
    try:
        with stopper.on_signals(reload=lambda: reload_keys(stem.reload_keys)):
            if order.parent is not None:
                patience = stem.settings.grace_period + LATENESS
                stop_without_parent(order.parent, stopper.stop, patience=patience)
            async with keep_alive_file(order.alive_file):
                with observed(stem, order.shared):
                    await _consume(stem, order, stopper)
    except asyncio.CancelledError:
        if not stopper.stopped_the_start:
            raise
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    commanded = stopper.worker is not None and stopper.worker.shut_down_by_command
    # Its supervisor restarts a process that ends with another code
    return ExitCode.COMMANDED if commanded and order.parent is not None else ExitCode.OK


async def _consume(stem: Stem, order: Order, stopper: Stopper) -> None:
    async with connected(stem, order.patience):
        _log_start(stem, order)
        stopper.worker = stem.worker(
            order.queues or None,
            concurrency=order.concurrency,
            prefetch=order.prefetch,
            name=order.name,
        )
        # Imported objects stay alive, so the garbage collector need not traverse them
        gc.collect()
        gc.freeze()
        async with _scheduling(stem, order):
            await stopper.worker.run()


@asynccontextmanager
async def _scheduling(stem: Stem, order: Order) -> AsyncIterator[None]:
    """Take part as a scheduler during the block, if that is wanted."""
    if not order.scheduler:
        yield
        return
    from stem_amqp.scheduler.process import Scheduler  # noqa: PLC0415 - most workers need none

    async with Scheduler(stem.blueprint, stem.connected).running():
        yield


def _log_start(stem: Stem, order: Order) -> None:
    settings = stem.settings
    log.info(
        "stem-amqp %s on %s: %s, %d tasks; %s at %s, namespace %s; results: %s",
        __version__,
        type(asyncio.get_running_loop()).__module__.partition(".")[0],
        order.target,
        len(stem.registry),
        stem.connected.broker,
        redacted(settings.broker_url[0].get_secret_value()),
        settings.namespace,
        redacted(settings.backend_url.get_secret_value()),
    )


class Stopper:
    """Stops the worker on signals, or the start if there is no worker yet.

    Attributes:
        worker: the worker, once it exists.
        stopped_the_start: whether a signal arrived before that.
    """

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.stopped_the_start = False
        self._task = asyncio.current_task()

    def stop(self, reason: str) -> None:
        """Stop; a second call shortens the grace time."""
        log.info("%s: stopping", reason)
        if self.worker is not None:
            self.worker.stop(reason)
        elif self._task is not None:
            self.stopped_the_start = True
            self._task.cancel()

    @contextmanager
    def on_signals(self, reload: Callable[[], None]) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT inside the block, and reload on SIGHUP.

        After the block they are ignored: the process is about to exit.
        """
        handlers: Handlers = {
            signal.SIGTERM: partial(self.stop, signal.SIGTERM.name),
            signal.SIGINT: partial(self.stop, signal.SIGINT.name),
            signal.SIGHUP: HangUp(reload, self.stop),
        }
        with own_signals(STOPPING) as are_set, on_signals(handlers):
            are_set()
            yield


def _threads_left() -> list[str]:
    """Return the names of threads that still run tasks' code."""
    deadline = time.monotonic() + _SETTLING
    while True:
        left = [t.name for t in threading.enumerate() if t.name.startswith(_THREADS)]
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(0.02)
