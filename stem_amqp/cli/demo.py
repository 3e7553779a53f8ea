"""``stem-amqp demo``: run the demo in the repository's folder ``examples``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from stem_amqp.cli import options as opt
from stem_amqp.cli.exit_codes import EPILOG
from stem_amqp.errors import ConfigurationError

app = opt.command_app()
_MODULE = "examples.orders.demo"


@app.command("demo", epilog=EPILOG)
def demo_command(
    *,
    orders: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many orders to place.")
    ] = None,
    broker: Annotated[
        str | None, typer.Option(metavar="URL", help="A RabbitMQ; default: found or started.")
    ] = None,
) -> None:
    """Run the demo of the repository; run the command in a clone of it."""
    path = Path(*_MODULE.split(".")).with_suffix(".py")
    if not path.is_file():
        raise ConfigurationError(
            f"the demo is not here: there is no {path} in {Path.cwd()}\n"
            "  It is part of the repository, not of the package. Clone it, and run the command there."
        )
    words = [] if orders is None else ["--orders", str(orders)]
    words += [] if broker is None else ["--broker", broker]
    # Replace the process, so that signals and exit code are those of the demo
    os.execv(sys.executable, [sys.executable, "-m", _MODULE, *words])  # noqa: S606 - our own module
