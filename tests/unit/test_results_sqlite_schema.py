"""Opening the SQLite file: its schema, and its possible defects."""

import os
import sqlite3
import stat
import threading

import pytest

from stem_amqp.clock import SystemClock
from stem_amqp.errors import BackendUnavailableError, ConfigurationError
from stem_amqp.results.sqlite import schema as sqlite_schema
from stem_amqp.results.sqlite.backend import SqliteBackend
from stem_amqp.results.sqlite.schema import APPLICATION_ID, MIGRATIONS, connect


@pytest.fixture
def path(tmp_path):
    """Return the path of a file that does not exist yet."""
    return tmp_path / "results.db"


def pragma(path, name):
    """Return a setting of a file, read as another program does."""
    connection = sqlite3.connect(path)
    value = connection.execute(f"PRAGMA {name}").fetchone()[0]
    connection.close()
    return value


def test_a_new_file_gets_the_current_schema_and_our_mark(path):
    """Version and application id identify the file."""
    connect(path).close()
    assert pragma(path, "user_version") == len(MIGRATIONS)
    assert pragma(path, "application_id") == APPLICATION_ID
    assert pragma(path, "journal_mode") == "wal"


def test_an_older_schema_is_migrated_and_keeps_its_records(path):
    """Only the missing scripts run, in one transaction."""
    old = connect(path)
    old.execute("INSERT INTO stem_groups (group_id, size, expires_at) VALUES ('g1', 2, 1e12)")
    old.close()
    newer = (*MIGRATIONS, "ALTER TABLE stem_groups ADD COLUMN note TEXT DEFAULT 'x'; SELECT 1;")
    connection = connect(path, newer)
    assert connection.execute("SELECT group_id, note FROM stem_groups").fetchall() == [("g1", "x")]
    connection.close()
    connect(path, newer).close()
    assert pragma(path, "user_version") == len(MIGRATIONS) + 1


def test_a_file_of_the_first_releases_gets_groups_that_count(path):
    """The tables of groups are made anew, since nothing used them; other records are kept."""
    connect(path, MIGRATIONS[:2]).close()
    old = sqlite3.connect(path)
    old.execute("INSERT INTO stem_groups (group_id, size, expires_at) VALUES ('g1', 2, 1e12)")
    old.execute("INSERT INTO stem_group_members VALUES ('g1', 't1', 'succeeded')")
    old.execute("INSERT INTO stem_keys (key, owner, expires_at) VALUES ('k', 'o', 1e12)")
    old.commit()
    old.close()
    connection = connect(path)
    assert connection.execute("SELECT owner FROM stem_keys").fetchall() == [("o",)]
    assert connection.execute("SELECT done, failed, plan FROM stem_groups").fetchall() == []
    connection.close()
    assert pragma(path, "user_version") == len(MIGRATIONS)


def test_an_older_file_gets_its_index_while_an_older_process_continues(path):
    """The index does not change the version: open backends and older releases can still write."""
    older = connect(path)
    older.execute("DROP INDEX stem_tasks_by_creation")
    older.execute("INSERT INTO stem_groups (group_id, size, expires_at) VALUES ('g1', 2, 1e12)")
    newer = connect(path)
    names = newer.execute("SELECT name FROM sqlite_master WHERE name = 'stem_tasks_by_creation'")
    assert names.fetchall() == [("stem_tasks_by_creation",)]
    older.execute("INSERT INTO stem_groups (group_id, size, expires_at) VALUES ('g2', 2, 1e12)")
    assert newer.execute("SELECT count(*) FROM stem_groups").fetchone() == (2,)
    older.close()
    newer.close()
    assert pragma(path, "user_version") == len(MIGRATIONS)


def test_a_migration_that_fails_changes_nothing(path):
    """A failed migration is rolled back."""
    connect(path).close()
    broken = (*MIGRATIONS, "ALTER TABLE stem_groups ADD COLUMN note TEXT; NONSENSE;")
    with pytest.raises(BackendUnavailableError, match="NONSENSE"):
        connect(path, broken)
    assert pragma(path, "user_version") == len(MIGRATIONS)
    connect(path, (*MIGRATIONS, "ALTER TABLE stem_groups ADD COLUMN note TEXT")).close()


