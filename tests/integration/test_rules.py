"""Test the ten rules of the design, on RabbitMQ and on the in-memory broker.

`test_rule_4…` checks rule 4 in the source. Other tests check rule 9 (tests/contract, tests/faults)
and rule 10 (tests/unit/test_states.py, tests/contract/results).
"""

import ast
import asyncio
from pathlib import Path

import orjson
import pytest
from support import eventually

import stem_amqp
from stem_amqp import TaskContext, TaskState, delay
from stem_amqp.errors import BackendUnavailableError, PublishError, UnroutableError
from stem_amqp.messages.message import ATTEMPT, REASON
from stem_amqp.transport.publication import Publication

PACKAGE = Path(stem_amqp.__file__).parent


async def letters(stem, queue="work"):
    """Return the dead letters of a queue, which stay there."""
    async with stem.connected.transport.browse(stem.names.dlq(queue)) as deliveries:
        return [delivery async for delivery in deliveries]


async def ready(stem, queue="work"):
    """Return the number of ready messages of a work queue."""
    name = stem.names.work(queue)
    return (await stem.connected.transport.status([name]))[name].ready


async def test_rule_1_ack_last_a_result_that_cannot_be_stored_keeps_the_message(stem, monkeypatch):
    """The delivery is acknowledged only once its result is stored; before, storing is retried."""
    runs = []

    @stem.task("work", queue="work")
    async def work() -> int:
        runs.append(1)
        return 7

    async with stem:
        backend = stem.connected.backend
        real, failures = backend.transition, []

        async def failing(changes):
            if any(change.state is TaskState.SUCCEEDED for change in changes) and len(failures) < 5:
                failures.append(changes)
                raise BackendUnavailableError("down")
            return await real(changes)

        monkeypatch.setattr(backend, "transition", failing)
        async with stem.worker(["work"]).running():
            handle = await work.enqueue()
            assert await handle.result(timeout=60) == 7
    assert len(failures) == 5
    assert len(runs) == 1


async def test_rule_1_ack_last_a_retry_that_cannot_be_published_keeps_the_message(
    stem, monkeypatch
):
    """The failed attempt stays unacknowledged until the broker has confirmed the next one."""
    runs = []

    @stem.task("work", queue="work", retry={"base": "100ms", "jitter": 0})
    async def work(ctx: TaskContext) -> int:
        runs.append(ctx.attempt)
        if ctx.attempt == 0:
            raise ValueError("first")
        return ctx.attempt

    async with stem:
        transport = stem.connected.transport
        real, failures = transport.publish, []

        async def failing(publication):
            if ".zz-delay." in publication.exchange and len(failures) < 3:
                failures.append(publication)
                raise PublishError("down")
            await real(publication)

        monkeypatch.setattr(transport, "publish", failing)
        async with stem.worker(["work"]).running():
            assert await (await work.enqueue()).result(timeout=60) == 1
    assert len(failures) == 3
    assert runs == [0, 1]


async def test_rule_2_a_publish_that_no_queue_takes_is_a_typed_error(stem):
    """Every publish is mandatory: a missing queue loses no message silently."""

    @stem.task("work", queue="work")
    async def work() -> None:
        raise AssertionError

    async with stem:
        with pytest.raises(UnroutableError, match="nowhere"):
            await work.options(queue="nowhere").enqueue()
        assert await ready(stem) == 0


