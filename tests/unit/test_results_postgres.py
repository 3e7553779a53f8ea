"""The parts of the PostgreSQL backend that need no server: URLs, batches, marks, errors."""

import builtins
import itertools
import random
import socket
import sys

import asyncpg
import pytest

from stem_amqp.clock import SystemClock
from stem_amqp.errors import BackendUnavailableError, ConfigurationError
from stem_amqp.results import factory
from stem_amqp.results.base import Transition
from stem_amqp.results.postgres.address import DEFAULT_POOL_SIZE, parse_address
from stem_amqp.results.postgres.backend import PostgresBackend
from stem_amqp.results.postgres.batch import STATEMENT_BYTES, portions, rounds
from stem_amqp.results.postgres.errors import is_outage, not_opened, unavailable
from stem_amqp.results.postgres.schema import MIGRATIONS, schema_sql
from stem_amqp.results.postgres.watch import channel_of, marks_of, payloads
from stem_amqp.states import TaskState
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import MemoryBroker, MemoryTransport

URL = "postgresql://app:geheim@db.example:5433/results"


def create(url):
    """Return a backend that is created as an application does."""
    transport = MemoryTransport(MemoryBroker())
    return factory.create(
        url, clock=SystemClock(), transport=transport, names=Names("stem"), ttl=60.0
    )


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_both_schemes_are_the_postgresql_backend(scheme):
    """Users write either scheme."""
    assert type(create(f"{scheme}://app:geheim@db.example/results")) is PostgresBackend
    assert parse_address(f"{scheme}://db.example/results").dsn == "postgresql://db.example/results"


def test_a_missing_driver_names_the_extra_to_install(monkeypatch):
    """The error for a missing asyncpg says what to install."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'stem-amqp\[postgres\]'"):
        create(URL)


def test_the_factory_does_not_import_the_driver(monkeypatch):
    """Applications with another backend need no driver."""
    real = builtins.__import__

    def guarded(name, *rest):
        assert not name.startswith("asyncpg")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", guarded)
    create("memory://unused")


def test_our_parameters_are_taken_out_of_the_url_and_the_others_left_in():
    """The driver would send unknown parameters to the server."""
    address = parse_address(f"{URL}?pool_size=7&sslmode=require&pooler=transaction&search_path=a,b")
    assert address.dsn == f"{URL}?sslmode=require&search_path=a%2Cb"
    assert address.place == "postgresql://app:***@db.example:5433/results"
    assert (address.pool_size, address.transaction_pooling) == (7, True)
    plain = parse_address(URL)
    assert (plain.dsn, plain.pool_size) == (URL, DEFAULT_POOL_SIZE)
    assert not plain.transaction_pooling
    assert "geheim" not in repr(address)


def test_several_hosts_are_left_to_the_driver():
    """A cluster's URL names all its hosts."""
    url = "postgresql://app:geheim@one:5432,two:5433,three:5434/results"
    assert parse_address(url).dsn == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://app:geh/eim@host/db", "percent-encoded"),
        ("postgresql://app:geheim@host:port/db", "percent-encoded"),
        ("postgresql://app:geheim@host:65536/db", "percent-encoded"),
        ("postgresql://app:geheim@host/db?pool_size=0", "number from 1 to 100"),
        ("postgresql://app:geheim@host/db?pool_size=x", "number from 1 to 100"),
        ("postgresql://app:geheim@host/db?pooler=pgbouncer", "'transaction'"),
        ("postgresql://app:geheim@host/db?sslmode", "cannot be read"),
    ],
)
def test_a_url_that_cannot_be_used_says_why_and_keeps_the_password(url, words):
    """The mistake is found before a connection is opened."""
    with pytest.raises(ConfigurationError, match=words) as caught:
        parse_address(url)
    assert "geh" not in str(caught.value)
    assert caught.value.__cause__ is None


def change(task_id, state, **values):
    """Return a change."""
    defaults = {"task": "shop.sync", "queue": "orders", "at": 1.0}
    return Transition(task_id=task_id, state=state, **(defaults | values))


def test_a_batch_without_repetition_is_one_sorted_round():
    """The usual batch is one statement, and all processes lock its rows in the same order."""
    ids = [f"t{number}" for number in range(20)]
    random.Random(1).shuffle(ids)
    planned = rounds([change(task_id, TaskState.RUNNING) for task_id in ids])
    assert [[step.task_id for step in steps] for steps in planned] == [sorted(ids)]
    assert [ids[step.positions[0]] for step in planned[0]] == sorted(ids)


def test_a_run_and_its_end_are_written_as_one():
    """Running and succeeded of a fast task are one row with both times."""
    changes = [
        change("a", TaskState.RUNNING, at=5.0),
        change("b", TaskState.RUNNING, at=6.0),
        change("a", TaskState.SUCCEEDED, at=7.0),
    ]
    ((first, second),) = rounds(changes)
    assert (first.change, first.created_at, first.started_at) == (changes[2], 5.0, 5.0)
    assert (first.positions, second.positions) == ([0, 2], [1])


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({"state": TaskState.QUEUED}, {"state": TaskState.RUNNING}),
        ({"state": TaskState.RUNNING}, {"state": TaskState.QUEUED}),
        ({"state": TaskState.RUNNING}, {"state": TaskState.RUNNING, "attempt": 1}),
        ({"state": TaskState.RUNNING}, {"state": TaskState.RUNNING, "replay": 1}),
        ({"state": TaskState.FAILED}, {"state": TaskState.RUNNING}),
        ({"state": TaskState.RUNNING, "ttl": 0.0}, {"state": TaskState.SUCCEEDED}),
    ],
)
def test_what_may_be_judged_differently_is_written_one_after_the_other(earlier, later):
    """Two changes are merged only if the guard judges both alike."""
    changes = [change("a", **earlier), change("b", TaskState.QUEUED), change("a", **later)]
    planned = rounds(changes)
    assert [[step.task_id for step in steps] for steps in planned] == [["a", "b"], ["a"]]
    assert [step.positions for step in itertools.chain(*planned)] == [[0], [1], [2]]


