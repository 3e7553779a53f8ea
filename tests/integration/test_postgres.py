"""Test the result backend in PostgreSQL: statements, schema, permissions and waiting."""

import asyncio
import random
import sys
import textwrap
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from support import eventually, report_ends

import stem_amqp
from stem_amqp import Stem
from stem_amqp.clock import SystemClock
from stem_amqp.errors import (
    BackendUnavailableError,
    ConfigurationError,
    ResultTimeoutError,
    TaskFailedError,
)
from stem_amqp.messages.message import new_id
from stem_amqp.results.base import Progress, ProgressUpdate, Transition
from stem_amqp.results.memory.backend import MemoryBackend, MemoryStore
from stem_amqp.results.postgres import schema as postgres_schema
from stem_amqp.results.postgres.address import parse_address
from stem_amqp.results.postgres.backend import PostgresBackend
from stem_amqp.results.postgres.index import PostgresIndexes
from stem_amqp.results.postgres.schema import MIGRATIONS, migrate, schema_sql
from stem_amqp.servers.postgres.login import execute
from stem_amqp.states import TaskState
from stem_amqp.transport.memory import ManualClock

TABLES = (
    "stem_tasks",
    "stem_groups",
    "stem_group_members",
    "stem_group_expansions",
    "stem_keys",
)

RUNNING, SUCCEEDED = TaskState.RUNNING, TaskState.SUCCEEDED


@pytest.fixture
def url(stem_postgres_url):
    """Return the URL of the session's database."""
    return stem_postgres_url


