"""Test unique tasks: which calls are enqueued and which are not, and when the next one is."""

import asyncio
import logging
import uuid

import pytest
from support import delivery_type, empty, eventually, remove_keys

from stem_amqp import (
    ConfigurationError,
    DuplicateTaskError,
    EnqueueManyError,
    PublishError,
    Stem,
    TaskContext,
    TaskFailedError,
    Unique,
)
from stem_amqp.transport.memory import ManualClock


@pytest.fixture
def stem(stem_with_keys):
    """Return an application on each kind of broker, with each backend that keeps keys."""
    return stem_with_keys


async def test_of_calls_at_the_same_time_one_is_enqueued_and_runs(stem):
    """Twenty concurrent calls cause one run; each gets a handle of it, and one has enqueued it."""
    runs = []

    @stem.task("sync", queue="q", unique="1h")
    async def sync(order: str) -> str:
        runs.append(order)
        return f"synced {order}"

    async with stem, stem.worker().running():
        handles = await asyncio.gather(*(sync.enqueue("a") for _ in range(20)))
        other = await sync.enqueue("b")
        assert {await handle.result(timeout=60) for handle in handles} == {"synced a"}
        assert await other.result(timeout=60) == "synced b"
        late = await sync.enqueue("a")  # the task has ended, and the window has not
    assert len({handle.id for handle in (*handles, late)}) == 1
    assert [handle.existing for handle in handles].count(False) == 1
    assert (other.existing, late.existing) == (False, True)
    assert sorted(runs) == ["a", "b"]


async def test_until_finished_lets_the_next_one_come_when_the_first_has_ended(stem):
    """The key is released after a result or a dead letter, and not while the task is retried."""
    gate, retried, attempts = asyncio.Event(), asyncio.Event(), []

    @stem.task("work", queue="q", unique=True, max_retries=1, retry={"base": "100ms", "jitter": 0})
    async def work(key: str) -> str:
        attempts.append(key)
        if key == "fails":
            if attempts.count("fails") > 1:
                await retried.wait()
            raise ValueError(key)
        await gate.wait()
        return key

    async with stem, stem.worker(concurrency=10).running():
        first = await work.enqueue("x")
        assert (await work.enqueue("x")).id == first.id
        gate.set()
        await first.result(timeout=60)
        second = await eventually(lambda: next_run(work, "x"), "a second run")
        assert second.id != first.id
        await second.result(timeout=60)
        failing = await work.enqueue("fails")
        await eventually(lambda: attempts.count("fails") >= 1, "the first attempt")
        assert (await work.enqueue("fails")).id == failing.id
        retried.set()
        with pytest.raises(TaskFailedError):
            await failing.result(timeout=60)
        assert attempts.count("fails") == 2
        again = await eventually(lambda: next_run(work, "fails"), "a second failing task")
        with pytest.raises(TaskFailedError):
            await again.result(timeout=60)


async def next_run(task, *args):
    """Enqueue a task, and return its handle if it is a new one."""
    handle = await task.enqueue(*args)
    return None if handle.existing else handle


async def test_the_second_one_can_be_an_error(stem):
    """The error names the first task, alone and in bulk; a call can override it."""

    @stem.task("sync", queue="q", unique=Unique(by=("order",), window="1h", second="error"))
    async def sync(order: str, note: str = "") -> None: ...

    async with stem:
        first = await sync.enqueue("a", note="one")
        with pytest.raises(DuplicateTaskError, match=first.id) as caught:
            await sync.enqueue("a", note="two")
        assert (caught.value.task, caught.value.task_id) == ("sync", first.id)
        calls = [sync.prepare("b"), sync.prepare("a"), sync.prepare("c")]
        with pytest.raises(EnqueueManyError, match="1 of 3") as failed:
            await stem.enqueue_many(calls)
        assert isinstance(failed.value.failed[1], DuplicateTaskError)
        assert set(failed.value.done) == {0, 2}
        assert not (await sync.options(unique=False).enqueue("a")).existing
        assert (await sync.options(unique="1h").enqueue("a", note="one")).existing is False
        assert (await sync.options(unique=Unique(by=("order",), window="1h")).enqueue("a")).existing


async def test_many_at_once_are_unique_too(stem):
    """Of each group of equal calls one is enqueued, and every call gets a handle."""

    @stem.task("sync", queue="q", unique="1h")
    async def sync(number: int) -> None: ...

    async with stem:
        handles = await stem.enqueue_many(sync.prepare(n % 5) for n in range(50))
    assert len(handles) == 50
    assert len({handle.id for handle in handles}) == 5
    assert [handle.existing for handle in handles].count(False) == 5


async def test_a_task_is_unique_by_name_without_its_code(stem, make_stem):
    """Producers with and without the code compute the same key, or name one."""

    @stem.task("sync", queue="q", unique=Unique(by=("order", "express"), window="1h"))
    async def sync(order: str, *, express: bool = False, note: str = "") -> None: ...

    producer = make_stem(settings=stem.settings)
    async with stem, producer:
        first = await sync.enqueue("a", note="x")
        second = await producer.enqueue(
            "sync",
            {"order": "a", "express": False},
            queue="q",
            unique=Unique(by=("order", "express"), window="1h"),
        )
        assert (second.id, second.existing) == (first.id, True)
        with pytest.raises(ConfigurationError, match=r"(?s)unique by express.*unique_key"):
            await producer.enqueue(
                "sync", {"order": "a"}, queue="q", unique=Unique(by=("express",), window="1h")
            )
        named = [
            await app.enqueue("sync", {"order": str(n)}, queue="q", unique_key="nightly")
            for n, app in enumerate((stem, producer))
        ]
    assert named[0].id == named[1].id