def test_a_batch_is_cut_where_one_statement_would_be_too_much():
    """A statement has at most a thousand changes or 16 MB; all arrive, in their order."""
    many = [change(f"t{number}", TaskState.QUEUED) for number in range(2500)]
    assert [len(portion) for portion in portions(many)] == [1000, 1000, 500]
    half = b"x" * (STATEMENT_BYTES // 2)
    sizes = (half, half, b"1", half * 3, b"2", None)
    large = [change("a", TaskState.SUCCEEDED, result=result) for result in sizes]
    cut = list(portions(large))
    assert [len(portion) for portion in cut] == [2, 1, 1, 2]
    assert list(itertools.chain(*cut)) == large
    assert list(portions([])) == []


def test_the_marks_of_a_whole_batch_fit_one_notification():
    """A payload is below 8,000 bytes; reading gives what was written."""
    ids = [f"{number:036x}" for number in range(1000)]
    (payload,) = payloads(ids)
    assert len(payload) < 8000
    assert len(marks_of(payload)) > 990
    several = payloads(f"{number:036x}" for number in range(5000))
    assert len(several) == 4
    assert all(len(payload) < 8000 for payload in several)
    assert marks_of(payloads(["a"])[0]) < set().union(*map(marks_of, payloads(["a", "b"])))
    assert payloads([]) == []


@pytest.mark.parametrize("payload", ["", "no base64!", "AAA", "☃"])
def test_a_foreign_notification_has_no_marks(payload):
    """Other programs may notify on any channel."""
    assert marks_of(payload) == set()


def test_every_namespace_has_a_channel_of_its_own_that_postgresql_can_name():
    """A long namespace is not cut, because two of them could become equal."""
    assert channel_of("stem.staging") == "stem-amqp:stem.staging"
    long = [channel_of("n" * 119 + end) for end in "ab"]
    assert len(set(long)) == 2
    assert all(len(channel) <= 63 for channel in long)


@pytest.mark.parametrize(
    ("error", "setup", "words"),
    [
        (asyncpg.InvalidPasswordError("no"), True, "Correct user and password"),
        (asyncpg.InvalidAuthorizationSpecificationError("no"), True, "pg_hba.conf"),
        (asyncpg.InvalidCatalogNameError("no"), True, "createdb"),
        (asyncpg.InsufficientPrivilegeError("no"), True, "GRANT SELECT, INSERT"),
        (ConnectionRefusedError(), False, "Is the server running"),
        (socket.gaierror(-2, "Name or service not known"), False, "Correct the host"),
        (asyncpg.TargetServerAttributeNotMatched("none"), False, "the server's log"),
        (TimeoutError(), False, "pg_stat_activity"),
        (asyncpg.TooManyConnectionsError("no"), False, "pool_size"),
        (asyncpg.ReadOnlySQLTransactionError("no"), False, "target_session_attrs=read-write"),
        (asyncpg.CannotConnectNowError("starting up"), False, "used again automatically"),
        (asyncpg.ConnectionDoesNotExistError("gone"), False, "opened again automatically"),
        (asyncpg.DiskFullError("no"), False, "Free some space"),
        (asyncpg.DuplicatePreparedStatementError("no"), False, "pooler=transaction"),
        (asyncpg.UndefinedTableError("no"), False, "dropped"),
        (asyncpg.DeadlockDetectedError("no\nmore"), False, "the server's log"),
    ],
)
def test_every_outage_names_the_place_and_a_remedy(error, setup, words):
    """The error has the place, the cause and the remedy; while running, it can be tried again."""
    address = parse_address(URL)
    assert is_outage(error)
    for made, kind in (
        (not_opened(address, error), ConfigurationError if setup else BackendUnavailableError),
        (unavailable(address, error), BackendUnavailableError),
    ):
        assert type(made) is kind
        assert words in str(made)
        assert "postgresql://app:***@db.example:5433/results" in str(made)
        assert "geheim" not in str(made)
        assert len(str(made).splitlines()) < 10


@pytest.mark.parametrize(
    "error", [asyncpg.DataError("no"), asyncpg.CharacterNotInRepertoireError("no"), TypeError()]
)
def test_a_value_that_cannot_be_stored_is_no_outage(error):
    """Another attempt would not help."""
    assert not is_outage(error)


def test_the_schema_can_be_printed_for_an_owner_to_create():
    """The SQL creates the version that this release uses."""
    sql = schema_sql()
    assert all(script in sql for script in MIGRATIONS)
    assert f"SET version = {len(MIGRATIONS)};" in sql
