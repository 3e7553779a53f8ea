"""The queue exporter beside a worker: in a thread with an event loop of its own.

It does not share the worker's event loop, so a task that blocks that loop does not stop the metrics.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from stem_amqp.app import Stem
from stem_amqp.cli.exporter import exporting


@contextmanager
def exporter_beside(stem: Stem, port: int | None) -> Iterator[None]:
    """Serve the metrics of an application's queues during the block.

    Args:
        stem: the application; its connections are not used.
        port: the port; None serves nothing.

    Raises:
        ConfigurationError: prometheus-client is not installed, or the port cannot be used.
        BrokerRefusedError: the broker refuses the credentials or the virtual host.
    """
    if port is None:
        yield
        return
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stopped = asyncio.Event()
        async with exporting(stem, port=port):
            started.set_result((asyncio.get_running_loop(), stopped))
            await stopped.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run, name="stem-amqp-exporter", daemon=True)
    thread.start()
    loop, stopped = started.result()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