async def test_a_failed_publish_releases_the_key(stem):
    """A call whose publish failed blocks no later call."""

    @stem.task("sync", queue="q", unique="1h")
    async def sync(order: str) -> None: ...

    async with stem:
        with pytest.raises(PublishError):
            await sync.options(queue="nowhere").enqueue("a")
        assert not (await sync.enqueue("a")).existing


async def test_the_same_id_may_be_enqueued_again(stem):
    """After an uncertain confirm the call can be repeated, since the task owns its key."""

    @stem.task("sync", queue="q", unique="1h")
    async def sync(order: str) -> None: ...

    async with stem:
        call = sync.options(task_id="own-id")
        assert not (await call.enqueue("a")).existing
        assert not (await call.enqueue("a")).existing
        assert (await sync.enqueue("a")).id == "own-id"


async def test_a_worker_that_dies_before_its_acknowledgement_has_released_the_key(
    stem, monkeypatch
):
    """The redelivery does not release the key of the task that has taken it meanwhile."""
    release, lost, runs = asyncio.Event(), [], []

    @stem.task("work", queue="q", unique=True)
    async def work() -> int:
        runs.append(1)
        if len(runs) == 2:
            await release.wait()
        return len(runs)

    async with stem:
        kind = await delivery_type(stem)
        ack = kind.ack

        async def lose_the_first(delivery):
            if lost:
                return await ack(delivery)
            second = await work.enqueue()
            lost.append(second)
            return await delivery.nack(requeue=True)  # like the broker for a dead worker

        monkeypatch.setattr(kind, "ack", lose_the_first)
        async with stem.worker(concurrency=1).running():
            first = await work.enqueue()
            assert await first.result(timeout=60) == 1
            await eventually(lambda: len(runs) == 2, "the second task's run")
            (second,) = lost
            assert not second.existing
            assert (await work.enqueue()).id == second.id
            release.set()
            assert await second.result(timeout=60) == 2
            await eventually(lambda: empty(stem), "an empty queue")


async def test_a_retry_that_is_on_its_way_keeps_the_key(stem, monkeypatch):
    """A redelivery of the previous run is only acknowledged: the task has not ended."""
    lost = []

    @stem.task("work", queue="q", unique=True, max_retries=1, retry={"base": "60s", "jitter": 0})
    async def work(ctx: TaskContext) -> None:
        raise ValueError(ctx.attempt)

    async with stem:
        kind = await delivery_type(stem)
        ack, acked = kind.ack, []

        async def lose_the_first(delivery):
            if lost:
                await ack(delivery)
                acked.append(delivery)
            else:
                lost.append(delivery)
                await delivery.nack(requeue=True)

        monkeypatch.setattr(kind, "ack", lose_the_first)
        async with stem.worker().running():
            first = await work.enqueue()
            await eventually(lambda: acked, "the redelivery's end")
            assert (await work.enqueue()).id == first.id


async def test_two_namespaces_in_one_store_are_unique_each_by_itself(stem, make_stem):
    """The tasks of one environment do not block those of another."""
    other = make_stem(settings=stem.settings, namespace=stem.settings.namespace + ".staging")
    for app in (stem, other):

        @app.task("sync", queue="q", unique="1h")
        async def sync() -> None: ...

    async with stem, other:
        assert not (await stem.enqueue("sync")).existing
        assert not (await other.enqueue("sync")).existing
        await remove_keys_of(other)


async def remove_keys_of(app):
    """Delete the keys that an application has stored in a Redis."""
    url = app.settings.backend_url.get_secret_value()
    if url.startswith("redis"):
        await remove_keys(url, app.settings.namespace)


async def test_the_default_backend_names_those_that_can(make_stem):
    """Enqueueing a unique task with rpc:// is an error, and nothing is sent."""
    stem = make_stem()

    @stem.task("sync", queue="q", unique="1h")
    async def sync() -> None: ...

    async with stem:
        with pytest.raises(ConfigurationError, match=r"(?s)STEM_BACKEND_URL.*redis://"):
            await sync.enqueue()
        assert await empty(stem)


async def test_a_worker_without_a_store_says_so_and_continues(make_stem, caplog):
    """The producer's key is then kept until its window ends."""
    producer = make_stem(backend_url=f"memory://{uuid.uuid4().hex}")
    worker = make_stem()
    ran = asyncio.Event()

    @worker.task("work", queue="q")
    async def work() -> None:
        ran.set()

    async with producer, worker, worker.worker().running():
        await producer.enqueue("work", queue="q", unique=True)
        await asyncio.wait_for(ran.wait(), 60)
        await eventually(lambda: empty(worker), "an empty queue")
        await eventually(lambda: "stays unique" in caplog.text, "a warning")
    assert [r.levelno for r in caplog.records if "stays unique" in r.message] == [logging.WARNING]


async def test_when_the_window_has_passed_the_task_runs_again():
    """This holds to the second, with an advanced clock; a key without a task expires too."""
    clock, runs = ManualClock(), []
    stem = Stem(
        broker_url=f"memory://{uuid.uuid4().hex}",
        backend_url=f"memory://{uuid.uuid4().hex}",
        clock=clock,
    )

    @stem.task("sync", unique="1h")
    async def sync() -> None:
        runs.append(clock.time())

    async with stem, stem.worker().running():
        await (await sync.enqueue()).result(timeout=60)
        clock.advance(3599)
        assert (await sync.enqueue()).existing
        clock.advance(1)
        handle = await sync.enqueue()
        assert not handle.existing
        await handle.result(timeout=60)
    assert len(runs) == 2
