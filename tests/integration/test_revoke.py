"""Revoked tasks do not run, whenever their workers started, and whoever else decided at the same time."""

import asyncio
import threading
import time
import uuid

import pytest
from support import eventually

from stem_amqp.directives import in_broker
from stem_amqp.directives.document import Document, Entry
from stem_amqp.directives.model import Directive, Kind, Target
from stem_amqp.errors import ConfigurationError, TaskFailedError, TopologyMissingError
from stem_amqp.messages.commands import Directed
from stem_amqp.observability import Exporter
from stem_amqp.topology.entities import Entities, Exchange, Queue
from stem_amqp.topology.names import COMMAND_KEY, DOCUMENT_KEY
from stem_amqp.transport.publication import Publication


@pytest.fixture
def ran():
    """Return the numbers of the tasks that ran."""
    return []


def with_task(stem, ran):
    """Give an application a task that records its runs."""

    @stem.task("orders.sync", queue="q")
    async def sync(number: int) -> None:
        ran.append(number)

    return sync


@pytest.fixture
def sync(stem, ran):
    """Return a task that records its runs."""
    return with_task(stem, ran)


async def end(handle):
    """Wait for a task that does not succeed, and return its state and reason."""
    with pytest.raises(TaskFailedError) as caught:
        await handle.result(timeout=60)
    return caught.value.state, caught.value.reason


def desk(stem):
    """Return what stores the directives of an application."""
    return stem.connected.desk(stem.blueprint)


async def test_a_task_that_is_revoked_while_no_worker_runs_does_not_run(stem, sync, ran):
    """The worker that starts later obeys; queued and delayed tasks alike."""
    async with stem:
        queued = await sync.enqueue(1)
        delayed = await sync.options(delay="300ms").enqueue(2)
        for handle in (queued, delayed):
            issued = await stem.revoke(handle.id, reason="not needed")
            assert not issued.heard
            assert issued.directive.expires > time.time() + 29 * 86_400
        other = await sync.enqueue(3)
        async with stem.worker(["q"]).running():
            assert await end(queued) == ("revoked", "not needed")
            assert await end(delayed) == ("revoked", "not needed")
            await other.result(timeout=60)
    assert ran == [3]


async def test_all_tasks_that_match_and_were_enqueued_before_are_revoked(make_stem, ran):
    """By name, queue, metadata and unique key; later ones run; the worker hears of it at once."""
    stem = make_stem(backend_url=f"memory://{uuid.uuid4().hex}")
    sync = with_task(stem, ran)
    async with stem:
        acme = await sync.options(meta={"tenant": "acme"}).enqueue(1)
        other = await sync.options(meta={"tenant": "other"}).enqueue(2)
        await stem.revoke_all(task="orders.*", meta={"tenant": "acme"}, reason="flood")
        later = await sync.options(meta={"tenant": "acme"}).enqueue(3)
        async with stem.worker(["q"]).running() as worker:
            assert await end(acme) == ("revoked", "flood")
            await other.result(timeout=60)
            await later.result(timeout=60)
            issued = await stem.revoke_all(queue="q", reason="all of it")
            assert issued.heard
            await eventually(
                lambda: len(worker.steering.directives.in_effect(Kind.REVOKE)) == 2, "the news"
            )
    assert sorted(ran) == [2, 3]


async def test_a_revocation_divides_what_is_enqueued_before_it_from_what_comes_after(
    make_stem, ran
):
    """Also where all of it is done within one millisecond."""
    stem = make_stem(backend_url=f"memory://{uuid.uuid4().hex}")
    sync = with_task(stem, ran)
    async with stem:
        handles = []
        for number in range(10):
            handles.append(await sync.enqueue(number))
            await stem.revoke_all(task="orders.*")
        handles += [await sync.enqueue(number) for number in range(100, 103)]
        async with stem.worker(["q"]).running():
            ends = [await end(one) for one in handles[:10]]
            for one in handles[10:]:
                await one.result(timeout=60)
    assert ends == [("revoked", "revoked")] * 10
    assert sorted(ran) == [100, 101, 102]


