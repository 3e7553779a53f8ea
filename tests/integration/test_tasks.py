"""Test tasks on RabbitMQ and on the in-memory broker: calls, options, contexts, results."""

import asyncio
import logging
import time
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from support import delivery_type, empty, eventually

from stem_amqp import (
    ArgumentsError,
    EnqueueManyError,
    ResultTimeoutError,
    SoftTimeLimitError,
    TaskContext,
    TaskFailedError,
    TaskState,
)
from stem_amqp.control import revoke

FAST = {"base": "100ms", "jitter": 0, "max": "200ms"}


@pytest.fixture
async def run(stem):
    """Connect, run a worker for all queues, and stop both at the end of the test."""
    started = []

    async def start(**options):
        await stem.connect()
        context = stem.worker(**options).running()
        started.append(context)
        return await context.__aenter__()

    yield start
    for context in started:
        await context.__aexit__(None, None, None)
        await stem.close()


async def failure(handle):
    """Wait for a task that fails, and return its error."""
    with pytest.raises(TaskFailedError) as caught:
        await handle.result(timeout=60)
    return caught.value


async def test_async_and_sync_tasks_return_typed_results(stem, run):
    """Arguments and results have the annotated types on both sides."""

    @stem.task("add", queue="q")
    async def add(first: Decimal, second: Decimal = Decimal(1)) -> Decimal:
        return first + second

    @stem.task("when", queue="q")
    def when(at: datetime) -> datetime:
        return at + timedelta(days=1)

    await run()
    assert await (await add.enqueue(Decimal("1.5"))).result(timeout=60) == Decimal("2.5")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert await (await when.enqueue(at=at)).result(timeout=60) == at + timedelta(days=1)


async def test_a_task_is_still_a_plain_function(stem):
    """A direct call runs the function here, with a new context if it takes one."""

    @stem.task("first")
    async def first(ctx: TaskContext, text: str) -> str:
        return f"{ctx.attempt} {text}"

    @stem.task("last")
    def last(text: str, ctx: TaskContext) -> str:
        return f"{ctx.task} {text}"

    assert await first("x") == "0 x"
    assert last("y") == "last y"
    assert last(text="z") == "last z"


async def test_a_task_is_enqueued_by_name(stem, run):
    """The producer needs no code of the task; if it has the code, the arguments are checked."""

    @stem.task("greet", queue="q")
    async def greet(name: str, ctx: TaskContext) -> list:
        return [name, ctx.meta["request_id"], ctx.queue, ctx.attempt]

    await run()
    handle = await stem.enqueue("greet", args={"name": "Ada"}, meta={"request_id": "r-1"})
    assert await handle.result(timeout=60) == ["Ada", "r-1", "q", 0]
    with pytest.raises(ArgumentsError, match="nme"):
        await stem.enqueue("greet", args={"nme": "Ada"})


async def test_a_failing_task_is_retried_and_its_dead_letter_says_why(stem, run):
    """max_retries=2 means at most three runs; the handle's error has reason and traceback."""
    attempts = []

    @stem.task("fail", queue="q", max_retries=2, retry=FAST)
    async def fail(ctx: TaskContext) -> None:
        attempts.append(ctx.attempt)
        raise ValueError("no luck")

    await run()
    error = await failure(await fail.enqueue())
    assert attempts == [0, 1, 2]
    assert (error.state, error.reason) == ("failed", "retries-exhausted")
    assert "ValueError: no luck" in error.error
    assert "raise ValueError" in error.traceback


async def test_a_calls_own_options_come_before_the_tasks(stem, run):
    """Retries, policy and time limit of one call are in its message."""
    attempts = []

    @stem.task("fail", queue="q", max_retries=9)
    async def fail(ctx: TaskContext) -> None:
        attempts.append((ctx.attempt, ctx.max_retries))
        await asyncio.Event().wait()

    await run()
    call = fail.options(max_retries=1, retry=FAST, time_limit="100ms")
    error = await failure(await call.enqueue())
    assert attempts == [(0, 1), (1, 1)]
    assert "TimeLimitError" in error.error


@pytest.mark.parametrize("kind", ["never_retry_on", "retry_on"])
async def test_what_is_not_to_be_retried_goes_to_the_dead_letters_at_once(stem, run, kind):
    """never_retry_on names errors that are not retried, retry_on those that are."""
    attempts = []
    types = {"never_retry_on": LookupError, "retry_on": OSError}

    @stem.task("fail", queue="q", retry=FAST, **{kind: types[kind]})
    async def fail() -> None:
        attempts.append(1)
        raise KeyError("x")

    await run()
    assert (await failure(await fail.enqueue())).reason == "not-retryable"
    assert len(attempts) == 1


