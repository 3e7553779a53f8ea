"""Test what the broker refuses while a delivery is settled: it is reported, and nothing is lost."""

import time
import uuid

import pytest
from support import eventually

from stem_amqp import Stem, TaskContext
from stem_amqp.clock import timestamp
from stem_amqp.dead_letter import ALL, DeadLetters
from stem_amqp.errors import BrokerRefusedError, PublishRefusedError
from stem_amqp.messages.message import TaskMessage
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.transport.memory import MemoryBroker
from stem_amqp.transport.publication import Publication
from stem_amqp.worker.follow_up import persist

FAST = {"base": "100ms", "jitter": 0, "max": "100ms"}


@pytest.mark.parametrize("how", ["retries", "snoozes", "dies"])
async def test_what_is_refused_for_long_is_dead_lettered_by_rabbitmq_itself(
    monkeypatch, caplog, how
):
    """The slot is free for other tasks, the state has the reason, and a replay runs again."""
    name, heard, runs = uuid.uuid4().hex, [], []
    stem = Stem(broker_url=f"memory://{name}", backend_url=f"memory://{name}")
    broker = MemoryBroker.named(name)
    monkeypatch.setattr(persist, "REFUSED_FOR", 0.5)
    stem.signals.task_settle_refused.connect()(heard.append)

    @stem.task("work", queue="q", max_retries=1, retry=FAST)
    async def work(good: bool, ctx: TaskContext) -> None:
        runs.append(good)
        if not good and how == "retries":
            raise ValueError("no")
        if not good and how == "snoozes":
            ctx.snooze("100ms")
        if not good:
            ctx.reject("no")

    async with stem:
        worker = stem.worker(["q"], concurrency=1)
        async with worker.running():
            where = stem.names.dead if how == "dies" else stem.names.delay_exchange(0)
            broker.refuse_publishes(BrokerRefusedError("access refused"), exchange=where)
            bad = await work.enqueue(good=False)
            (letter,) = await eventually(lambda: DeadLetters(stem, "q").list(), "the dead letter")
            assert (letter.id, letter.reason) == (bad.id, "rejected")
            await (await work.enqueue(good=True)).result(timeout=60)
            (event,) = await eventually(lambda: heard, "the signal")
            assert (event.id, event.fields["error"]) == (bad.id, "access refused")
            assert worker.statistics().settle_refused == 1
            assert "trying again: access refused" in caplog.text
            assert "Then replay it: stem-amqp dlq replay q" in caplog.text
            record = await stem.connected.backend.get(bad.id)
            assert (record.state.value, record.reason) == ("failed", "rejected")
            broker.accept_publishes()
            assert (await DeadLetters(stem, "q").replay(ALL)).replayed == 1
            await eventually(lambda: runs.count(False) >= 2, "the replayed run")


async def test_a_refusal_that_passes_in_time_costs_nothing(monkeypatch):
    """The task is retried normally if the permission is given within a minute."""
    name, runs = uuid.uuid4().hex, []
    stem = Stem(broker_url=f"memory://{name}", backend_url=f"memory://{name}")

    @stem.task("work", queue="q", max_retries=1, retry=FAST)
    async def work(ctx: TaskContext) -> int:
        runs.append(ctx.attempt)
        if ctx.attempt == 0:
            raise ValueError("no")
        return ctx.attempt

    async with stem, stem.worker(["q"]).running():
        MemoryBroker.named(name).refuse_publishes(
            BrokerRefusedError("access refused"), exchange=stem.names.delay_exchange(0), times=3
        )
        assert await (await work.enqueue()).result(timeout=60) == 1
        assert await DeadLetters(stem, "q").list() == []
    assert runs == [0, 1]


async def fill(stem, queue):
    """Declare and fill a foreign queue that holds one message and refuses more."""
    transport = stem.connected.transport
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    await transport.declare(
        Entities(exchanges=(), queues=(Queue(name=queue, arguments=arguments),))
    )

    async def refused():
        try:
            await transport.publish(Publication(exchange="", routing_key=queue, body=b"{}"))
        except PublishRefusedError:
            return True
        return False

    await eventually(refused, "a full queue")


async def test_a_reply_to_a_full_queue_is_given_up(make_stem, caplog):
    """After a few tries the task is settled; other tasks have their results at once."""
    stem, heard = make_stem(backend_url="rpc://"), []
    stem.signals.task_reply_given_up.connect()(heard.append)

    @stem.task("work", queue="q")
    async def work(number: int) -> int:
        return number

    async with stem:
        full, transport = f"{stem.settings.namespace}.foreign", stem.connected.transport
        await fill(stem, full)
        try:
            worker = stem.worker(["q"], concurrency=2)
            async with worker.running():
                now = timestamp(time.time())
                for number in range(2):
                    task = TaskMessage(
                        id=f"f-{number}", task="work", args={"number": number}, enqueued_at=now
                    )
                    await transport.publish(
                        Publication(
                            exchange=stem.names.tasks,
                            routing_key="q",
                            body=task.encode(),
                            reply_to=full,
                        )
                    )
                good = [await work.enqueue(number) for number in range(20)]
                assert [await one.result(timeout=60) for one in good] == list(range(20))
                await eventually(lambda: len(heard) == 2, "two replies that are given up")
                assert {event.id for event in heard} == {"f-0", "f-1"}
                assert {event.fields["state"] for event in heard} == {"succeeded"}
                await eventually(lambda: worker.statistics().done == 22, "settled deliveries")
                assert worker.statistics().replies_given_up == 2
                assert f"the reply to queue '{full}' is refused" in caplog.text
                assert await DeadLetters(stem, "q").list() == []
        finally:
            await transport.delete(Entities(exchanges=(), queues=(Queue(name=full),)))