async def test_a_withdrawn_revocation_lets_a_task_run(stem, sync, ran):
    """One that does not exist cannot be withdrawn, and the error names those that do."""
    async with stem:
        handle = await sync.enqueue(1)
        await stem.revoke(handle.id)
        with pytest.raises(ConfigurationError, match=f"no revoke of id x .*\n.*id {handle.id}"):
            await desk(stem).withdraw(Kind.REVOKE, Target(id="x"))
        await desk(stem).withdraw(Kind.REVOKE, Target(id=handle.id))
        with pytest.raises(ConfigurationError, match="none is in force"):
            await desk(stem).withdraw(Kind.REVOKE, Target(id=handle.id))
        async with stem.worker(["q"]).running():
            await handle.result(timeout=60)
    assert ran == [1]


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ({}, "nothing says which tasks"),
        ({"task": ""}, "task must be a text"),
        ({"queue": 7}, "queue must be a text"),
        ({"meta": {"tenant": 7}}, "meta must be texts"),
        ({"task": "t", "lifetime": "2w3d1000h9999d"}, "at most 365 d"),
        ({"task": "t", "lifetime": 0}, "more than 0 s"),
        ({"task": "t", "meta": {str(n): "x" * 200 for n in range(40)}}, "4096 are allowed"),
    ],
    ids=str,
)
async def test_a_revocation_that_is_not_valid_is_refused(stem, target, text):
    """Nothing is stored then."""
    async with stem:
        with pytest.raises(ConfigurationError, match=text):
            await stem.revoke_all(**target)
        assert (await desk(stem).read()).entries == {}


async def test_a_worker_starts_without_a_queue_for_directives_and_reads_it_later(
    stem, sync, caplog, monkeypatch
):
    """The log names the remedy; the worker reads again after the queue was declared."""
    async with stem:
        names = stem.names
        stores = stem.connected.desk(stem.blueprint).stores
        await stem.connected.transport.delete(
            Entities(
                exchanges=(Exchange(name=names.directives, type="direct"),),
                queues=(Queue(name=names.directives),),
            )
        )
        async with stem.worker(["q"]).running() as worker:
            await (await sync.enqueue(1)).result(timeout=60)
            assert "cannot be read from rabbitmq" in caplog.text
            assert "stem-amqp topology apply" in caplog.text
            if len(stores) == 1:
                with pytest.raises(TopologyMissingError):
                    await stem.revoke("t1")
            await stem.connected.transport.declare(stem.blueprint.entities)
            await worker.steering.keeper.read()
            await stem.revoke("t1")
            await worker.steering.keeper.read()
            assert len(worker.steering.directives.in_effect(Kind.REVOKE)) == 1


async def test_operators_who_decide_at_the_same_time_lose_no_change(make_stem):
    """Four processes each issue ten directives at once; all forty are stored."""
    stems = [make_stem(backend_url="rpc://") for _ in range(4)]
    for stem in stems:
        await stem.connect()
    try:
        await asyncio.gather(
            *(
                stem.revoke(f"t-{index}-{number}")
                for index, stem in enumerate(stems)
                for number in range(10)
            )
        )
        stored = await desk(stems[0]).read()
        assert len(stored.entries) == 40
        assert len(stored.history) == 40
        name = stems[0].names.directives

        async def returned():
            """RabbitMQ counts a message that was returned a moment later."""
            return (await stems[0].connected.transport.status([name]))[name].ready

        await eventually(returned)
    finally:
        for stem in stems:
            await stem.close()


async def test_a_change_is_not_lost_while_another_process_keeps_the_document(
    make_stem, monkeypatch, caplog
):
    """After a while it is published beside it; both are merged by whoever takes them next."""
    monkeypatch.setattr(in_broker.BrokerStore.__init__, "__kwdefaults__", {"patience": 0.3})
    stem = make_stem(backend_url="rpc://")
    async with stem:
        transport, name = stem.connected.transport, stem.names.directives
        await stem.revoke("t1")
        held = asyncio.Event()
        stuck = await transport.consume(name, lambda _: held.set(), prefetch=5, tag="stuck")
        await asyncio.wait_for(held.wait(), 60)
        await stem.revoke("t2")
        assert "another process may have it" in caplog.text
        await stuck.close()
        for store in desk(stem).stores:
            store._patience = 60.0  # from now on the document is there, if only after a while
        assert {one.target.id for one in (await desk(stem).read()).directives} == {"t1", "t2"}
        await stem.revoke("t3")

        async def one_copy():
            return (await transport.status([name]))[name].ready == 1

        await eventually(one_copy)
        assert len((await desk(stem).read()).directives) == 3


