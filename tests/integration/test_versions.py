"""Test a queue that is replaced by its next version: declaring, binding and consuming."""

import asyncio
import logging
import uuid

import pytest
from support import eventually

from stem_amqp.health.examination import check_health
from stem_amqp.health.queues import queue_report
from stem_amqp.provision.apply import apply
from stem_amqp.provision.verify import verify
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.topology.model import Topology


def topology(version=1, **values):
    """Return a topology whose queue q has a version."""
    return Topology.model_validate(
        {"version": 1, "queues": {"q": {"version": version, "type": "classic", **values}}}
    )


@pytest.fixture
async def forget(make_stem):
    """Yield a function that makes applications of one namespace; delete all versions afterwards."""
    backend = f"memory://{uuid.uuid4().hex}"

    def make(version=1):
        stem = make_stem(topology=topology(version), backend_url=backend)

        @stem.task("t", queue="q")
        async def t(number: int) -> int:
            return number

        return stem

    yield make
    stem = make_stem(topology=topology(), backend_url=backend)
    stem.reconfigure(provision="none")
    async with stem:
        names = stem.names.works("q", 1).values()
        queues = tuple(Queue(name=name) for name in names)
        await stem.connected.transport.delete(Entities(queues=queues))


async def ready(stem, version):
    """Return the number of ready tasks in one version of the queue; None if it does not exist."""
    name = stem.names.work("q", version)
    status = (await stem.connected.transport.status([name]))[name]
    return None if status is None else status.ready


async def consumers(stem, version):
    """Return the number of consumers of one version of the queue."""
    name = stem.names.work("q", version)
    status = (await stem.connected.transport.status([name]))[name]
    return 0 if status is None else status.consumers


async def remove(stem, version):
    """Delete one version of the queue."""
    queue = Queue(name=stem.names.work("q", version))
    await stem.connected.transport.delete(Entities(queues=(queue,)))


async def test_the_first_version_of_a_new_queue_may_be_any(forget):
    """If no other version exists, the one in the file is declared and bound."""
    async with forget(version=3) as stem:
        await stem.enqueue("t", {"number": 1})
        assert [await ready(stem, version) for version in (1, 2, 3, 4)] == [None, None, 1, None]


async def test_a_next_version_is_declared_and_not_bound_while_the_earlier_one_exists(
    forget, caplog
):
    """Otherwise every task would be in both; the log says what to do."""
    async with forget() as old, forget(version=2) as new:
        await new.enqueue("t", {"number": 1})
        await old.enqueue("t", {"number": 2})
        assert (await ready(old, 1), await ready(old, 2)) == (2, 0)
    assert "stem-amqp topology migrate -Q q" in caplog.text
    assert caplog.text.count("stem-amqp topology migrate -Q q") == 1


async def test_an_outdated_process_neither_declares_nor_binds_its_version(forget, caplog):
    """Its tasks go to the later version, and it logs once that its file is outdated."""
    caplog.set_level(logging.WARNING)
    async with forget(version=2) as new:
        async with forget() as old:
            await old.enqueue("t", {"number": 1})
            assert (await ready(old, 1), await ready(old, 2)) == (None, 1)
            await apply(old.connected.transport, old.blueprint.entities)
            await verify(old.connected.transport, old.blueprint.entities)
        assert await ready(new, 1) is None
    assert caplog.text.count("has moved to version 2; this process's topology has version 1") == 1


async def test_a_worker_consumes_both_versions_through_the_change(forget, caplog):
    """It consumes the earlier version too, and continues without it and without a warning."""
    async with forget() as old, forget(version=2) as new, new.worker(["q"]).running() as worker:
        assert (await consumers(new, 1), await consumers(new, 2)) == (1, 1)
        first = await old.enqueue("t", {"number": 1})
        assert await new.handle(first.id).result(timeout=60) == 1
        await remove(new, 1)
        await eventually(lambda: worker.statistics().consuming == ("q",))
        await apply(new.connected.transport, new.blueprint.entities)
        second = await old.enqueue("t", {"number": 2})
        assert await new.handle(second.id).result(timeout=60) == 2
        assert await consumers(new, 2) == 1
        assert await ready(new, 1) is None


async def test_a_worker_of_the_old_version_moves_on_when_its_queue_is_deleted(forget, caplog):
    """It consumes the next version, and does not declare the old one again."""
    caplog.set_level(logging.INFO)
    async with forget() as old, old.worker(["q"]).running(), forget(version=2) as new:
        await remove(new, 1)
        await apply(new.connected.transport, new.blueprint.entities)

        async def moved():
            return await consumers(new, 2) == 1

        await eventually(moved)
        task = await new.enqueue("t", {"number": 3})
        assert await old.handle(task.id).result(timeout=60) == 3
        assert await ready(new, 1) is None
    assert "version 1 no longer exists, consuming version 2" in caplog.text


async def test_a_worker_restores_its_only_version(forget):
    """If no other version exists, a deleted queue is declared again."""
    async with forget() as stem, stem.worker(["q"]).running():
        await remove(stem, 1)
        task = await asyncio.wait_for(_until_routed(stem), 60)
        assert await stem.handle(task.id).result(timeout=60) == 4


async def _until_routed(stem):
    async def back():
        return await consumers(stem, 1) == 1

    await eventually(back)
    return await stem.enqueue("t", {"number": 4})


async def test_more_deliveries_than_slots_run_no_more_at_once(forget):
    """The concurrency applies to the queue, whatever the number of its versions."""
    running, most = 0, 0
    async with forget() as old:
        new = forget(version=2)
        gate = asyncio.Event()

        @new.task("slow", queue="q")
        async def slow() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await gate.wait()
            running -= 1

        async with new:
            for _ in range(6):
                await old.enqueue("slow", queue="q")
            async with new.worker(["q"], concurrency=2).running() as worker:
                await eventually(lambda: worker.statistics().running == 2)
                gate.set()
                await eventually(lambda: worker.statistics().done == 6)
    assert most == 2


async def test_the_report_and_health_know_both_versions(forget):
    """An operator sees which version has tasks, and a worker of either version counts."""
    async with forget() as old, forget(version=2) as new:
        await old.enqueue("t", {"number": 1})
        report = await queue_report(new, new.connected.transport, management=None)
        assert [(line.name, line.ready) for line in report.queues] == [
            (new.names.work("q"), 1),
            (new.names.work("q", 2), 0),
        ]
        async with old.worker(["q"]).running():
            health = await check_health(new, require_consumers=["q"])
            details = {check.name: check.detail for check in health.checks}
            assert details["consumers"] == "q 2"
            assert health.healthy, health
        await remove(new, 1)
        report = await queue_report(old, old.connected.transport, management=None)
        assert [line.name for line in report.queues] == [new.names.work("q", 2)]
