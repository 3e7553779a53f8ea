"""The demo: 1,000 orders, a payment gateway that fails, and a check of every outcome.

``python -m examples.orders.demo`` or ``stem-amqp demo``. It finds or starts a RabbitMQ,
and uses the in-memory broker if there is none.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from examples.orders.shop import SMALLEST
from examples.orders.story import Story, run_story
from stem_amqp import StemError
from stem_amqp.servers.finder import find_server
from stem_amqp.servers.rabbitmq.kind import RABBITMQ, NoBrokerError

MEMORY = "memory://demo-orders"
INTERRUPTED, TERMINATED = 130, 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        argv: the command line's arguments; default: those of the process.

    Returns:
        0 if everything is accounted for, 1 if not, 130 or 143 after a signal.
    """
    options = _options(argv)
    console = Console(highlight=False)
    title = f"{options.orders:,} orders, a payment gateway that fails, and a count of every outcome"
    console.print(f"\n[bold]stem-amqp[/]  {title}\n")
    with contextlib.ExitStack() as stack:
        url, origin = stack.enter_context(_broker(options.broker, console))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="stem-demo-"))
        stack.enter_context(_log_in(Path(folder)))
        story = Story(
            broker_url=url,
            origin=origin,
            namespace=options.namespace,
            orders=options.orders,
            seed=options.seed,
            folder=Path(folder),
        )
        try:
            return asyncio.run(_run(story, console))
        except KeyboardInterrupt:
            console.print("\nInterrupted; everything is cleaned up.")
            return INTERRUPTED
        except asyncio.CancelledError:
            return TERMINATED
        except StemError as error:
            console.print(f"\n[bold red]The demo failed:[/] {error}")
            return 1
        except TimeoutError:
            console.print("\n[bold red]The demo failed:[/] some orders did not come to an end")
            return 1


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stem-amqp demo", description=__doc__)
    parser.add_argument("--orders", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--broker", help="amqp://… or memory://; default: found or started")
    parser.add_argument("--seed", type=int, default=1, help="decides which orders and answers fail")
    parser.add_argument("--namespace", default="demo-orders", help="removed afterwards")
    options = parser.parse_args(argv)
    if options.orders < SMALLEST:
        parser.error(f"--orders: at least {SMALLEST}, to have one of each kind")
    return options


@contextlib.contextmanager
def _log_in(folder: Path) -> Iterator[None]:
    """Hide the log of workers in this process during a block."""
    logger, handler = logging.getLogger("stem_amqp"), logging.FileHandler(folder / "demo.log")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def _broker(url: str | None, console: Console) -> Iterator[tuple[str, str]]:
    """Provide the URL of a broker and its origin for a block."""
    if url is not None:
        yield url, ""
        return
    with contextlib.ExitStack() as stack:
        try:
            with console.status("looking for a RabbitMQ …"):
                broker = stack.enter_context(find_server(RABBITMQ, report=lambda _: None))
        except NoBrokerError as error:
            console.print(f"{error}\n[yellow]So the demo runs on the in-memory broker.[/]\n")
            found = MEMORY, "in this process"
        else:
            found = broker.url, broker.origin
        yield found


async def _run(story: Story, console: Console) -> int:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return 0 if await run_story(story, console) else 1


if __name__ == "__main__":
    sys.exit(main())
