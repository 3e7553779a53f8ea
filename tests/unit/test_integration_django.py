"""Stem in a Django project; each test has its own process, as Django is configured only once."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROJECT = """
import asyncio

import django
from django.conf import settings

settings.configure(
    DATABASES={{"default": {{
        "ENGINE": "django.db.backends.sqlite3", "NAME": r"{folder}/shop.db", {database}
    }}}},
    INSTALLED_APPS=["stem_amqp.integrations.django", "shop"],
)
django.setup()

from django.db import connection, transaction
from shop.queue import stem
from shop import queue
from stem_amqp.integrations.django import enqueue_on_commit
from stem_amqp.errors import ArgumentsError, BrokerError


def waiting():
    async def count():
        name = stem.names.work("q")
        async with stem:
            return (await stem.connected.transport.status([name]))[name].ready

    stem.blocking_producer.close()  # what is in memory stays for the next event loop
    return asyncio.run(count())
"""

QUEUE = """
from stem_amqp.integrations.django import DjangoStem

stem = DjangoStem(broker_url="memory://a", backend_url="memory://a", namespace="t")
seen = []
"""

TASKS = """
from django.db import connection, connections
from shop.queue import seen, stem
from stem_amqp import Depends, TaskContext


def session() -> int:
    yield connection.cursor().execute("select 7").fetchone()[0]


@stem.task("work", queue="q")
def work(ctx: TaskContext, number: int, seven: int = Depends(session)) -> list:
    was_open = connection.connection is not None
    connection.cursor().execute("select 1")
    return [number, seven, was_open, dict(ctx.meta)]


@stem.task("plain", queue="q")
def plain(number: int) -> bool:
    was_open = connection.connection is not None
    connection.cursor().execute("select 1")
    seen.append(connections["default"])  # this thread's own
    if number < 0:
        raise ValueError
    return was_open
"""


@pytest.fixture
def run(tmp_path):
    """Run code in a project with an application `shop`."""

    def run(code, database=""):
        shop = tmp_path / "shop"
        shop.mkdir()
        (shop / "__init__.py").touch()
        (shop / "queue.py").write_text(QUEUE)
        (shop / "tasks.py").write_text(TASKS)
        script = tmp_path / "script.py"
        project = PROJECT.format(folder=tmp_path, database=database)
        script.write_text(project + textwrap.dedent(code))
        ran = subprocess.run(
            [sys.executable, "-W", "error", script],
            env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr

    return run


def test_a_task_is_enqueued_when_the_transaction_is_committed(run):
    """This also holds for nested blocks and call options; without a transaction it is immediate."""
    run("""
    from shop.tasks import plain, work

    with transaction.atomic():
        with transaction.atomic():
            first = enqueue_on_commit(work, 1)
        named = enqueue_on_commit(work.options(task_id="mine", meta={"a": 1}), number=2)
        assert named == "mine"
        assert waiting() == 0
    assert waiting() == 2
    try:
        with transaction.atomic():
            enqueue_on_commit(work, 3)
            raise KeyError
    except KeyError:
        assert waiting() == 2
    enqueue_on_commit(plain, 4)
    assert waiting() == 3

    async def main():
        async with stem, stem.worker().running():
            assert (await stem.handle(first).result(timeout=60))[:2] == [1, 7]
            assert (await stem.handle("mine").result(timeout=60))[3] == {"a": 1}

    asyncio.run(main())
    """)


def test_wrong_arguments_are_raised_in_the_transaction_and_a_failed_publish_after_it(run):
    """The first can be rolled back; the second is raised to the caller, and the rows stay."""
    run("""
    from shop.tasks import plain, work

    cursor = connection.cursor()
    cursor.execute("create table rows (id integer)")
    try:
        with transaction.atomic():
            cursor.execute("insert into rows values (1)")
            enqueue_on_commit(plain, "many")
    except ArgumentsError:
        assert cursor.execute("select count(*) from rows").fetchone() == (0,)
    else:
        raise AssertionError

    def refuse(call):
        raise BrokerError("away")

    stem.blocking_producer.enqueue_call = refuse
    try:
        with transaction.atomic():
            cursor.execute("insert into rows values (1)")
            enqueue_on_commit(plain, 1)
    except BrokerError:
        assert cursor.execute("select count(*) from rows").fetchone() == (1,)
    else:
        raise AssertionError
    """)


def test_a_task_leaves_no_old_connection_and_keeps_a_young_one(run):
    """This holds in the task's thread, with and without an error; a plain call closes none."""
    run("""
    from shop.tasks import plain, work

    async def main():
        async with stem, stem.worker().running():
            for number in (1, 2):
                handle = await plain.enqueue(number)
                assert await handle.result(timeout=60) is False
            try:
                await (await plain.options(max_retries=0).enqueue(-1)).result(timeout=60)
            except Exception:
                pass

    asyncio.run(main())
    assert len(queue.seen) == 3
    assert [one.connection for one in queue.seen] == [None] * 3
    connection.ensure_connection()
    assert plain(1) is True and connection.connection is not None
    """)


def test_a_young_connection_is_kept(run):
    """`CONN_MAX_AGE` decides."""
    run(
        """
    from shop.tasks import plain, work

    async def main():
        async with stem, stem.worker(concurrency=1).running():
            await (await plain.enqueue(1)).result(timeout=60)

    asyncio.run(main())
    assert queue.seen[0].connection is not None
    queue.seen[0].inc_thread_sharing()
    queue.seen[0].close()
    """,
        database='"CONN_MAX_AGE": 60',
    )
