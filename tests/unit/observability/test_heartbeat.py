"""Heartbeats of workers: what is in them, who reads them, and how workers are listed by them."""

import asyncio
import uuid
from dataclasses import replace

import orjson
import pytest
from support import eventually

from stem_amqp import Stem, TaskContext
from stem_amqp.health import check_health
from stem_amqp.health.workers import ask_workers, different_stores
from stem_amqp.observability.registry import heartbeat as module
from stem_amqp.observability.registry import watch as watch_module
from stem_amqp.observability.registry.heartbeat import BlockedLoop, Heartbeat, RunningTask, decode
from stem_amqp.observability.registry.listing import list_workers
from stem_amqp.observability.registry.watch import watch_workers

OLD_ANSWER = (
    b'{"name":"host:12:abcdef","queues":{"orders":1},"consuming":["orders"],"running":1,"done":7,'
    b'"abandoned_threads":0,"signature_invalid":0,"settle_refused":0,"replies_given_up":0,'
    b'"waiting_for_threads":0,"threads_used_up":true,"worker_failures":2}'
)
"""The answer of release 0.1.0 to the command ``report``."""
HEARTBEAT = Heartbeat(
    name="w",
    queues={"orders": 1},
    consuming=("orders",),
    running=1,
    done=0,
    runs=(RunningTask(id="t1", task="orders.sync", queue="orders", since=100.0, fraction=0.5),),
    blocked=BlockedLoop(seconds=2.5, task="orders.sync", id="t1", place="shop.py:3 in sync"),
)


def application():
    place = f"memory://{uuid.uuid4().hex}"
    return Stem(broker_url=place, backend_url=place)


def test_a_heartbeat_is_read_as_it_was_written():
    assert decode(HEARTBEAT.encode()) == HEARTBEAT


def test_the_answer_of_an_earlier_release_is_read():
    old = decode(OLD_ANSWER)
    assert (old.name, old.running, old.done, old.threads_used_up) == ("host:12:abcdef", 1, 7, True)
    assert (old.interval, old.runs, old.blocked) == (0.0, (), None)


def test_an_earlier_release_reads_the_fields_that_it_knows():
    written = orjson.loads(HEARTBEAT.encode())
    assert isinstance(written["name"], str)
    assert written["threads_used_up"] is False
    assert written["worker_failures"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"name":1}',
        b'{"name":"w"}',
        OLD_ANSWER.replace(b'"done":7', b'"done":"x"'),
    ],
)
def test_what_is_no_heartbeat_is_ignored(body):
    assert decode(body) is None


def test_a_large_heartbeat_is_ignored():
    assert decode(OLD_ANSWER.replace(b"host", b"h" * module.LARGEST_READ)) is None


def test_a_heartbeat_that_is_too_large_has_fewer_runs():
    run = HEARTBEAT.runs[0]
    many = replace(
        HEARTBEAT, runs=tuple(replace(run, id=str(n), task="t" * 1000) for n in range(100))
    )
    body = many.encode()
    read = decode(body)
    assert len(body) <= module.LARGEST
    assert 0 < len(read.runs) < 100
    assert len(read.runs) + read.runs_omitted == 100
    assert read.runs[0].id == "0", "the oldest are kept"


async def test_a_worker_sends_heartbeats_with_what_it_runs():
    stem = application()
    stem.reconfigure(heartbeat_interval=0.05)
    go_on = asyncio.Event()

    @stem.task("orders.sync")
    async def sync(ctx: TaskContext):
        ctx.progress(0.25, message="page 1")
        await go_on.wait()

    async with stem, watch_workers(stem.connected.transport, stem.names, seal=None) as watch:
        handle = await sync.enqueue()
        async with stem.worker(name="w", concurrency=3).running():
            seen = await eventually(lambda: [s for s in watch.workers if s.heartbeat.runs])
            worker = seen[0].heartbeat
            (run,) = worker.runs
            assert (run.task, run.id, run.queue) == ("orders.sync", handle.id, "default")
            assert (run.fraction, run.message, run.attempt) == (0.25, "page 1", 0)
            assert 0 < run.since <= worker.at
            assert (worker.name, worker.running, worker.done) == ("w", 1, 0)
            assert (worker.queues, worker.capacity) == ({"default": 1}, {"default": 3})
            assert worker.consuming == ("default",)
            assert worker.pid > 0
            assert worker.memory > 1_000_000
            assert worker.threads > 0
            go_on.set()
            await eventually(lambda: watch.workers[0].heartbeat.done == 1)
        assert await watch.until(lambda: watch.workers == (), 60), "it said that it has stopped"