@pytest.fixture
async def empty(url):
    """Yield the URL of an empty database, and drop it afterwards."""
    name = f"stem_test_{uuid.uuid4().hex[:8]}"
    execute(url, f"CREATE DATABASE {name}")
    yield urlsplit(url)._replace(path=f"/{name}").geturl()
    execute(url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def opened():
    """Yield a function that opens backends, and close them afterwards."""
    backends = []
    own = f"t-{uuid.uuid4().hex[:8]}"

    async def open_one(url, clock=None, namespace=own):
        backend = PostgresBackend(parse_address(url), namespace, clock or SystemClock())
        backends.append(backend)
        await backend.open()
        return backend

    yield open_one
    for backend in backends:
        await backend.close()


def change(task_id, state=SUCCEEDED, **values):
    """Return a transition of a task."""
    defaults = {"task": "shop.sync", "queue": "orders", "at": time.time()}
    if state is SUCCEEDED:
        defaults["result"] = b"1"
    return Transition(task_id=task_id, state=state, **(defaults | values))


async def ask(url, query, *arguments):
    """Return the rows of a query, over a separate connection."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(query, *arguments)
    finally:
        await connection.close()


async def test_results_survive_a_reopening(url, opened):
    """Another process finds every field of a record and of a group."""
    first = await opened(url)
    progress = Progress(fraction=0.5, message="half ☃\0", data=[1, "\0"], at=2.0)
    meta = {"tenant": "ä\0"}
    await first.transition([change("t1", TaskState.QUEUED, meta=meta, worker="w1")])
    await first.report_progress([ProgressUpdate(task_id="t1", progress=progress)])
    await first.transition([change("t1", result=b'{"a":1}', meta=meta)])
    await first.create_group("g1", 1, ttl=60)
    await report_ends(first, "g1", 0)
    await first.claim_group("g1", "t1")
    record, group = await first.get("t1"), await first.get_group("g1")
    await first.close()
    await first.open()
    second = await opened(url)
    for backend in (first, second):
        assert await backend.get("t1") == record
        assert await backend.get_group("g1") == group
    assert (record.result, record.progress, record.meta) == (b'{"a":1}', progress, meta)
    assert (group.done, group.complete, group.claimed_by) == (1, True, "t1")


async def test_two_namespaces_never_see_each_other(url, opened):
    """The same ids in one database are different tasks and groups."""
    clock = ManualClock()
    one, other = await opened(url, clock, "a"), await opened(url, clock, "b")
    await one.transition([change("t1", ttl=5)])
    await one.create_group("g1", 1, ttl=5)
    waiting = asyncio.create_task(other.wait("t1", 20))
    assert await other.get("t1") is None
    assert await other.get_group("g1") is None
    await other.report_progress([ProgressUpdate(task_id="t1", progress=Progress(fraction=0.5))])
    assert (await one.get("t1")).progress is None
    clock.advance(6)
    assert await other.purge_expired() == 0
    assert await one.purge_expired() == 2
    await other.transition([change("t1", result=b"2")])
    assert (await waiting).result == b"2"


@pytest.mark.parametrize("seed", range(5))
async def test_any_batch_has_the_same_outcome_as_in_memory(url, opened, seed):
    """Random batches with repeated tasks leave the same records as single transitions."""
    dice, clock = random.Random(seed), ManualClock()
    backend = await opened(url, clock)
    model = MemoryBackend(MemoryStore(), clock)
    await model.open()
    ids = [f"t{number}" for number in range(8)]
    for _ in range(25):
        clock.advance(dice.choice((0, 1, 30)))
        batch = [
            change(
                dice.choice(ids),
                dice.choice((*TaskState, RUNNING, RUNNING)),
                attempt=dice.choice((0, 0, 1)),
                replay=dice.choice((0, 0, 0, 1, 2)),
                at=clock.time() + dice.random(),
                ttl=dice.choice((0.0, 10.0, 100.0)),
            )
            for _ in range(dice.randrange(1, 30))
        ]
        progress = Progress(fraction=dice.random())
        updates = [ProgressUpdate(task_id=task_id, progress=progress, ttl=60) for task_id in ids]
        assert await backend.transition(batch) == await model.transition(batch)
        assert [await backend.get(i) for i in ids] == [await model.get(i) for i in ids]
        await backend.report_progress(updates)
        await model.report_progress(updates)
    await model.close()


async def test_writers_of_the_same_tasks_never_deadlock(url, opened):
    """Ten writers store and update the same 60 tasks in every order, while others purge them."""
    backends = [await opened(url) for _ in range(3)]
    ids = [f"t{number}" for number in range(60)]

    async def write(number):
        dice, backend = random.Random(number), backends[number % 3]
        for attempt in range(12):
            dice.shuffle(ids)
            batch = [change(i, RUNNING, attempt=attempt, ttl=0.001) for i in ids]
            await backend.transition(batch + [change(i, TaskState.QUEUED) for i in ids[:20]])
            updates = [ProgressUpdate(task_id=i, progress=Progress(fraction=0.5)) for i in ids]
            dice.shuffle(updates)
            await backend.report_progress(updates)
            await backend.purge_expired()

    await asyncio.gather(*(write(number) for number in range(10)))


async def test_a_batch_is_stored_whole_or_not_at_all(url, opened):
    """A transition that cannot be written rolls back its batch, and the next batch is stored."""
    backend = await opened(url)
    for bad in (change("t2", meta={"a": object()}), change("t2", attempt=2**80)):
        with pytest.raises((TypeError, asyncpg.DataError)):
            await backend.transition([change("t1"), change("t1"), bad])
        assert await backend.get("t1") is None
    assert await backend.transition([change("t1")]) == [True]
    assert len(backend._pool._idle) == 1


async def test_the_usual_life_of_a_task_touches_no_index(empty, opened):
    """Most updates are HOT: they change no index, and their dead rows need no vacuum."""
    backend = await opened(empty)
    for _ in range(20):
        ids = [new_id() for _ in range(100)]
        for state in (TaskState.QUEUED, RUNNING, SUCCEEDED):
            await backend.transition([change(i, state) for i in ids])
    await backend.close()

    async def updates():
        query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = $1"
        return (await ask(empty, query, "stem_tasks"))[0]

    async def counted():
        return (await updates())[0] >= 4000

    await eventually(counted, "the server's statistics")
    total, hot = await updates()
    assert hot > total / 2


CHILD = """
import asyncio, sys, time
from stem_amqp.clock import SystemClock
from stem_amqp.results.base import Transition
from stem_amqp.results.postgres.backend import PostgresBackend
from stem_amqp.results.postgres.address import parse_address
from stem_amqp.states import TaskState

def change(task_id, result):
    return Transition(task_id=task_id, task="shop.sync", queue="orders",
                      state=TaskState.SUCCEEDED, at=time.time(), result=result)

async def main():
    backend = PostgresBackend(parse_address(sys.argv[1]), sys.argv[2], SystemClock())
    await backend.open()
{body}
    await backend.close()

asyncio.run(main())
"""


async def child(url, namespace, body):
    """Run code with a backend in another process, and return the words that it printed."""
    code = CHILD.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, url, namespace),
        cwd=Path(stem_amqp.__file__).parent.parent,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode().split()


async def test_two_processes_wake_each_other(url, opened):
    """A transition of another process wakes a waiter, in both directions."""
    backend = await opened(url)
    waiting = asyncio.create_task(backend.wait("from-child", 30))
    body = """
        await backend.transition([change("from-child", b"1")])
        record = await backend.wait("from-parent", 30)
        print(record.state, record.result.decode())
    """
    running = asyncio.create_task(child(url, backend._namespace, body))
    assert (await waiting).result == b"1"
    await backend.transition([change("from-parent", result=b"2")])
    assert await running == ["succeeded", "2"]


async def test_an_idle_backend_holds_no_listening_connection(url, opened):
    """A backend listens only while it waits, over one connection, and forgets ended waits."""
    backend = await opened(url)
    await backend.transition([change("t1")])
    await backend.wait("t1")
    assert backend._watch._connection is None
    first = asyncio.create_task(backend.wait("t0", 60))
    await eventually(lambda: backend._watch._connection is not None, "the listening connection")
    first.cancel()
    waits = [asyncio.create_task(backend.wait("t2", 0.1)) for _ in range(20)]
    await asyncio.wait(waits)
    assert all(isinstance(wait.exception(), ResultTimeoutError) for wait in waits)
    listening = backend._watch._connection
    assert listening is not None
    assert backend._watch._marks == {}
    waiting = asyncio.create_task(backend.wait("t3", 20))
    await eventually(lambda: "t3" in backend._waiters)
    await backend.transition([change("t3")])
    assert (await waiting).state is SUCCEEDED
    assert backend._watch._connection is listening


async def test_behind_a_transaction_pooler_waiting_asks_now_and_then(url, opened):
    """Everything works without LISTEN and prepared statements; a waiter polls and finds the end."""
    backend, other = await opened(f"{url}?pooler=transaction"), await opened(url)
    waiting = asyncio.create_task(backend.wait("t1", 20))
    batch = [change("t1", RUNNING), change("t1", RUNNING, attempt=1), change("t2", RUNNING)]
    assert await backend.transition(batch) == [True] * 3
    await backend.create_group("g1", 1, ttl=60)
    assert (await report_ends(backend, "g1", 0)).complete
    await other.transition([change("t1", attempt=1)])
    stored = time.monotonic()
    assert (await waiting).state is SUCCEEDED
    assert time.monotonic() - stored < 15
    assert backend._watch._connection is None


async def test_expired_records_are_removed_while_others_are_written(url, opened, monkeypatch):
    """Expired records are removed without a purge; many of them in several steps."""
    monkeypatch.setattr("stem_amqp.results.postgres.backend._PURGE_LIMIT", 20)
    clock = ManualClock()
    backend = await opened(url, clock)
    await backend.transition([change(str(number), ttl=10) for number in range(50)])
    await backend.create_group("g1", 0, ttl=10, sealed=False)
    await backend.expand_group("g1", 1, addition="a")
    await report_ends(backend, "g1", 0)
    await backend.claim_key("k1", "t1", ttl=10)

    async def left():
        counts = []
        for table in TABLES:
            query = f"SELECT count(*) FROM {table} WHERE namespace = $1"
            counts.append((await ask(url, query, backend._namespace))[0][0])
        return counts

    async def only_the_new_one():
        return await left() == [1, 0, 0, 0, 0]

    assert await left() == [50, 1, 1, 1, 1]
    clock.advance(3600)
    await backend.transition([change("new")])
    await eventually(only_the_new_one, "the end of what has expired")


async def test_a_cancelled_call_leaves_the_pool_whole(url, opened):
    """A cancelled call does not take its connection out of the pool."""
    backend = await opened(f"{url}?pool_size=2")
    for _ in range(10):
        calls = [asyncio.create_task(backend.get("t1")) for _ in range(4)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
    assert await asyncio.gather(*(backend.get("t1") for _ in range(10))) == [None] * 10
    assert len(backend._pool._idle) <= 2


async def test_a_connection_that_was_idle_for_long_is_not_trusted(url, opened, monkeypatch):
    """It is replaced before use, since a firewall may have dropped it silently."""
    backend = await opened(url)
    await backend.ping()
    ((first, _),) = backend._pool._idle
    await backend.ping()
    assert backend._pool._idle[0][0] is first
    monkeypatch.setattr("stem_amqp.results.postgres.pool.IDLE_LIMIT", 0.0)
    await backend.ping()
    ((second, _),) = backend._pool._idle
    assert first.is_closed()
    assert not second.is_closed()


async def test_too_old_a_server_is_refused(empty, opened, monkeypatch):
    """The server's version is checked before anything is created."""
    monkeypatch.setattr("stem_amqp.results.postgres.schema.OLDEST_SERVER", 99)
    with pytest.raises(ConfigurationError, match="99 is the oldest"):
        await opened(empty)


async def test_ten_processes_can_open_an_empty_database_at_once(empty, opened):
    """One process creates the schema, and the others wait for it."""
    backends = await asyncio.gather(*(opened(empty) for _ in range(10)))
    await asyncio.gather(*(backend.ping() for backend in backends))
    assert (await ask(empty, "SELECT version FROM stem_schema")) == [(len(MIGRATIONS),)]


async def test_an_older_schema_is_migrated_and_a_newer_one_refused(empty, opened, monkeypatch):
    """Each release migrates the schema to its own version, and refuses a newer one."""
    backend = await opened(empty)
    await backend.transition([change("t1")])
    known = len(MIGRATIONS)
    newer = (*MIGRATIONS, "ALTER TABLE stem_tasks ADD COLUMN colour text")
    connection = await asyncpg.connect(empty)
    await migrate(connection, "db", newer)
    await migrate(connection, "db", newer)
    await connection.close()
    assert (await backend.get("t1")).state is SUCCEEDED
    with pytest.raises(
        ConfigurationError, match=rf"schema version {known + 1}, .* knows {known}.\n  Up"
    ):
        await opened(empty)
    assert await ask(empty, "SELECT colour FROM stem_tasks") == [(None,)]


VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('stem_tasks_by_creation')"


async def test_tables_of_before_lists_get_their_index_while_older_workers_go_on(empty, opened):
    """The index is built while others write, also after an interrupted build."""
    backend = await opened(empty)
    await backend.close()
    await ask(empty, "DROP INDEX stem_tasks_by_creation")
    older, newer = await opened(empty), await opened(empty)
    for broken in (False, True):
        if broken:
            await ask(
                empty,
                "UPDATE pg_index SET indisvalid = false FROM pg_class AS c"
                " WHERE indexrelid = c.oid AND relname = 'stem_tasks_by_creation'",
            )
        indexes = PostgresIndexes(newer._pool)
        building = asyncio.create_task(indexes.ensure())
        await older.transition([change(f"t-{broken}")])
        await building
        assert await ask(empty, VALID) == [(True,)]
    found = await newer.list_tasks()
    assert {record.task_id for record in found} == {"t-False", "t-True"}
    assert await ask(empty, "SELECT version FROM stem_schema") == [(len(MIGRATIONS),)]


async def test_two_processes_that_build_the_same_index_do_not_disturb_each_other(empty, opened):
    """One process builds it; one that failed succeeds the next time."""
    backends = [await opened(empty) for _ in range(2)]
    await ask(empty, "DROP INDEX stem_tasks_by_creation")
    indexes = [PostgresIndexes(backend._pool) for backend in backends]
    await asyncio.gather(*(one.ensure() for one in indexes), return_exceptions=True)
    for one in indexes:
        await one.ensure()
    assert await ask(empty, VALID) == [(True,)]


async def test_a_migration_that_fails_leaves_nothing_behind(empty):
    """A migration is applied completely or not at all."""
    connection = await asyncpg.connect(empty)
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await migrate(connection, "db", (*MIGRATIONS, "no SQL"))
    assert await connection.fetchval("SELECT to_regclass('stem_tasks')::text") is None
    await connection.close()


async def test_a_database_of_the_first_releases_gets_groups_that_count(empty, opened):
    """The tables of groups are made anew, since nothing used them; other records are kept."""
    connection = await asyncpg.connect(empty)
    await migrate(connection, "db", MIGRATIONS[:2])
    await connection.execute("INSERT INTO stem_groups VALUES ('stem', 'g1', 1, 1e12)")
    await connection.execute("INSERT INTO stem_keys VALUES ('stem', 'k1', 'owner', 1e12)")
    await connection.close()
    backend = await opened(empty)
    assert await ask(empty, "SELECT owner FROM stem_keys") == [("owner",)]
    await backend.create_group("g1", 2, ttl=60, sealed=False)
    assert await backend.expand_group("g1", 1, addition="a") == 2
    assert (await report_ends(backend, "g1", 0, 1, 2)).done == 3


async def test_tables_of_another_program_are_left_alone(empty, opened):
    """A table that has the name but other columns is not used."""
    await ask(empty, "CREATE TABLE stem_tasks (id integer)")
    with pytest.raises(ConfigurationError, match=r"(?s)another program.*search_path"):
        await opened(empty)
    await ask(empty, "CREATE SCHEMA stem")
    backend = await opened(f"{empty}?search_path=stem")
    assert await backend.transition([change("t1")]) == [True]
    assert await ask(empty, "SELECT count(*) FROM stem.stem_tasks") == [(1,)]


@pytest.fixture
async def role(empty):
    """Yield the URL of a role that may only connect."""
    name = f"stem_role_{uuid.uuid4().hex[:8]}"
    await ask(empty, f"CREATE ROLE {name} LOGIN PASSWORD 'geheim'")
    await ask(empty, "REVOKE CREATE ON SCHEMA public FROM public")
    parts = urlsplit(empty)
    yield name, parts._replace(netloc=f"{name}:geheim@{parts.netloc.rpartition('@')[2]}").geturl()
    await ask(empty, f"DROP OWNED BY {name}")
    await ask(empty, f"DROP ROLE {name}")


async def test_the_remedy_for_a_role_that_may_not_create_works(empty, role, opened):
    """The error names the SQL and the grants; with both the role needs no more permissions."""
    name, restricted = role
    with pytest.raises(ConfigurationError, match="permission denied") as caught:
        await opened(restricted)
    assert "geheim" not in str(caught.value)
    owner = await asyncpg.connect(empty)
    await owner.execute(schema_sql())
    with pytest.raises(ConfigurationError, match="permission denied"):
        await opened(restricted)
    grants = [line.strip() for line in str(caught.value).splitlines() if "GRANT SELECT" in line]
    assert len(grants) == 2
    for grant in grants:
        await owner.execute(grant.replace("<role>", name))
    clock = ManualClock()
    backend = await opened(restricted, clock)
    waiting = asyncio.create_task(backend.wait("t1", 20))
    await eventually(lambda: "t1" in backend._waiters)
    assert await backend.transition([change("t1", ttl=5)]) == [True]
    assert (await waiting).state is SUCCEEDED
    await backend.create_group("g1", 0, ttl=5, sealed=False)
    await backend.expand_group("g1", 1, addition="a")
    await report_ends(backend, "g1", 0)
    await backend.seal_group("g1")
    assert await backend.claim_group("g1", "t1")
    clock.advance(6)
    assert await backend.purge_expired() == 2
    await owner.execute(f"REVOKE INSERT ON stem_tasks FROM {name}")
    with pytest.raises(BackendUnavailableError, match="GRANT"):
        await backend.transition([change("t2")])
    await owner.close()


async def test_the_module_writes_the_schema(empty, opened):
    """The SQL that the module prints creates the schema of this release."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stem_amqp.results.postgres.schema"),
        cwd=Path(stem_amqp.__file__).parent.parent,
        stdout=asyncio.subprocess.PIPE,
    )
    written, _ = await process.communicate()
    assert written.decode() == postgres_schema.schema_sql()
    connection = await asyncpg.connect(empty)
    await connection.execute(written.decode())
    await connection.close()
    await (await opened(empty)).ping()


async def test_tasks_of_an_application_end_in_postgresql(url):
    """The table has the results and failures of tasks that a worker ran."""
    stem = Stem(broker_url=f"memory://{uuid.uuid4().hex}", backend_url=url, namespace="t-app")

    @stem.task("half", max_retries=0)
    async def half(number: int) -> int:
        if number % 2:
            raise ValueError("odd")
        return number // 2

    async with stem, stem.worker().running():
        handles = [await half.enqueue(number) for number in range(20)]
        results = [await handle.result(timeout=60) for handle in handles[::2]]
        assert results == list(range(10))
        for handle in handles[1::2]:
            with pytest.raises(TaskFailedError, match="odd"):
                await handle.result(timeout=60)
    states = await ask(
        url,
        "SELECT state, count(*) FROM stem_tasks WHERE namespace = 't-app' GROUP BY 1 ORDER BY 1",
    )
    assert [tuple(row) for row in states] == [("failed", 10), ("succeeded", 10)]
