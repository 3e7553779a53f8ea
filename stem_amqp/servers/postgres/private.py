"""A private PostgreSQL in a temporary folder, on a free port of 127.0.0.1; it is deleted afterwards."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stem_amqp.errors import BackendUnavailableError
from stem_amqp.servers.keeper import as_owner_of
from stem_amqp.servers.keeping import end_of, end_of_log, free_ports, start_keeper, stop_keeper
from stem_amqp.servers.postgres.login import wait_for_postgres

FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
"""Where packages put PostgreSQL's programs, in addition to the search path."""
INIT_TIMEOUT = 60.0
START_TIMEOUT = 30.0
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # it holds nothing worth keeping
    "max_connections": "60",
    "shared_buffers": "32MB",
}


def find_programs() -> Path:
    """Return the folder of the newest installed PostgreSQL server.

    Raises:
        BackendUnavailableError: none is installed; the message is the reason alone.
    """
    found = [path for pattern in FOLDERS for path in Path("/").glob(pattern[1:])]
    on_path = shutil.which("initdb")
    if on_path is not None:
        found.append(Path(on_path).resolve().parent)
    usable = [path for path in found if os.access(path / "initdb", os.X_OK)]
    if not usable:
        raise BackendUnavailableError("no PostgreSQL server is installed")
    return max(usable, key=_release)


class PrivatePostgres:
    """A server that belongs to this process, and that can be stopped and started again.

    Its superuser ``postgres`` needs the password in `url`.

    Args:
        programs: the folder of PostgreSQL's programs.
        folder: where its data and its log are.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder = folder
        (self.port,) = free_ports(1)
        self.version = ""
        self._programs = programs
        self._password = secrets.token_hex(8)
        self._keeping: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL, with the password."""
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """The process id of the server that runs."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def create(self) -> None:
        """Make the empty cluster.

        Raises:
            BackendUnavailableError: initdb failed; the message has the end of its output.
        """
        password = self.folder / "password"
        password.write_text(self._password)
        password.chmod(0o644)  # its folder is closed to other users
        command = [
            str(self._programs / "initdb"),
            "--pgdata=data",
            "--username=postgres",
            "--pwfile=password",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        done = subprocess.run(  # noqa: S603 programs that we found ourselves
            command,
            cwd=self.folder,
            check=False,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=INIT_TIMEOUT,
            **as_owner_of(self.folder),
        )
        password.unlink()
        if done.returncode != 0:
            raise BackendUnavailableError(f"initdb failed:\n{end_of(done.stdout + done.stderr)}")

    def start(self) -> None:
        """Start it, and return when it answers.

        Raises:
            BackendUnavailableError: it does not; the message has the end of its log.
        """
        command = [str(self._programs / "postgres"), "-D", "data", "-p", str(self.port), "-k", "."]
        for name, value in SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        # SIGQUIT is PostgreSQL's immediate shutdown: SIGKILL would leave its shared memory behind.
        self._keeping = keeping = start_keeper(self.folder, command, ending="SIGQUIT")
        try:
            self.version = wait_for_postgres(
                self.url, timeout=START_TIMEOUT, alive=lambda: keeping.poll() is None
            )
        except BackendUnavailableError as error:
            self.stop()
            raise BackendUnavailableError(
                f"PostgreSQL did not start: {error}\n{end_of_log(self.folder)}"
            ) from error

    def stop(self) -> None:
        """End it at once, with all its connections; what is committed is kept."""
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            stop_keeper(keeping)


@contextmanager
def private_postgres() -> Iterator[PrivatePostgres]:
    """Start a server, and end it and all its processes at the end of the block.

    It also ends when this process dies, however it dies. Works as root, where the server runs as
    another user, and as an ordinary user.

    Raises:
        BackendUnavailableError: PostgreSQL is not installed or does not start; the message has the
            end of its log.
    """
    programs = find_programs()
    folder = Path(tempfile.mkdtemp(prefix="stem-postgres-"))
    server = PrivatePostgres(programs, folder)
    try:
        if os.geteuid() == 0:
            _change_owner(folder)
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _change_owner(folder: Path) -> None:
    """Let a user own the folder that PostgreSQL agrees to run as."""
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, user.pw_uid, user.pw_gid)
        return
    raise BackendUnavailableError("this is root, and there is no user 'postgres' to run it as")


def _release(folder: Path) -> int:
    numbers = re.findall(r"\d+", str(folder))
    return int(numbers[0]) if numbers else 0
