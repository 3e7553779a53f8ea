"""Runs one worker in this process until a signal ends it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from stem_amqp import __version__
from stem_amqp.app import Stem
from stem_amqp.cli.exit_codes import ExitCode
from stem_amqp.cli.hangup import HangUp, reload_keys
from stem_amqp.cli.orphan import stop_without_parent
from stem_amqp.settings import redacted
from stem_amqp.worker.runner import Worker

log = logging.getLogger("stem_amqp.cli")

LATENESS = 15.0
"""Seconds beyond the grace period after which a process that should have stopped is stuck."""
_THREADS = ("stem-amqp-task", "stem-amqp-default")
"""Beginnings of the names of threads that run tasks' code."""
_SETTLING = 1.0
"""Seconds in which idle threads notice that their pool is closed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What a worker is to do.

    Args:
        target: the application as ``module:attribute``.
        queues: the logical queues; empty: all.
        concurrency: tasks at once per queue; None leaves it to topology and settings.
        prefetch: unsettled deliveries per queue; None likewise.
        name: the worker's name; None: host, process id and something random.
        parent: process id of the supervisor, if there is one.
    """

    target: str
    queues: list[str] = field(default_factory=list)
    concurrency: int | None = None
    prefetch: int | None = None
    name: str | None = None
    parent: int | None = None


def serve(stem: Stem, order: Order) -> ExitCode:
    """Run a worker until SIGTERM or SIGINT; a second signal hurries. SIGHUP reloads the keys.

    If threads of tasks are left that do not end, the process exits here: Python would wait for
    them for ever.

    Args:
        stem: the application, not connected yet.
        order: what the worker is to do.

    Raises:
        StemError: the worker could not start.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(_work(stem, order))
        left = _threads_left()
        if left:
            log.warning("threads are left behind whose tasks do not end: %s", ", ".join(left))
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return code


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - optional: pip install "stem-amqp[uvloop]"
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _work(stem: Stem, order: Order) -> ExitCode:
    # An executor of our own, so that its threads can be told from others at the end
    executor = ThreadPoolExecutor(thread_name_prefix="stem-amqp-default")
    asyncio.get_running_loop().set_default_executor(executor)
    stopper = Stopper()
    try:
        with stopper.on_signals(reload=lambda: reload_keys(stem)):
            if order.parent is not None:
                patience = stem.settings.grace_period + LATENESS
                stop_without_parent(order.parent, stopper.stop, patience=patience)
            await _consume(stem, order, stopper)
    except asyncio.CancelledError:
        if not stopper.stopped_the_start:
            raise
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    return ExitCode.OK


async def _consume(stem: Stem, order: Order, stopper: Stopper) -> None:
    async with stem:
        _greet(stem, order)
        stopper.worker = stem.worker(
            order.queues or None,
            concurrency=order.concurrency,
            prefetch=order.prefetch,
            name=order.name,
        )
        # What the imports made stays for good; the collector need not go through it each time
        gc.collect()
        gc.freeze()
        await stopper.worker.run()


def _greet(stem: Stem, order: Order) -> None:
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
    """Turns signals into a stop: of the worker, or of the start while there is none.

    Attributes:
        worker: the worker, once it is there.
        stopped_the_start: whether a signal came before that.
    """

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.stopped_the_start = False
        self._task = asyncio.current_task()

    def stop(self, reason: str) -> None:
        """Stop; a second call hurries."""
        log.info("%s: stopping", reason)
        if self.worker is not None:
            self.worker.stop(reason)
        elif self._task is not None:
            self.stopped_the_start = True
            self._task.cancel()

    @contextmanager
    def on_signals(self, reload: Callable[[], None]) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT inside the block, and reload on SIGHUP."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self.stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, HangUp(reload, self.stop))
        try:
            yield
        finally:
            for number in (*numbers, signal.SIGHUP):
                loop.remove_signal_handler(number)


def _threads_left() -> list[str]:
    """Return the names of threads that still run tasks' code."""
    deadline = time.monotonic() + _SETTLING
    while True:
        left = [t.name for t in threading.enumerate() if t.name.startswith(_THREADS)]
        if not left or time.monotonic() >= deadline:
            return left
        time.sleep(0.02)