async def test_the_context_steers_the_message(stem, run):
    """retry spends an attempt, snooze none, reject ends the task; `except Exception` stops none."""
    seen = []

    @stem.task("steer", queue="q", max_retries=3)
    async def steer(ctx: TaskContext) -> None:
        seen.append(ctx.attempt)
        try:
            if len(seen) == 1:
                ctx.retry(delay="100ms")
            if len(seen) == 2:
                ctx.snooze("100ms")
            ctx.reject("seen enough")
        except Exception:  # noqa: BLE001
            seen.append("caught")

    await run()
    error = await failure(await steer.enqueue())
    assert seen == [0, 1, 1]
    assert error.reason == "rejected"
    assert "seen enough" in error.error


async def test_progress_is_stored_and_the_running_context_is_reachable(stem, run):
    """Another process sees the progress of the task; the context needs no parameter."""
    release = asyncio.Event()

    @stem.task("slow", queue="q")
    async def slow() -> str:
        TaskContext.current().progress(0.4, message="under way", data={"step": 2})
        await release.wait()
        return TaskContext.current().task

    await run()
    handle = await slow.enqueue()
    progress = await eventually(handle.progress, "progress")
    assert (progress.fraction, progress.message, progress.data) == (0.4, "under way", {"step": 2})
    assert (await handle.status()).state is TaskState.RUNNING
    release.set()
    assert await handle.result(timeout=60) == "slow"


async def test_sync_tasks_report_progress_and_enqueue_from_their_thread(stem, run):
    """A plain function has the same methods, through stem.run."""

    @stem.task("child", queue="q")
    async def child(ctx: TaskContext) -> list:
        return [ctx.root, ctx.parent, ctx.meta]

    @stem.task("parent", queue="q")
    def parent(ctx: TaskContext) -> list:
        ctx.progress(0.5)
        ctx.heartbeat()
        handle = stem.run(child.enqueue())
        return [ctx.id, stem.run(handle.result(timeout=60))]

    await run()
    own, (root, parent_id, meta) = await (
        await parent.options(meta={"request_id": "r"}).enqueue()
    ).result(timeout=60)
    assert root == parent_id == own
    assert meta == {"request_id": "r"}


async def test_tasks_of_tasks_know_where_they_come_from(stem, run):
    """The root is the first task's id along the chain; the metadata of a call is added."""

    @stem.task("link", queue="q")
    async def link(ctx: TaskContext, depth: int) -> list:
        if depth == 0:
            return [[ctx.root, ctx.parent, ctx.meta]]
        handle = await ctx.enqueue("link", {"depth": depth - 1}, meta={f"d{depth}": depth})
        return [[ctx.id], *await handle.result(timeout=60)]

    await run()
    chain = await (await link.options(meta={"r": 1}).enqueue(2)).result(timeout=60)
    assert chain[2][0] == chain[0][0]
    assert chain[2][1] == chain[1][0]
    assert chain[2][2] == {"r": 1, "d2": 2, "d1": 1}


async def test_log_records_of_a_task_carry_its_identity(stem, run, caplog):
    """Records have id, name and attempt in async and in sync tasks, and none outside."""

    @stem.task("talk", queue="q")
    async def talk() -> None:
        logging.getLogger("mine").warning("async")

    @stem.task("shout", queue="q")
    def shout() -> None:
        logging.getLogger("mine").warning("sync")

    await run()
    handles = [await talk.enqueue(), await shout.enqueue()]
    for handle in handles:
        await handle.result(timeout=60)
    records = {r.message: r for r in caplog.records if r.name == "mine"}
    assert (records["async"].task_id, records["async"].task_name) == (handles[0].id, "talk")
    assert (records["sync"].task_id, records["sync"].task_attempt) == (handles[1].id, 0)


async def test_time_limits(stem, run):
    """The hard limit cancels and counts as a failure, the soft one is raised inside the task."""

    @stem.task("soft", queue="q", soft_time_limit="100ms", time_limit="20s")
    async def soft() -> str:
        try:
            await asyncio.Event().wait()
        except SoftTimeLimitError:
            return "cleaned up"
        return "never reached"

    @stem.task("hard", queue="q", time_limit="100ms", max_retries=0)
    async def hard() -> None:
        await asyncio.Event().wait()

    @stem.task("thread", queue="q", time_limit="100ms", max_retries=0)
    def thread() -> None:
        for _ in range(1000):
            time.sleep(0.005)

    await run()
    assert await (await soft.enqueue()).result(timeout=60) == "cleaned up"
    for task in (hard, thread):
        assert "time limit of 0.1 s" in (await failure(await task.enqueue())).error