async def test_rule_3_a_tasks_body_never_changes(stem):
    """Retries, dead letters and replays have the producer's bytes; only headers change."""
    bodies, attempts = [], []

    @stem.task("work", queue="work", max_retries=2, retry={"base": "100ms", "jitter": 0})
    async def work(text: str, ctx: TaskContext) -> None:
        bodies.append((ctx.attempt, dict(ctx.headers)))
        raise ValueError(text)

    async with stem:
        handle = await work.options(meta={"request_id": "r-1"}).enqueue("ü")
        async with stem.connected.transport.browse(stem.names.work("work")) as deliveries:
            sent = [delivery.body async for delivery in deliveries]
        async with stem.worker(["work"]).running():
            await eventually(lambda: letters(stem), "a dead letter")
        (letter,) = await letters(stem)
        assert [letter.body] == sent
        assert letter.headers[ATTEMPT] == 2
        assert letter.headers[REASON] == "retries-exhausted"
        assert letter.correlation_id == handle.id
        assert letter.type == "work"
        assert [attempt for attempt, _ in bodies] == [0, 1, 2]
        for _, headers in bodies:
            assert not any(name.startswith("x-death") for name in headers) or headers[ATTEMPT] > 0
    assert attempts == []


def calls_of(names):
    """Yield the places where the package calls functions or methods of these names."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", None))
                if called in names:
                    yield str(path.relative_to(PACKAGE)), called


def test_rule_4_one_module_publishes():
    """One module publishes with a confirm; the client library's own publish is not used.

    Another one sends events, heartbeats and answers to operators, which are transient and no tasks.
    """
    writers = {path for path, _ in calls_of({"write_message"})}
    assert writers == {"transport/amqp/confirms.py", "transport/amqp/sender.py"}
    assert {path for path, _ in calls_of({"Sender"})} == {"transport/amqp/transport.py"}
    senders = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "transport.send(" in path.read_text()
    }
    assert senders == {
        "observability/events/exporter.py",
        "worker/report/presence.py",
        "worker/steering/answers.py",
    }
    assert not set(calls_of({"basic_publish"}))


def test_rule_4_one_module_writes_settlements():
    """One module sends acks; the client library's own ack is not used."""
    assert {path for path, _ in calls_of({"write_ack"})} == {"transport/amqp/settler.py"}
    assert not set(calls_of({"basic_ack", "basic_nack", "basic_reject"}))


def test_rule_4_one_module_settles():
    """Only `worker/settle.py` settles deliveries of tasks.

    The state of a group in ``rpc://``, the document of directives and the message whose consumer is the leading
    scheduler are messages too, but no tasks.
    """
    callers = {
        path for path, _ in calls_of({"ack", "nack", "reject"}) if not path.startswith("transport/")
    }
    assert callers == {
        "worker/settle.py",
        "results/rpc/hold.py",
        "directives/in_broker.py",
        "scheduler/leadership.py",
    }


async def test_rule_5_a_work_queue_dead_letters_only_to_its_own_dead_letter_queue(stem):
    """A rejected delivery goes there at once, and never to a delay queue."""

    @stem.task("work", queue="work")
    async def work() -> None:
        raise AssertionError

    async with stem:
        await work.enqueue()
        async with stem.connected.transport.browse(stem.names.work("work")) as deliveries:
            async for delivery in deliveries:
                await delivery.reject(requeue=False)
        (letter,) = await eventually(lambda: letters(stem), "the dead letter")
        assert letter.headers["x-first-death-reason"] == "rejected"


async def test_rule_6_a_delay_waits_in_the_broker(stem):
    """A delayed task is in a delay queue, not in the worker, and never arrives early."""
    started = []

    @stem.task("work", queue="work")
    async def work() -> None:
        started.append(clock.time())

    async with stem:
        clock = stem.connected.transport.clock
        async with stem.worker(["work"]).running() as worker:
            await work.options(delay="1000s").enqueue()
            names = stem.names.delay_queues()
            held = await eventually(lambda: occupied(stem, names), "a message in a delay queue")
            assert worker.statistics().running == 0
            assert set(held) == {stem.names.delay_queue(4, 1)}
            assert not started
            enqueued = clock.time()
            await work.options(delay="1200ms").enqueue()
            await eventually(lambda: started, "the run")
            assert await occupied(stem, names) == held
    assert started[0] - enqueued >= 1.2
    assert len(started) == 1


async def occupied(stem, queues):
    """Return the queues that contain messages."""
    status = await stem.connected.transport.status(queues)
    return {name: one.ready for name, one in status.items() if one and one.ready}


