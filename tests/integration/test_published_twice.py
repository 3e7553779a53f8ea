"""Test that of two copies of a message one runs at a time, if the backend stores states."""

import asyncio
from collections import Counter
from urllib.parse import urlsplit

import pytest
from faults.harness.proxy import proxy_to
from support import eventually, remove_keys

from stem_amqp import Snooze, Stem

TASKS = 20
BUSY = 0.4
"""Seconds of a run, during which the other copy arrives."""


@pytest.fixture(params=["memory", "sqlite", "redis", "postgresql"])
def backend_url(request, tmp_path):
    """Return the URL of each kind of backend that stores states."""
    if request.param == "redis":
        return request.getfixturevalue("stem_redis_url")
    if request.param == "postgresql":
        return request.getfixturevalue("stem_postgres_url")
    return {"memory": "memory://twice", "sqlite": f"sqlite:///{tmp_path}/results.db"}[request.param]


def publish_twice(stem, *kinds):
    """Publish each retry, snooze or dead letter twice, like a publisher that got no confirm."""
    transport = stem.connected.transport
    publish, seen = transport.publish, []

    async def twice(publication):
        await publish(publication)
        if any(kind in publication.exchange for kind in kinds):
            seen.append(publication)
            await publish(publication)

    transport.publish = twice
    return seen


def with_task(stem, runs, first):
    """Add a task that first calls a function, and count its runs and its successes."""

    @stem.task(
        "work", queue="work", max_retries=3, retry={"base": "300ms", "factor": 1, "jitter": 0}
    )
    async def work(number: int) -> int:
        runs[number, "all"] += 1
        if runs[number, "all"] == 1:
            first()
        await asyncio.sleep(BUSY)
        runs[number, "done"] += 1
        return number

    return work


def fail():
    """Raise an error."""
    raise RuntimeError("at first")


def snooze():
    """Snooze the task."""
    raise Snooze("300ms")


@pytest.mark.parametrize("first", [fail, snooze])
async def test_a_duplicate_retry_succeeds_once(make_stem, backend_url, first):
    """Two workers get the copies at the same time: one runs the task, the other acknowledges."""
    runs = Counter()
    stems = [make_stem(backend_url=backend_url) for _ in range(2)]
    works = [with_task(stem, runs, first) for stem in stems]
    async with stems[0], stems[1]:
        published = [publish_twice(stem, ".zz-delay.") for stem in stems]
        async with (
            stems[0].worker(["work"]).running(),
            stems[1].worker(["work"]).running(),
        ):
            handles = [await works[0].enqueue(number) for number in range(TASKS)]
            for number, handle in enumerate(handles):
                assert await handle.result(timeout=60) == number
            await eventually(lambda: idle(stems[0]), "all copies are settled")
    assert sum(map(len, published)) == TASKS
    assert {runs[number, "done"] for number in range(TASKS)} == {1}
    if backend_url.startswith("redis"):
        await remove_keys(backend_url, stems[0].names.namespace)


async def idle(stem):
    """Return whether the work queue and the delay queues have no ready messages."""
    names = [stem.names.work("work"), *stem.names.delay_queues()]
    status = await stem.connected.transport.status(names)
    return all(found.ready == 0 for found in status.values())


async def test_a_copy_runs_after_the_other_copy_has_gone(make_stem):
    """Only one of two publishes has arrived: the task continues, whichever it is."""
    runs = Counter()
    stem = make_stem(backend_url="memory://gone")
    work = with_task(stem, runs, fail)
    async with stem:
        transport = stem.connected.transport
        publish, lost = transport.publish, []

        async def lose_the_first(publication):
            if ".zz-delay." in publication.exchange and not lost:
                lost.append(publication)
            await publish(publication)

        transport.publish = lose_the_first
        async with stem.worker(["work"]).running():
            assert await (await work.enqueue(7)).result(timeout=60) == 7
    assert len(lost) == 1
    assert runs[7, "done"] == 1


async def test_confirms_that_come_too_late_double_no_run(stem_broker_url, stem_redis_url):
    """The worker publishes its retries repeatedly while no confirm arrives in time."""
    runs, namespace, late = Counter(), "t-late", True
    with proxy_to(urlsplit(stem_broker_url).port) as proxy:
        url = stem_broker_url.replace(str(urlsplit(stem_broker_url).port), str(proxy.port))
        values = {"namespace": namespace, "backend_url": stem_redis_url}
        stems = [Stem(broker_url=url, **values) for _ in range(2)]
        for stem in stems:
            stem.reconfigure(publish_timeout=0.5)

        def fail_late():
            # a task that starts after the waiting must not slow the other tasks down again
            proxy.delay = 0.4 if late else 0.0
            raise RuntimeError("at first")

        for stem in stems:
            with_task(stem, runs, fail_late)
        producer = Stem(broker_url=stem_broker_url, **values)  # it waits longer for its confirms
        work = with_task(producer, runs, fail_late)
        async with stems[0], stems[1], producer:
            published = [count_delays(stem) for stem in stems]
            handles = [await work.enqueue(number) for number in range(TASKS)]
            async with (
                stems[0].worker(["work"]).running(),
                stems[1].worker(["work"]).running(),
            ):
                await eventually(
                    lambda: sum(map(sum, published)) > 2 * TASKS, "retries that are published again"
                )
                late, proxy.delay = False, 0.0
                for number, handle in enumerate(handles):
                    assert await handle.result(timeout=60) == number
                await eventually(lambda: idle(stems[0]), "all copies are settled")
            await stems[0].connected.transport.delete(stems[0].blueprint.entities)
    await remove_keys(stem_redis_url, namespace)
    doubled = {n: runs[n, "done"] for n in range(TASKS) if runs[n, "done"] != 1}
    assert not doubled


def count_delays(stem):
    """Record for each publish whether it goes to a delay, and return the list."""
    transport = stem.connected.transport
    publish, counts = transport.publish, []

    async def counted(publication):
        counts.append(".zz-delay." in publication.exchange)
        await publish(publication)

    transport.publish = counted
    return counts