async def test_a_rate_limit_spreads_starts(stem, run):
    """Of ten starts at 20/s two may be simultaneous; the others are 50 ms apart."""
    starts = []

    @stem.task("limited", queue="q", rate_limit="20/s")
    async def limited() -> None:
        starts.append(time.monotonic())

    await run()
    begun = time.monotonic()  # the first start may be late, and those after it in time
    handles = await stem.enqueue_many(limited.prepare() for _ in range(10))
    for handle in handles:
        await handle.result(timeout=60)
    assert max(starts) - begun >= 0.39


async def test_a_cancellation_of_the_tasks_own_making_is_a_failure(stem, run):
    """A task that raises CancelledError has failed; it was not interrupted."""

    @stem.task("odd", queue="q", max_retries=0)
    async def odd() -> None:
        raise asyncio.CancelledError

    await run()
    assert "CancelledError" in (await failure(await odd.enqueue())).error


async def test_an_expired_task_is_not_started(stem, run):
    """It ends in the dead-letter queue, and its state is expired."""

    @stem.task("late", queue="q", expires="10ms")
    async def late() -> None:
        raise AssertionError("it must not run")

    await stem.connect()
    try:
        handle = await late.enqueue()
        await asyncio.sleep(0.05)
        await run()
        assert (await failure(handle)).state == "expired"
    finally:
        await stem.close()


async def test_an_eta_is_never_early(stem, run):
    """The task never runs early."""
    ran = []

    @stem.task("timed", queue="q")
    async def timed() -> None:
        ran.append(datetime.now(UTC))

    await run()
    eta = datetime.now(UTC) + timedelta(milliseconds=730)
    await (await timed.options(eta=eta).enqueue()).result(timeout=60)
    assert eta <= ran[0]


async def test_many_calls_are_enqueued_at_once_and_their_failures_named(stem, run):
    """The handles are in the order of the calls; the error names the unroutable ones."""

    @stem.task("double", queue="q")
    async def double(value: int) -> int:
        return 2 * value

    await run(concurrency=50)
    handles = await stem.enqueue_many(double.prepare(n) for n in range(300))
    assert [await h.result(timeout=60) for h in handles] == [2 * n for n in range(300)]
    calls = [double.prepare(1), double.options(queue="nowhere").prepare(2), double.prepare(3)]
    with pytest.raises(EnqueueManyError, match="1 of 3") as caught:
        await stem.enqueue_many(calls)
    assert set(caught.value.failed) == {1}
    assert set(caught.value.done) == {0, 2}


async def test_a_result_that_json_cannot_carry_is_a_dead_letter(stem, run):
    """The work is done, so the task is not retried."""
    runs = []

    @stem.task("odd", queue="q", retry=FAST)
    async def odd() -> object:
        runs.append(1)
        return object()

    await run()
    assert (await failure(await odd.enqueue())).reason == "unserializable-result"
    assert len(runs) == 1


async def test_an_ignored_result_is_not_stored(stem, run):
    """Nothing is stored, and waiting for the result is an error at once."""
    ran = asyncio.Event()

    @stem.task("quiet", queue="q", ignore_result=True)
    async def quiet() -> int:
        ran.set()
        return 1

    await run()
    handle = await quiet.enqueue()
    await asyncio.wait_for(ran.wait(), 60)
    assert await stem.record(handle.id) is None
    with pytest.raises(Exception, match="ignore_result"):
        await handle.result(timeout=1)


async def test_waiting_too_long_says_what_to_look_at(stem):
    """Without a worker, the error names the task, its queue and its last state."""

    @stem.task("alone", queue="q")
    async def alone() -> None:
        raise AssertionError

    async with stem:
        handle = await alone.enqueue()
        with pytest.raises(ResultTimeoutError, match=r"(?s)alone.*queued"):
            await handle.result(timeout="50ms")


async def test_signals_cover_a_tasks_whole_life(stem, run):
    """A signal follows each settled step, with task, id, queue and attempt."""
    heard = []
    for signal in stem.signals:
        signal.connect()(lambda event: heard.append((event.signal, event.attempt)))
    named = []
    stem.signals.task_received.connect(task="live")(lambda event: named.append(event.id))

    @stem.task("live", queue="q", retry=FAST)
    async def live(ctx: TaskContext) -> int:
        ctx.progress(1.0)
        if ctx.attempt == 0:
            raise ValueError("again")
        return 1

    await run()
    handle = await live.enqueue()
    await handle.result(timeout=60)
    expected = sorted(
        [
            ("before-task-publish", 0),
            ("after-task-publish", 0),
            ("task-received", 0),
            ("task-started", 0),
            ("task-progress", 0),
            ("task-retried", 0),
            ("task-received", 1),
            ("task-started", 1),
            ("task-progress", 1),
            ("task-succeeded", 1),
        ]
    )

    def of_task():
        return sorted(one for one in heard if one[0].startswith(("task", "before", "after")))

    await eventually(lambda: len(of_task()) >= len(expected), "all signals, in whatever order")
    assert of_task() == expected
    assert named == [handle.id, handle.id]
    assert [name for name, _ in heard if name.startswith("worker")][:2] == [
        "worker-init",
        "worker-ready",
    ]


