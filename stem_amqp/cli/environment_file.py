"""A file with the variables of a temporary broker, for other terminals."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_OWNER = re.compile(r"# stem-amqp dev, process (\d+)")
_MODE = 0o600
"""Readable only by its owner: it contains a password."""


@contextmanager
def environment_file(path: Path, variables: Mapping[str, str]) -> Iterator[Path]:
    """Write variables to a file that a shell can source, and remove it at the end of the block.

    Args:
        path: the file; if it belongs to another running process, a file beside it is used.
        variables: their names and values.

    Yields:
        The written file.

    Raises:
        OSError: the file cannot be written.
    """
    if _is_taken(path):
        path = path.with_name(f"{path.name}-{os.getpid()}")
    path.unlink(missing_ok=True)
    lines = [f"# stem-amqp dev, process {os.getpid()}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join([*lines, ""]))
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def _is_taken(path: Path) -> bool:
    """Return whether the file belongs to another running process, or was written by another program."""
    try:
        owner = _OWNER.match(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return False
    if owner is None:
        return True
    try:
        os.kill(int(owner[1]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