async def test_rule_7_what_exists_is_a_function_of_topology_and_namespace(stem):
    """Nothing is missing after connecting, and connecting again changes nothing."""

    @stem.task("work", queue="work")
    async def work() -> None:
        raise AssertionError

    async with stem:
        assert await stem.connected.transport.missing(stem.blueprint.entities) == []
    async with stem:
        assert await stem.connected.transport.missing(stem.blueprint.entities) == []


def test_rule_7_only_provision_declares():
    """No other module of the application declares what a deploy needs.

    The queues of groups in ``rpc://``, the queues that hold the messages of a paused task, and the places
    of limits without a store are made on demand, and the rights for them are documented.
    The testing kit declares on the in-memory broker that it makes.
    """
    others = ("transport/", "provision/", "testing/kit/")
    callers = {path for path, _ in calls_of({"declare"}) if not path.startswith(others)}
    assert callers <= {
        "results/rpc/groups.py",
        "worker/gates/limits/broker_places.py",
        "worker/pauses/holding.py",
    }


async def test_rule_8_a_consumer_never_has_more_than_its_prefetch(stem):
    """With a concurrency of three, three tasks run, and the others wait in their queue."""
    running, most, release = 0, 0, asyncio.Event()

    @stem.task("work", queue="work", ignore_result=True)
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1

    async with stem:
        await stem.enqueue_many(work.prepare() for _ in range(10))
        async with stem.worker(["work"], concurrency=3).running() as worker:
            await eventually(lambda: running == 3, "three running tasks")
            assert await eventually(lambda: ready_is(stem, 7), "seven in the queue")
            release.set()
            await eventually(lambda: worker.statistics().done == 10, "all done")
    assert most == 3


async def ready_is(stem, count):
    """Return whether the work queue has a number of ready messages."""
    return await ready(stem) == count


async def test_rule_8_every_path_settles(stem):
    """Undecodable, unknown, invalid, expired, failed, rejected and snoozed messages are settled."""
    stem.reconfigure(unknown_task_wait=0)

    @stem.task("work", queue="work", max_retries=0)
    async def work(how: str, ctx: TaskContext) -> None:
        if how == "fail":
            raise ValueError(how)
        if how == "reject":
            ctx.reject("no use")
        if how == "snooze" and "stem-not-before" not in ctx.headers:
            ctx.snooze("100ms")

    async with stem:
        transport, names = stem.connected.transport, stem.names
        for body in (b"\xff", b"{}", orjson.dumps({"v": 9})):
            await transport.publish(
                Publication(exchange=names.tasks, routing_key="work", body=body)
            )
        await stem.enqueue("nobody.knows", queue="work")
        await transport.publish(
            Publication(
                exchange=names.tasks,
                routing_key="work",
                body=orjson.dumps({"v": 1, "id": "i", "task": "work", "args": {"what": 1}}),
            )
        )
        await work.options(expires="1ms").enqueue("late")
        for how in ("fail", "reject", "snooze", "fine"):
            await work.enqueue(how)
        async with stem.worker(["work"]).running() as worker:
            await eventually(lambda: worker.statistics().done == 11, "all settled")
        found = sorted(letter.headers[REASON] for letter in await letters(stem))
        assert found == [
            "expired", "invalid-arguments", "rejected", "retries-exhausted",
            "undecodable", "undecodable", "undecodable", "unknown-task",
        ]  # fmt: skip
        assert await ready(stem) == 0


def test_rule_8_only_per_consumer_qos():
    """Quorum queues do not support global QoS, and RabbitMQ refuses it from 4.3 on."""
    calls = [
        node
        for path in (PACKAGE / "transport" / "amqp").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("basic_qos")
    ]
    assert calls
    assert not any(keyword.arg == "global_" for call in calls for keyword in call.keywords)


def test_delays_longer_than_the_digits_reenter():
    """One delay is at most about 115 days; the remaining time is delayed on arrival."""
    assert delay.exact_units(200 * 86400) == delay.MAX_UNITS