async def test_a_directive_that_is_stored_elsewhere_is_obeyed_and_reported(stem, sync, caplog):
    """The worker would not know it after a restart."""
    directive = Directive(
        kind=Kind.PAUSE, target=Target(queue="x"), at=1.0, nonce="n", store="shelf", by="ann"
    )
    async with stem, stem.worker(["q"]).running() as worker:
        for _ in range(2):
            await stem.connected.transport.publish(
                Publication(
                    exchange=stem.names.directives,
                    routing_key=COMMAND_KEY,
                    body=directive.encode(),
                    type=Directed.TYPE,
                )
            )
        await eventually(lambda: worker.steering.directives.paused_queue("x"), "the pause")
    assert caplog.text.count("stored in shelf") == 1
    assert "the same STEM_BACKEND_URL" in caplog.text


async def test_what_others_put_into_the_queue_changes_nothing(make_stem, caplog, ran):
    """Without a valid signature an entry is ignored; what is no document is reported."""
    key = "k1:" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ="
    stem = make_stem(backend_url="rpc://")
    stem.reconfigure(signing_key=key)
    sync = with_task(stem, ran)
    counted = []

    class Counts(Exporter):
        def commanded(self, command, outcome):
            counted.append((command, outcome))

    stem.add_exporter(Counts())
    forged = Directive(kind=Kind.REVOKE, target=Target(task="*"), at=time.time() + 1e6, nonce="x")
    document = Document(entries={forged.identity: Entry(forged.encode(), None, forged)})
    async with stem:
        await stem.revoke("t1")

        async def put(body):
            await stem.connected.transport.publish(
                Publication(exchange=stem.names.directives, routing_key=DOCUMENT_KEY, body=body)
            )

        await put(document.encode())
        async with stem.worker(["q"]).running() as worker:
            await (await sync.enqueue(1)).result(timeout=60)
            assert [one.target.id for one in worker.steering.directives.in_effect(Kind.REVOKE)] == [
                "t1"
            ]
            assert worker.steering.desk.trust.refused == 1
            assert "1 stored directives without a valid signature" in caplog.text
            assert counted.count(("revoke", "signature")) == 1
            await put(b"junk")
            await worker.steering.keeper.read()
            assert counted.count(("revoke", "signature")) == 1, "each entry once"
            assert "cannot be read from rabbitmq" in caplog.text
            await stem.connected.transport.publish(
                Publication(
                    exchange=stem.names.directives,
                    routing_key=COMMAND_KEY,
                    body=forged.encode(),
                    type=Directed.TYPE,
                )
            )
            await eventually(lambda: "it is not signed" in caplog.text, "the refusal")
            await (await sync.enqueue(2)).result(timeout=60)
    assert ran == [1, 2]


async def test_terminate_ends_what_runs(stem, caplog):
    """An async task is cancelled; of one in a thread that blocks, the log says that it goes on."""
    started, release = asyncio.Event(), threading.Event()
    blocked = threading.Event()

    @stem.task("jobs.forever", queue="q")
    async def forever() -> None:
        started.set()
        await asyncio.Event().wait()

    @stem.task("jobs.thread", queue="q")
    def thread() -> None:
        blocked.set()
        release.wait()

    try:
        async with stem, stem.worker(["q"]).running():
            handles = [await forever.enqueue(), await thread.enqueue()]
            await asyncio.wait_for(started.wait(), 60)
            await eventually(blocked.is_set, "the thread")
            await asyncio.sleep(0.002)  # times are compared in milliseconds
            await stem.revoke_all(task="jobs.*", reason="stop it", terminate=True)
            for handle in handles:
                assert await end(handle) == ("revoked", "stop it")
            release.set()
    finally:
        release.set()
    assert f"task jobs.thread {handles[1].id} is revoked while it runs in a thread" in caplog.text
    assert caplog.text.count("runs in a thread") == 1


def test_a_blocking_producer_revokes(make_stem):
    """The same for code without an event loop."""
    stem = make_stem(backend_url="rpc://")
    with stem.blocking() as producer:
        assert not producer.revoke("t1").heard
        assert producer.revoke_all(task="a.*").directive.target == Target(task="a.*")

    async def stored():
        async with stem:
            return (await desk(stem).read()).directives

    if not stem.settings.in_memory:
        assert len(asyncio.run(stored())) == 2
