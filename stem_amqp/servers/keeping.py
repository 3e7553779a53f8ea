"""Start and stop the keeper of a private server, and read the server's log."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from stem_amqp.servers import keeper

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin"
"""Where servers may be installed, beside the search path."""
STOP_TIMEOUT = 20.0
PORTS = range(12_000, 22_000)
"""The ports of private servers, and 10,000 above them that of a management API.

Linux gives ports from 32,768 on to outgoing connections, also while a server is restarted.
"""
LOG_LINES = 8
"""Lines of a log in an error message."""


def start_keeper(
    folder: Path,
    *commands: Sequence[str],
    ending: str = "SIGKILL",
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start programs that end with this process, under a keeper of their own.

    Args:
        folder: where they run, and where their log is.
        *commands: the programs and their arguments; the last one is the server.
        ending: the signal that ends them.
        environment: their variables; None means those of this process.

    Returns:
        The keeper. It ends when one of the programs ends.
    """
    arguments = [str(os.getpid()), str(folder), ending]
    for number, command in enumerate(commands):
        arguments += [keeper.SEPARATOR, *command] if number else command
    return subprocess.Popen(  # noqa: S603 programs that we found ourselves
        [sys.executable, "-I", "-S", keeper.__file__, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def stop_keeper(keeping: subprocess.Popen[bytes]) -> None:
    """Stop a keeper and its programs."""
    keeping.terminate()
    keeping.wait(STOP_TIMEOUT)


def free_ports(count: int) -> list[int]:
    """Return different free TCP ports of 127.0.0.1."""
    chance = (
        random.SystemRandom()
    )  # a seed that a program sets would give its processes the same ports
    found: list[int] = []
    while len(found) < count:
        port = chance.choice(PORTS)
        if port not in found and is_free(port):
            found.append(port)
    return found


def is_free(port: int) -> bool:
    """Return whether a number is that of a free TCP port of 127.0.0.1."""
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except (OSError, OverflowError):  # in use, or beyond 65,535
            return False
    return True


def search_path() -> str:
    """Return the folders in which programs are looked for, as ``PATH`` writes them."""
    return os.pathsep.join(part for part in (os.environ.get("PATH"), SYSTEM_PATH) if part)


def end_of_log(folder: Path) -> str:
    """Return the last lines of a server's log, indented for an error message."""
    log = folder / "server.log"
    if not log.exists():
        return "  it wrote no log"
    return end_of(log.read_text(errors="replace"))


def end_of(text: str) -> str:
    """Return the last lines of an output, indented for an error message."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-LOG_LINES:]) or "  its log is empty"