def test_a_newer_schema_is_refused_and_left_alone(path):
    """An older release does not write into an unknown schema."""
    known = len(MIGRATIONS)
    newer = (*MIGRATIONS, "CREATE TABLE stem_news (id TEXT)")
    connect(path, newer).close()
    with pytest.raises(
        ConfigurationError, match=rf"(?s)version {known + 1}.*knows {known}.*Upgrade"
    ):
        connect(path)
    assert pragma(path, "user_version") == known + 1


def test_a_missing_directory_is_named(tmp_path):
    """The operator has to create the directory."""
    with pytest.raises(ConfigurationError, match=r"(?s)no directory .*/missing.*Create it"):
        connect(tmp_path / "missing" / "results.db")


def test_a_directory_is_no_file(tmp_path):
    """The error says that the path is a directory."""
    with pytest.raises(ConfigurationError, match=r"is a directory"):
        connect(tmp_path)


def test_something_else_than_a_database_is_not_touched(path):
    """The error names the file, which keeps its contents."""
    text = "Dear diary,\n" * 1000
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"results\.db is not an SQLite database"):
        connect(path)
    assert path.read_text() == text


@pytest.mark.parametrize("setup", ["CREATE TABLE users (id)", "PRAGMA application_id = 7"])
def test_the_database_of_another_program_is_not_touched(path, setup):
    """Our tables are not created in another application's database."""
    connection = sqlite3.connect(path)
    connection.execute(setup)
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="another program"):
        connect(path)
    assert path.read_bytes() == before


async def test_a_damaged_file_says_what_to_do(path):
    """Damage is found, and the message has the remedy."""
    connection = connect(path)
    connection.executemany(
        "INSERT INTO stem_groups (group_id, size, expires_at) VALUES (?, 1, 1e12)",
        [(f"g{number}" * 50,) for number in range(200)],
    )
    connection.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    backend = SqliteBackend(path, SystemClock())
    await backend.open()
    with pytest.raises(BackendUnavailableError, match=r"(?s)damaged.*move it"):
        await backend.get_group("g1")
    await backend.close()


def test_a_file_system_without_a_write_ahead_log_is_refused(tmp_path, monkeypatch):
    """Without WAL several processes would block each other; a memory database has none."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"(?s)write-ahead log.*local disk"):
        connect(":memory:")
    assert list(tmp_path.iterdir()) == []


def test_opening_waits_for_another_process_that_is_just_writing(path):
    """SQLite fails at once on the change to WAL, so the backend retries it."""
    connect(path).close()
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    assert other.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    other.execute("BEGIN IMMEDIATE")
    done = threading.Timer(0.15, other.execute, ["COMMIT"])
    done.start()
    connect(path).close()
    done.join()
    other.close()
    assert pragma(path, "journal_mode") == "wal"


def test_an_ancient_sqlite_is_named(path, monkeypatch):
    """A Python with too old a library raises the error at the start."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 22, 0))
    with pytest.raises(ConfigurationError, match=r"needs SQLite 3\.24"):
        connect(path)


def test_an_error_that_says_nothing_more_has_a_remedy_too(path):
    """Every message ends with the remedy."""
    error = sqlite_schema.unavailable(path, sqlite3.OperationalError("disk I/O error"))
    assert "disk I/O error" in str(error)
    assert "Check the disk" in str(error)


def mode(path):
    """Return the permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_its_owners_alone(tmp_path):
    """This includes the files that SQLite has beside it."""
    path = tmp_path / "r.db"
    before = os.umask(0)
    try:
        connection = connect(path)
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE t (a)")
        connection.execute("COMMIT")
        beside = sorted(tmp_path.iterdir())
        assert len(beside) == 3, beside
        assert {mode(file) for file in beside} == {0o600}
        connection.close()
    finally:
        os.umask(before)


def test_the_mode_of_an_existing_file_is_kept(tmp_path, caplog):
    """Its owner may share it; a warning says that every user can read it."""
    for bits, warned in ((0o660, False), (0o644, True)):
        path = tmp_path / f"{bits}.db"
        path.touch()
        path.chmod(bits)
        connect(path).close()
        assert mode(path) == bits
        assert any(path.name in record.getMessage() for record in caplog.records) is warned