async def test_a_worker_without_heartbeats_answers():
    stem = application()
    stem.reconfigure(heartbeat_interval=0)
    stem.task("work")(lambda: None)
    async with stem, watch_workers(stem.connected.transport, stem.names, seal=None) as watch:
        assert not await watch.ask(), "there is no worker"
        async with stem.worker(name="w").running():
            assert watch.workers == ()
            assert await watch.ask()
            assert await watch.until(lambda: len(watch.workers) == 1, 60)
            assert watch.workers[0].heartbeat.interval == 0


async def test_the_signal_of_the_heartbeat_has_the_same_interval():
    stem = application()
    stem.reconfigure(heartbeat_interval=0.02)
    stem.task("work")(lambda: None)
    seen = []

    @stem.signals.worker_heartbeat.connect()
    def note(event):
        seen.append(event.fields)

    async with stem, stem.worker(name="w").running():
        await eventually(lambda: len(seen) >= 2)
    assert seen[0] == {"running": 0, "done": 0, "threads_used_up": False, "worker_failures": 0}


async def test_workers_are_listed_as_soon_as_all_have_answered():
    stem = application()
    stem.task("work")(lambda: None)
    async with stem:
        transport, names = stem.connected.transport, stem.names
        none = await list_workers(transport, names, {"default": 1}, seal=None, wait=60)
        assert (none.workers, none.silent) == ((), {})
        async with stem.worker(name="b").running(), stem.worker(name="a").running():
            listing = await list_workers(transport, names, {"default": 1}, seal=None, wait=60)
            assert [seen.heartbeat.name for seen in listing.workers] == ["a", "b"]
            assert listing.silent == {}


async def test_a_consumer_whose_worker_does_not_answer_is_counted():
    stem = application()
    stem.task("work")(lambda: None)
    async with stem:
        transport, names = stem.connected.transport, stem.names
        foreign = await transport.consume(names.work("default"), print, prefetch=1, tag="x")
        listing = await list_workers(transport, names, {"default": 1}, seal=None, wait=0.2)
        await foreign.close()
    assert listing.silent == {"default": 1}


async def test_a_worker_that_sends_nothing_any_more_is_not_listed(monkeypatch):
    stem = application()
    async with stem, watch_workers(stem.connected.transport, stem.names, seal=None) as watch:
        watch.take(_Delivered(replace(HEARTBEAT, interval=0.01).encode()))
        assert len(watch.workers) == 1
        await eventually(lambda: watch.workers == ())
        watch.take(_Delivered(replace(HEARTBEAT, interval=0.0).encode()))
        monkeypatch.setattr(watch_module, "LONGEST", 0.01)
        await eventually(lambda: watch.workers == ())


class _Delivered:
    def __init__(self, body):
        self.body = body


async def test_workers_with_different_stores_are_named_by_the_health_check(tmp_path):
    """Each store has an identity, which all workers with it send, and no other."""
    broker = f"memory://{uuid.uuid4().hex}"

    def shop(store):
        stem = Stem(broker_url=broker, backend_url=f"sqlite:///{tmp_path / store}")
        stem.task("orders.sync", queue="orders")(lambda: None)
        return stem

    one, two, other = shop("one.db"), shop("one.db"), shop("other.db")
    async with one, two, other, one.worker(name="w-1").running(), two.worker(name="w-2").running():
        transport = one.connected.transport

        async def stores():
            answers = await ask_workers(one, transport, wait=0.05)
            return {answer.name: answer.store for answer in answers if answer.store}

        async def known(number):
            return len(await stores()) == number

        await eventually(lambda: known(2))
        same = await ask_workers(one, transport, wait=0.05)
        assert different_stores(same) == ""
        async with other.worker(name="w-3").running():
            await eventually(lambda: known(3))
            found = await stores()
            assert found["w-1"] == found["w-2"] != found["w-3"]

            async def warned():
                report = await check_health(one, ask_workers_for=0.2, timeout=60)
                return [one for one in report.checks if "w-1, w-2 | w-3" in one.detail]

            (check,) = await eventually(warned)
    assert (check.name, check.ok, check.warning) == ("workers", True, True)
    assert "the workers use 2 different result backends" in check.detail