async def test_a_revoked_task_does_not_run_and_a_running_one_can_be_terminated(stem, run):
    """Workers drop the message; the state is revoked."""
    running, ran = asyncio.Event(), []

    @stem.task("slow", queue="q")
    async def slow(number: int) -> None:
        ran.append(number)
        running.set()
        await asyncio.Event().wait()

    await run(concurrency=1)
    first, second = await slow.enqueue(1), await slow.enqueue(2)
    await asyncio.wait_for(running.wait(), 60)
    await revoke(stem, second.id, reason="not needed")
    await revoke(stem, first.id, reason="too slow", terminate=True)
    errors = [await failure(handle) for handle in (first, second)]
    assert [(error.state, error.reason) for error in errors] == [
        ("revoked", "too slow"),
        ("revoked", "not needed"),
    ]
    assert ran == [1]


async def test_two_namespaces_on_one_broker_never_meet(make_stem, broker_url):
    """A separate environment needs no separate virtual host."""
    results = f"memory://{uuid.uuid4().hex}"
    base = make_stem(backend_url=results)
    other = make_stem(backend_url=results, namespace=base.settings.namespace + ".staging")
    ran = []
    for stem, name in ((base, "base"), (other, "other")):

        @stem.task("who", queue="q")
        async def who(name=name) -> None:
            ran.append(name)

    async with base, other, other.worker().running():
        handle = await base.enqueue("who", queue="q")
        await (await other.enqueue("who")).result(timeout=60)
        with pytest.raises(ResultTimeoutError):
            await handle.result(timeout="300ms")
    assert ran == ["other"]


async def test_the_default_backend_replies_through_the_broker(make_stem):
    """Without configuration, results return through RabbitMQ alone."""
    stem = make_stem()

    @stem.task("add", queue="q")
    async def add(a: int, b: int) -> int:
        return a + b

    async with stem, stem.worker().running():
        handles = await stem.enqueue_many(add.prepare(n, n) for n in range(50))
        assert [await h.result(timeout=60) for h in handles] == [2 * n for n in range(50)]


def test_synchronous_producers_use_a_loop_in_a_thread(make_stem, broker_url):
    """`with stem:` and `stem.run` need no event loop of the caller."""
    if broker_url.startswith("memory"):
        stem = make_stem(backend_url="memory://sync")
        stem.task("x", queue="q")(lambda: None)
        with stem:
            handle = stem.run(stem.enqueue("x"))
            assert stem.run(handle.status()).state is TaskState.QUEUED
    else:
        stem = make_stem()
        stem.task("x", queue="q")(lambda: None)
        with stem, pytest.raises(ResultTimeoutError):
            stem.run(stem.run(stem.enqueue("x")).result(timeout="100ms"))


@pytest.mark.parametrize("ends", ["succeeds", "fails", "retries", "snoozes"])
async def test_a_redelivered_message_that_has_run_is_not_run_again(stem, ends, monkeypatch):
    """A worker that dies before its acknowledgement leaves a message whose work is done."""
    runs = []

    @stem.task("work", queue="q", max_retries=1, retry={"base": "100ms", "jitter": 0})
    async def work(ctx: TaskContext) -> int:
        runs.append(ctx.attempt)
        if len(runs) == 1 and ends == "retries":
            raise ValueError("once")
        if len(runs) == 1 and ends == "snoozes":
            ctx.snooze("100ms")
        if ends == "fails":
            ctx.reject("never")
        return 7

    lost = []

    async def lose_the_first(delivery):
        if not lost:
            lost.append(delivery)
            await delivery.nack(requeue=True)  # like the broker when the worker is dead
        else:
            await ack(delivery)

    async with stem, stem.worker().running():
        kind = await delivery_type(stem)
        ack = kind.ack
        monkeypatch.setattr(kind, "ack", lose_the_first)
        handle = await work.enqueue()
        if ends == "fails":
            with pytest.raises(TaskFailedError):
                await handle.result(timeout=60)
        else:
            assert await handle.result(timeout=60) == 7
        await eventually(lambda: empty(stem), "an empty queue")
    assert lost
    assert runs == {"retries": [0, 1], "snoozes": [0, 0]}.get(ends, [0])
