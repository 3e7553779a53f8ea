"""Test features that only some releases of RabbitMQ have; the other releases refuse them.

Each test asserts one or the other for the release that it finds, so it runs on all releases.
"""

import asyncio
import base64
import itertools
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

import pytest
from support import eventually

from stem_amqp import Retry, Settings, Snooze, Stem, TaskContext
from stem_amqp.assembly import create_transport
from stem_amqp.dead_letter import DeadLetters, Selection
from stem_amqp.errors import FeatureMissingError, TaskFailedError, TopologyMismatchError
from stem_amqp.management.client import Management
from stem_amqp.messages.message import ATTEMPT, DELIVERY_COUNT
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.transport.features import (
    CONSUMER_TIMEOUT,
    NATIVE_RETRY,
    STRICT_PRIORITY,
    has,
)

NATIVE = """
version: 1
queues:
  q: {native_retry: {min: 200ms, max: 500ms}, retry: {max_retries: %d}, prefetch: 10}
"""
PATIENCE = 60.0


async def release(stem):
    """Return the broker information of the application's broker."""
    transport = create_transport(stem.settings)
    try:
        return await transport.connect()
    finally:
        await transport.close()


async def refusal(stem):
    """Connect, and return the text of the refusal; assert that nothing was declared."""
    with pytest.raises(FeatureMissingError) as caught:
        await stem.connect()
    transport = create_transport(stem.settings)
    await transport.connect()
    name = stem.names.work("q")
    assert (await transport.status([name]))[name] is None
    await transport.close()
    return str(caught.value)


@pytest.fixture
async def rabbit(stem_broker_url):
    """Yield a function that makes applications on RabbitMQ, and delete their entities."""
    made = []
    namespace = f"t-{uuid.uuid4().hex[:8]}"

    def make(topology, **values):
        settings = Settings.load(
            broker_url=stem_broker_url,
            namespace=namespace,
            backend_url=f"memory://{uuid.uuid4().hex}",
            **values,
        )
        stem = Stem(settings=settings, topology=parse_topology(topology))
        made.append(stem)
        return stem

    yield make
    for stem in made:
        transport = create_transport(stem.settings)
        await transport.connect()
        await transport.delete(stem.blueprint.entities)
        await transport.close()


