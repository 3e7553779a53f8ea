"""Opening the SQLite file: its schema, and what can be wrong with it."""

import sqlite3
import threading

import pytest

from stem_amqp.clock import SystemClock
from stem_amqp.errors import BackendUnavailableError, ConfigurationError
from stem_amqp.results import sqlite_schema
from stem_amqp.results.sqlite import SqliteBackend
from stem_amqp.results.sqlite_schema import APPLICATION_ID, MIGRATIONS, connect


@pytest.fixture
def path(tmp_path):
    """Name a file that is not there yet."""
    return tmp_path / "results.db"


def pragma(path, name):
    """Read a setting of a file, as another program would."""
    connection = sqlite3.connect(path)
    value = connection.execute(f"PRAGMA {name}").fetchone()[0]
    connection.close()
    return value


def test_a_new_file_gets_the_current_schema_and_our_mark(path):
    """Version and application id say what the file is."""
    connect(path).close()
    assert pragma(path, "user_version") == len(MIGRATIONS)
    assert pragma(path, "application_id") == APPLICATION_ID
    assert pragma(path, "journal_mode") == "wal"


def test_an_older_schema_is_migrated_and_keeps_its_records(path):
    """Only the scripts that are missing run, in one transaction."""
    old = connect(path)
    old.execute("INSERT INTO stem_groups (group_id, size, expires_at) VALUES ('g1', 2, 1e12)")
    old.close()
    newer = (*MIGRATIONS, "ALTER TABLE stem_groups ADD COLUMN note TEXT DEFAULT 'x'; SELECT 1;")
    connection = connect(path, newer)
    assert connection.execute("SELECT group_id, note FROM stem_groups").fetchall() == [("g1", "x")]
    connection.close()
    connect(path, newer).close()
    assert pragma(path, "user_version") == len(MIGRATIONS) + 1


def test_a_file_of_before_lists_gets_its_index_while_an_older_process_goes_on(path):
    """The index is no version: who has the file open, or opens it with an older release, can write."""
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
    """Half a migration is none."""
    connect(path).close()
    broken = (*MIGRATIONS, "ALTER TABLE stem_groups ADD COLUMN note TEXT; NONSENSE;")
    with pytest.raises(BackendUnavailableError, match="NONSENSE"):
        connect(path, broken)
    assert pragma(path, "user_version") == len(MIGRATIONS)
    connect(path, (*MIGRATIONS, "ALTER TABLE stem_groups ADD COLUMN note TEXT")).close()


def test_a_newer_schema_is_refused_and_left_alone(path):
    """An older release does not write into what it does not know."""
    known = len(MIGRATIONS)
    newer = (*MIGRATIONS, "CREATE TABLE stem_news (id TEXT)")
    connect(path, newer).close()
    with pytest.raises(
        ConfigurationError, match=rf"(?s)version {known + 1}.*knows {known}.*Upgrade"
    ):
        connect(path)
    assert pragma(path, "user_version") == known + 1


def test_a_missing_directory_is_named(tmp_path):
    """The directory is the operator's to create."""
    with pytest.raises(ConfigurationError, match=r"(?s)no directory .*/missing.*Create it"):
        connect(tmp_path / "missing" / "results.db")


def test_a_directory_is_no_file(tmp_path):
    """A path that names a directory says so."""
    with pytest.raises(ConfigurationError, match=r"is a directory"):
        connect(tmp_path)


def test_something_else_than_a_database_is_not_touched(path):
    """A file of another kind is named and keeps its contents."""
    text = "Dear diary,\n" * 1000
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"results\.db is no SQLite database"):
        connect(path)
    assert path.read_text() == text


@pytest.mark.parametrize("setup", ["CREATE TABLE users (id)", "PRAGMA application_id = 7"])
def test_the_database_of_another_program_is_not_touched(path, setup):
    """Our tables do not move into somebody's application database."""
    connection = sqlite3.connect(path)
    connection.execute(setup)
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="another program"):
        connect(path)
    assert path.read_bytes() == before


async def test_a_damaged_file_says_what_to_do(path):
    """Damage is found, and the way out is in the message."""
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


def test_a_file_system_without_a_write_ahead_log_is_refused():
    """Without WAL several processes would block each other; a memory database has none."""
    with pytest.raises(ConfigurationError, match=r"(?s)write-ahead log.*local disk"):
        connect(":memory:")


def test_opening_waits_for_another_process_that_is_just_writing(path):
    """SQLite gives up at once on the change to WAL; we try again until the other one is done."""
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
    """A Python that was built with too old a library says so at the start."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 22, 0))
    with pytest.raises(ConfigurationError, match=r"needs SQLite 3\.24"):
        connect(path)


def test_an_error_that_says_nothing_more_has_a_remedy_too(path):
    """Every message ends with what to do."""
    error = sqlite_schema.unavailable(path, sqlite3.OperationalError("disk I/O error"))
    assert "disk I/O error" in str(error)
    assert "Check the disk" in str(error)
