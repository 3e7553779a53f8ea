"""A Redis of our own: in a temporary folder, on a free port of 127.0.0.1, gone afterwards."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.testing import program_keeper

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/opt/homebrew/bin"
LOG_LINES = 8
"""Lines of the server's log in an error message."""
START_TIMEOUT = 20.0
STOP_TIMEOUT = 20.0
POLL = 0.02


class PrivateRedis:
    """A Redis that belongs to this process, and that can be stopped and started again.

    Its data stay for the next start, as after a crash.

    Args:
        program: redis-server.
        folder: its data and its log, ``server.log``.
        options: further options of redis-server, such as ``("--requirepass", "secret")``.
        tls: whether it has a second port, which speaks TLS; its files are among the options.

    Attributes:
        port: its TCP port on 127.0.0.1, the same for every start.
        tls_port: that with TLS.
    """

    def __init__(
        self, program: str, folder: Path, options: Sequence[str] = (), *, tls: bool = False
    ) -> None:
        self.folder = folder
        # Held together, so that they differ
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            self.port: int = one.getsockname()[1]
            self.tls_port: int = other.getsockname()[1]
        if tls:
            options = ("--tls-port", str(self.tls_port), *options)
        self._command = [
            program,
            *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder)),
            *("--appendonly", "yes", "--save", "", "--daemonize", "no"),
            *options,
        ]
        self._keeping: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL, without credentials."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def tls_url(self) -> str:
        """The URL of its port with TLS."""
        return f"rediss://127.0.0.1:{self.tls_port}/0"

    def start(self) -> None:
        """Start it, and return once it answers.

        Raises:
            BackendUnavailableError: it does not start; the message has the end of its log.
        """
        arguments = [str(os.getpid()), str(self.folder), *self._command]
        self._keeping = subprocess.Popen(  # noqa: S603 a program that we found ourselves
            [sys.executable, "-I", "-S", program_keeper.__file__, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(self.port):
            if self._keeping.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise BackendUnavailableError(f"it did not start:\n{self._end_of_log()}")
            time.sleep(POLL)

    def stop(self) -> None:
        """Kill it; stopping twice is no error."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.terminate()
            keeping.wait(STOP_TIMEOUT)

    def _end_of_log(self) -> str:
        log = self.folder / "server.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join(f"  {line}" for line in lines[-LOG_LINES:]) or "  its log is empty"


def find_redis_server() -> str:
    """Return the path of an installed redis-server, or of Valkey's.

    Raises:
        BackendUnavailableError: none is installed; the message is the reason alone.
    """
    path = os.pathsep.join(part for part in (os.environ.get("PATH"), SYSTEM_PATH) if part)
    found = shutil.which("redis-server", path=path) or shutil.which("valkey-server", path=path)
    if found is None:
        raise BackendUnavailableError("no redis-server is installed")
    return found


@contextmanager
def private_redis(*options: str, tls: bool = False) -> Iterator[PrivateRedis]:
    """Start a Redis, and end it at the end of the block, or when this process dies.

    Args:
        *options: further options of redis-server, such as ``"--requirepass", "secret"``.
        tls: whether it has a second port, which speaks TLS; its files are among the options.

    Raises:
        BackendUnavailableError: Redis is not installed or does not start.
    """
    program = find_redis_server()
    folder = Path(tempfile.mkdtemp(prefix="stem-redis-"))
    server = PrivateRedis(program, folder, options, tls=tls)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    """Tell whether a Redis that is ready answers, be it that it wants a password."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