def asked(stem, queue):
    """Return a queue from the management API beside the broker; None if there is no such API."""
    api = Management.of(stem.settings)
    broker = urllib.parse.urlsplit(stem.settings.broker_url[0].get_secret_value())
    port = (broker.port or 5672) + 10_000
    where = f"http://{broker.hostname}:{port}/api/queues/%2F/{queue}"
    request = urllib.request.Request(where)
    pair = base64.b64encode(f"{api.user}:{api.password}".encode()).decode()
    request.add_header("Authorization", f"Basic {pair}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.URLError as error:
        if isinstance(error, urllib.error.HTTPError):
            raise
        return None


async def told(stem, field):
    """Return the work queue from the management API once it has a field, which takes seconds."""

    async def look():
        queue = await asyncio.to_thread(asked, stem, stem.names.work("q"))
        return (queue,) if queue is None or field in queue else None

    return (await eventually(look, f"the management API telling {field}"))[0]


async def test_native_retries_are_delayed_by_the_queue_and_counted_by_rabbitmq(rabbit, tmp_path):
    """The attempts count up, the delays grow, the body stays signed, and no delay queue is used."""
    keys = tmp_path / "keys.yaml"
    secret = base64.b64encode(os.urandom(32)).decode()
    keys.write_text(
        f"keys:\n- {{id: k1, algorithm: hmac-sha256, active: true, secret: {secret}}}\n"
    )
    keys.chmod(0o600)
    stem = rabbit(NATIVE % 3, keys_file=keys)
    runs = []

    @stem.task("flaky", queue="q")
    async def flaky(number: int, ctx: TaskContext) -> int:
        runs.append((time.monotonic(), ctx.attempt, ctx.max_retries))
        if ctx.attempt < 3:
            raise OSError(f"no luck at {ctx.attempt}")
        return number

    if not has(await release(stem), NATIVE_RETRY):
        text = await refusal(stem)
        assert "queues.q.native_retry: needs RabbitMQ 4.3.1" in text
        assert "\n  Remove it: the delay queues retry on every release." in text
        return
    async with stem, stem.worker(["q"]).running():
        queue = await told(stem, "delayed_retry")
        if queue is not None:
            assert queue["delayed_retry"] == "failed (min: 200ms, max: 500ms)"
            assert queue["arguments"]["x-delivery-limit"] == 103
        assert await (await flaky.enqueue(7)).result(timeout=PATIENCE) == 7
    assert [run[1:] for run in runs] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    times = [run[0] for run in runs]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    for wait, least in zip(waits, (0.2, 0.4, 0.5), strict=True):
        assert least - 0.02 <= wait


async def test_spent_native_retries_end_in_the_dead_letter_queue(rabbit):
    """The dead letter has the last error and attempt, and its replay begins at attempt 0."""
    stem = rabbit(NATIVE % 2)
    attempts = []

    @stem.task("doomed", queue="q")
    async def doomed(ctx: TaskContext) -> None:
        attempts.append(ctx.attempt)
        raise OSError("never")

    if not has(await release(stem), NATIVE_RETRY):
        assert "native_retry" in await refusal(stem)
        return
    async with stem, stem.worker(["q"]).running():
        handle = await doomed.enqueue()
        with pytest.raises(TaskFailedError, match="retries-exhausted"):
            await handle.result(timeout=PATIENCE)
        assert attempts == [0, 1, 2]
        letters = DeadLetters(stem, "q")
        [letter] = await letters.list()
        assert letter.attempt == 2
        await letters.replay(Selection(ids=frozenset({handle.id})))
        await eventually(lambda: attempts[3:] == [0, 1, 2], "the replay's runs")


async def test_a_wait_of_its_own_goes_through_the_delay_queues_and_keeps_the_count(rabbit):
    """Snooze spends no attempt, Retry(delay=…) one, and both keep the broker's count."""
    stem = rabbit(NATIVE % 5)
    steps = []

    @stem.task("steps", queue="q")
    async def walk(ctx: TaskContext) -> str:
        counted = ctx.headers.get(ATTEMPT), ctx.headers.get(DELIVERY_COUNT)
        steps.append((ctx.attempt, *counted))
        match len(steps):
            case 1 | 4:
                raise OSError("fails natively")
            case 2:
                raise Snooze(0.2)
            case 3:
                raise Retry(0.2)
        return "done"

    if not has(await release(stem), NATIVE_RETRY):
        assert "native_retry" in await refusal(stem)
        return
    async with stem, stem.worker(["q"]).running():
        assert await (await walk.enqueue()).result(timeout=PATIENCE) == "done"
    assert steps == [(0, None, None), (1, None, 1), (1, 1, None), (2, 2, None), (3, 2, 1)]


async def test_native_retries_are_not_taken_for_crashes(rabbit, monkeypatch):
    """A task that fails more often than quarantine_after runs in the worker's own process."""
    stem = rabbit(NATIVE % 4, quarantine_after=1)
    processes = []

    @stem.task("flaky", queue="q")
    async def flaky(ctx: TaskContext) -> None:
        processes.append(os.getpid())
        if ctx.attempt < 4:
            raise OSError("again")

    if not has(await release(stem), NATIVE_RETRY):
        assert "native_retry" in await refusal(stem)
        return
    # only an application that a module holds could run in a child process
    monkeypatch.setattr(sys.modules[__name__], "application", stem, raising=False)
    async with stem, stem.worker(["q"]).running():
        await (await flaky.enqueue()).result(timeout=PATIENCE)
    assert processes == [os.getpid()] * 5


async def test_a_message_returned_by_nack_is_not_suspected(rabbit, monkeypatch):
    """On every release, a task requeued by a stopping worker does not run in a child process."""
    stem = rabbit("version: 1\nqueues: {q: }", grace_period=0, quarantine_after=2)
    processes = []

    @stem.task("slow", queue="q")
    async def slow() -> None:
        processes.append(os.getpid())
        if len(processes) == 1:
            await asyncio.Event().wait()

    monkeypatch.setattr(sys.modules[__name__], "application", stem, raising=False)
    async with stem:
        handle = await slow.enqueue()
        async with stem.worker(["q"]).running():
            await eventually(lambda: processes, "the first run")
        async with stem.worker(["q"]).running():
            await handle.result(timeout=PATIENCE)
    assert processes == [os.getpid()] * 2


async def test_a_deploy_spends_no_native_attempt(rabbit):
    """A message that a stopping worker requeues returns at once, with the same attempt."""
    stem = rabbit(NATIVE % 1, grace_period=0)
    attempts = []
    hold = asyncio.Event()

    @stem.task("slow", queue="q")
    async def slow(ctx: TaskContext) -> int:
        attempts.append(ctx.attempt)
        if len(attempts) < 3:
            await hold.wait()
        return ctx.attempt

    if not has(await release(stem), NATIVE_RETRY):
        assert "native_retry" in await refusal(stem)
        return
    async with stem:
        handle = await slow.enqueue()
        for deploy in (1, 2):
            async with stem.worker(["q"]).running():
                await eventually(lambda n=deploy: len(attempts) == n)
        async with stem.worker(["q"]).running():
            assert await handle.result(timeout=PATIENCE) == 0
    assert attempts == [0, 0, 0]


async def test_the_consumer_timeout_of_a_queue_is_known_to_the_broker(rabbit):
    """From RabbitMQ 3.12 on the queue has the timeout; earlier releases refuse the topology."""
    stem = rabbit("version: 1\nqueues: {q: {consumer_timeout: 2h}}")
    if not has(await release(stem), CONSUMER_TIMEOUT):
        text = await refusal(stem)
        assert "queues.q.consumer_timeout: needs RabbitMQ 3.12" in text
        assert "rabbitmq.conf: consumer_timeout = 7200000" in text
        return
    async with stem:
        queue = await asyncio.to_thread(asked, stem, stem.names.work("q"))
        if queue is not None:
            assert queue["arguments"]["x-consumer-timeout"] == 7_200_000
    changed = rabbit("version: 1\nqueues: {q: {consumer_timeout: 3h}}")
    if (await release(stem)).version < (4, 3):
        # it accepts the declaration and does not change the queue: only a plan shows the difference
        async with changed:
            queue = await asyncio.to_thread(asked, stem, stem.names.work("q"))
            if queue is not None:
                assert queue["arguments"]["x-consumer-timeout"] == 7_200_000
        return
    with pytest.raises(TopologyMismatchError, match="x-consumer-timeout"):
        await changed.connect()


async def test_strict_priorities_deliver_the_highest_first(rabbit):
    """Of 32 levels the highest comes first; a task without a priority has level 4."""
    stem = rabbit("version: 1\nqueues: {q: {strict_priority: true, prefetch: 1, concurrency: 1}}")
    order = []

    @stem.task("note", queue="q")
    async def note(number: int) -> None:
        order.append(number)

    if not has(await release(stem), STRICT_PRIORITY):
        text = await refusal(stem)
        assert "queues.q.strict_priority: needs RabbitMQ 4.3" in text
        assert "type: classic with priority" in text
        return
    async with stem:
        for number in (3, 31, 0, 20, 5):
            await note.options(priority=number).enqueue(number)
        await note.enqueue(4)
        async with stem.worker(["q"]).running():
            await eventually(lambda: len(order) == 6)
    assert order == [31, 20, 5, 4, 3, 0]


async def test_a_single_active_consumer_hands_over(rabbit):
    """On every release, the second worker gets no delivery until the first one stops."""
    stem = rabbit(
        "version: 1\nqueues: {q: {single_active_consumer: true, prefetch: 1, concurrency: 1}}"
    )
    seen = []

    @stem.task("who", queue="q")
    async def who(ctx: TaskContext) -> None:
        seen.append(ctx.worker)

    async with stem:
        first, second = stem.worker(["q"], name="first"), stem.worker(["q"], name="second")
        async with first.running(), second.running():
            for _ in range(4):
                await (await who.enqueue()).result(timeout=PATIENCE)
            assert seen == ["first"] * 4
            first.stop()
            await eventually(lambda: not first.statistics().consuming)
            await (await who.enqueue()).result(timeout=PATIENCE)
    assert seen == ["first"] * 4 + ["second"]
