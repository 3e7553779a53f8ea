"""Open the SQLite file: its pragmas, its schema, and errors with a remedy."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path

import tenacity

from stem_amqp.errors import BackendUnavailableError, ConfigurationError, StemError

log = logging.getLogger("stem_amqp.results")

APPLICATION_ID = 0x5374656D
"""``Stem`` in ASCII: marks our files among those of other programs."""
BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process's transaction."""
OLDEST_SQLITE = (3, 24, 0)
"""The first with ``ON CONFLICT DO UPDATE``."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE stem_tasks (
        task_id TEXT PRIMARY KEY NOT NULL,
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        replay INTEGER NOT NULL,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        expires_at REAL NOT NULL,
        next_run REAL,
        task TEXT NOT NULL,
        queue TEXT NOT NULL,
        worker TEXT,
        reason TEXT,
        error TEXT,
        progress BLOB,
        meta BLOB,
        traceback TEXT,
        result BLOB
    );
    CREATE INDEX stem_tasks_by_expiry ON stem_tasks (expires_at);
    CREATE TABLE stem_groups (
        group_id TEXT PRIMARY KEY NOT NULL,
        size INTEGER NOT NULL,
        expires_at REAL NOT NULL,
        claimed_by TEXT
    );
    CREATE INDEX stem_groups_by_expiry ON stem_groups (expires_at);
    CREATE TABLE stem_group_members (
        group_id TEXT NOT NULL,
        task_id TEXT NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (group_id, task_id)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE stem_keys (
        key TEXT PRIMARY KEY NOT NULL,
        owner TEXT NOT NULL,
        expires_at REAL NOT NULL,
        value BLOB
    );
    CREATE INDEX stem_keys_by_expiry ON stem_keys (expires_at);
    """,
    # Nothing wrote groups before this version.
    """
    DROP TABLE stem_group_members;
    DROP TABLE stem_groups;
    CREATE TABLE stem_groups (
        group_id TEXT PRIMARY KEY NOT NULL,
        size INTEGER NOT NULL,
        sealed INTEGER NOT NULL DEFAULT 1,
        done INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        expires_at REAL NOT NULL,
        claimed_by TEXT,
        first_failed INTEGER,
        first_error TEXT,
        plan BLOB NOT NULL DEFAULT x''
    );
    CREATE INDEX stem_groups_by_expiry ON stem_groups (expires_at);
    CREATE TABLE stem_group_members (
        group_id TEXT NOT NULL,
        position INTEGER NOT NULL,
        task_id TEXT NOT NULL,
        state TEXT NOT NULL,
        value BLOB,
        error TEXT,
        PRIMARY KEY (group_id, position)
    ) WITHOUT ROWID;
    CREATE INDEX stem_group_failures ON stem_group_members (group_id, position)
        WHERE state <> 'succeeded';
    CREATE TABLE stem_group_expansions (
        group_id TEXT NOT NULL,
        name TEXT NOT NULL,
        first INTEGER NOT NULL,
        PRIMARY KEY (group_id, name)
    ) WITHOUT ROWID;
    """,
)
"""The script from each schema version to the next: the first creates version 1 in an empty file."""
INDEXES = {
    "stem_tasks_by_creation": "stem_tasks (created_at, task_id)",
}
"""Indexes that were added later. They do not change the version: older releases can use the file."""


IN_MEMORY = ":memory:"
"""SQLite's name for a database without a file."""
OWNER_ONLY = 0o600
"""The mode of a new file: only its owner may read results, arguments and errors."""


