"""Write the output of a command to a file or to standard output."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from stem_amqp.cli.output import note
from stem_amqp.cli.streams import is_unicode
from stem_amqp.errors import ConfigurationError

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="OUT", help="A file, instead of standard output."),
]


F = TypeVar("F", bound=StrEnum)


def form_of(output: Path | None, given: F | None, suffixes: Mapping[str, F]) -> F | None:
    """Return the format to write: the given one, or that of the file's suffix.

    Args:
        output: the file; None is standard output.
        given: the value of ``--format``, if given.
        suffixes: the formats by suffix, such as ``.yaml``; the longer ones first.

    Returns:
        The format; None if neither is given.

    Raises:
        ConfigurationError: the suffix contradicts ``--format``, or is unknown.
    """
    name = "" if output is None else output.name.lower()
    named = next((form for suffix, form in suffixes.items() if name.endswith(suffix)), None)
    if given is not None and named not in {None, given}:
        raise ConfigurationError(
            f"the suffix of {output} means {named}, but --format is {given}\n  Rename the file, or"
            " omit --format."
        )
    if given is None and named is None and name and name != "-":
        raise ConfigurationError(
            f"the suffix of {output} does not determine the format\n  Use the suffix"
            f" {' or '.join(suffixes)}, or set the format with --format."
        )
    return given or named


def write(text: str, output: Path | None) -> None:
    """Write a text as UTF-8.

    Args:
        text: what to write.
        output: the file; None is standard output.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    if output is None or str(output) == "-":
        sys.stdout.flush()
        if is_unicode(sys.stdout) or not hasattr(sys.stdout, "buffer"):
            sys.stdout.write(text)
        else:  # files for other programs are UTF-8, whatever the terminal's encoding
            sys.stdout.buffer.write(text.encode())
        sys.stdout.flush()
        return
    try:
        output.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"{output} cannot be written: {reason}\n"
            "  Use another file with --output, or omit it for standard output."
        ) from None
    note(f"wrote {output}")
