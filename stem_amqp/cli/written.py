"""What a command writes into a file, or to standard output for the next program."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from stem_amqp.cli.output import note
from stem_amqp.errors import ConfigurationError

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="OUT", help="A file, instead of standard output."),
]


def write(text: str, output: Path | None) -> None:
    """Write a text as UTF-8.

    Args:
        text: what to write.
        output: the file; None is standard output.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    if output is None or str(output) == "-":
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{output} cannot be written: {error.strerror or error}\n"
            "  Name another file with --output, or leave it out for standard output."
        ) from None
    note(f"wrote {output}")
