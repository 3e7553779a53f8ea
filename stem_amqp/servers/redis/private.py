"""A private Redis in a temporary folder, on a free port of 127.0.0.1; it is deleted afterwards."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.servers.answer import wait_until
from stem_amqp.servers.keeping import (
    end_of_log,
    free_ports,
    search_path,
    start_keeper,
    stop_keeper,
)

START_TIMEOUT = 20.0


class PrivateRedis:
    """A Redis that belongs to this process, and that can be stopped and started again.

    Its data survives a restart, as after a crash.

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
        self.port, self.tls_port = free_ports(2)
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
        keeping = self._keeping = start_keeper(self.folder, self._command)
        try:
            wait_until(
                lambda: _pong(self.port),
                timeout=START_TIMEOUT,
                unavailable=BackendUnavailableError,
                alive=lambda: keeping.poll() is None,
            )
        except BackendUnavailableError as error:
            self.stop()
            raise BackendUnavailableError(
                f"it did not start: {error}\n{end_of_log(self.folder)}"
            ) from error

    def stop(self) -> None:
        """Kill it; stopping twice is not an error."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            stop_keeper(keeping)


def find_redis_server() -> str:
    """Return the path of an installed redis-server, or of Valkey's.

    Raises:
        BackendUnavailableError: none is installed; the message is the reason alone.
    """
    path = search_path()
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


def _pong(port: int) -> str:
    """Return the answer of a Redis that is ready, also where it wants a password."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
    except OSError as error:
        raise BackendUnavailableError(str(error)) from error
    if not answer.startswith((b"+PONG", b"-NOAUTH")):
        raise BackendUnavailableError(f"it answers {answer!r}")
    return answer.decode(errors="replace")