def connect(path: Path, migrations: Sequence[str] = MIGRATIONS) -> sqlite3.Connection:
    """Open a file, and create or migrate its schema.

    Args:
        path: the file; it is created if it does not exist.
        migrations: the scripts that lead from an empty file to the current schema.

    Raises:
        ConfigurationError: the file cannot be used as a result store.
        BackendUnavailableError: it cannot be used now.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise ConfigurationError(
            f"the sqlite:// result backend needs SQLite 3.24, this Python has"
            f" {sqlite3.sqlite_version}.\n  Use a newer Python build, or another backend."
        )
    _create(path)
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise _cannot_open(path, error) from error
    # one invalid text must not prevent reading all rows
    connection.text_factory = _text
    try:
        _prepare(connection, path, migrations)
    except sqlite3.Error as error:
        connection.close()
        raise _cannot_open(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def _create(path: Path) -> None:
    """Create a file that only its owner can read, if it does not exist.

    SQLite gives the accompanying files, ``-wal`` and ``-shm``, the same mode. The mode of an existing
    file is kept: it may be shared on purpose.
    """
    if str(path) == IN_MEMORY:
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY))
    except FileExistsError:
        with contextlib.suppress(OSError):
            if stat.S_IMODE(Path(path).stat().st_mode) & stat.S_IROTH:
                log.warning(
                    "%s can be read by every user of this machine: chmod 600, unless it is meant",
                    path,
                )
    except OSError:
        return  # SQLite's own error names the reason
    except ValueError as error:  # a NUL character
        raise ConfigurationError(f"the path {path!r} is invalid: {error}") from None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def unavailable(path: Path, error: sqlite3.Error) -> BackendUnavailableError:
    """Return the error to raise when a statement fails."""
    return BackendUnavailableError(f"the result store {path} failed: {error}.\n  {_remedy(error)}")


def _prepare(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    # SQLite's own busy timeout does not cover two processes that change to WAL at once.
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_locked),
        wait=tenacity.wait_random(0.01, 0.05),
        stop=tenacity.stop_after_delay(BUSY_TIMEOUT),
        reraise=True,
    )
    _check_owner(connection, path)
    mode = retrying(connection.execute, "PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise ConfigurationError(
            f"the result store {path} cannot use a write-ahead log (journal mode {mode!r}).\n"
            "  Put it on a local disk: network shares and :memory: have none."
        )
    # A result is acknowledged to the broker after its commit: it must survive a power failure.
    connection.execute("PRAGMA synchronous = FULL")
    retrying(_migrate, connection, path, migrations)
    retrying(_add_indexes, connection)


def _check_owner(connection: sqlite3.Connection, path: Path) -> None:
    """Check that the file is ours or empty, before anything is written to it.

    Raises:
        ConfigurationError: it belongs to another program.
    """
    # In this order, since another process may commit tables and owner together in between.
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    owner = _pragma(connection, "application_id")
    if owner != APPLICATION_ID and (owner or tables):
        raise ConfigurationError(
            f"{path} is a database of another program.\n"
            "  Give stem-amqp a file of its own in STEM_BACKEND_URL=sqlite:///…"
        )


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    newest = len(migrations)
    if _checked_version(connection, path, newest) == newest:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # another process may have migrated while this one waited for the lock
        for script in migrations[_checked_version(connection, path, newest) :]:
            for statement in script.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {newest}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _add_indexes(connection: sqlite3.Connection) -> None:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")
    for name in INDEXES.keys() - {row[0] for row in rows}:
        connection.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {INDEXES[name]}")


def _checked_version(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    version = _pragma(connection, "user_version")
    if version > newest:
        raise ConfigurationError(
            f"the result store {path} has schema version {version}, this stem-amqp knows {newest}."
            "\n  Upgrade stem-amqp here, or give this version a file of its own."
        )
    return version


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _is_locked(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def _cannot_open(path: Path, error: sqlite3.Error) -> StemError:
    if "unable to open" in str(error):
        return ConfigurationError(f"cannot open the result store {path}: {_why_unopenable(path)}")
    if "not a database" in str(error):
        return ConfigurationError(
            f"{path} is not an SQLite database.\n"
            "  Name another file in STEM_BACKEND_URL=sqlite:///…, or move this one away."
        )
    return unavailable(path, error)


def _why_unopenable(path: Path) -> str:
    folder = path.absolute().parent
    if path.is_dir():
        return "it is a directory.\n  Name a file in it in STEM_BACKEND_URL=sqlite:///…"
    if not folder.is_dir():
        return f"there is no directory {folder}.\n  Create it, or correct STEM_BACKEND_URL."
    return (
        "no permission.\n  Let this user read and write the file and its directory, which also"
        " holds its -wal and -shm files."
    )


def _remedy(error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text or "busy" in text:
        return (
            f"Another process has kept it locked for {BUSY_TIMEOUT:g} s: find it (a backup, a"
            " sqlite3 shell with an open transaction), or use a backend made for more writers."
        )
    if "malformed" in text or "not a database" in text:
        return (
            "The file is damaged: stop everything that uses it and restore it, or move it and its"
            " -wal and -shm files away; a new one is created."
        )
    if "full" in text:
        return "Free some space on its disk."
    if "readonly" in text or "unable to open" in text:
        return "Let this user write the file, its -wal and -shm files and their directory."
    return "Check the disk and the file's permissions."
