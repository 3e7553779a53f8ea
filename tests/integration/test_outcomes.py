"""Test that every end of a run becomes an outcome and frees its slot, on both brokers."""

import asyncio
import base64
import contextlib
import threading
import time

import pytest
from support import eventually

from stem_amqp import (
    ConfigurationError,
    Middleware,
    Settings,
    TaskContext,
    TaskFailedError,
    TaskState,
)
from stem_amqp.health.examination import check_health

SLOTS = 2


def throw(error):
    raise error


def deep():
    return deep()


RAISED = {
    "StopIteration": lambda: next(r for r in [] if r > 0),
    "StopIteration: subclass": lambda: throw(type("Subclass", (StopIteration,), {})()),
    "StopAsyncIteration": lambda: throw(StopAsyncIteration("x")),
    "GeneratorExit": lambda: throw(GeneratorExit()),
    "KeyboardInterrupt": lambda: throw(KeyboardInterrupt()),
    "SystemExit": lambda: throw(SystemExit(3)),
    "CancelledError": lambda: throw(asyncio.CancelledError()),
    "SyntaxError": lambda: throw(SyntaxError("bad", ("page.html", 3, "column 7", "{%"))),
    "BaseExceptionGroup": lambda: throw(BaseExceptionGroup("g", [KeyboardInterrupt()])),
    "InvalidStateError": lambda: throw(asyncio.InvalidStateError()),
    "TimeoutError": lambda: throw(TimeoutError()),
    "RecursionError": deep,
    "MemoryError": lambda: throw(MemoryError()),
}


class Passing(Middleware):
    """A middleware that only passes on."""

    async def run(self, ctx, call_next):
        return await call_next()


@contextlib.asynccontextmanager
async def working(stem, **options):
    """Run a worker with two slots."""
    async with stem, stem.worker(**({"concurrency": SLOTS} | options)).running() as worker:
        yield worker


async def failure(handle):
    with pytest.raises(TaskFailedError) as caught:
        await handle.result(timeout=60)
    return caught.value


async def workers_check(stem):
    """Return the check of the workers in a health report; None if it is absent."""
    report = await check_health(stem, timeout=20, ask_workers_for=1.0)
    return next((check for check in report.checks if check.name == "workers"), None)


async def workers_problem(stem):
    """Return the check of the workers once it has found a problem; they may answer too late the first time."""
    return await eventually(lambda: workers_check(stem), "a problem of the workers")


async def test_health_asks_workers_with_a_signature_if_keys_are_configured(make_stem):
    """Workers do not answer an unsigned request."""
    key = "k1:" + base64.b64encode(b"k" * 32).decode()
    stem = make_stem(settings=Settings.load(signing_key=key), backend_url="memory://signed")

    @stem.task("fine", queue="q")
    async def fine() -> None: ...

    async with working(stem) as worker:
        worker._settler.failures = 7
        told = await workers_problem(stem)
        assert f"{worker.name} 7" in told.detail
        stranger = make_stem(backend_url="memory://signed")
        stranger.task("fine", queue="q")(lambda: None)
        assert await workers_check(stranger) is None


@pytest.mark.parametrize("middleware", [(), (Passing(),)], ids=["plain", "middleware"])
async def test_whatever_a_task_raises_is_its_failure_and_frees_its_slot(make_stem, middleware):
    """This holds for plain and async functions; each error is named, and the worker continues."""
    stem = make_stem(backend_url="memory://outcomes", middleware=middleware)

    @stem.task("plain", queue="q", max_retries=0)
    def plain(name: str) -> None:
        RAISED[name]()

    @stem.task("async", queue="q", max_retries=0)
    async def asynchronous(name: str) -> None:
        await asyncio.sleep(0)
        RAISED[name]()

    @stem.task("fine", queue="q")
    def fine() -> str:
        return "fine"

    async with working(stem) as worker:
        handles = {}
        for name in RAISED:
            handles[name] = [await task.enqueue(name) for task in (plain, asynchronous)]
        for name, both in handles.items():
            expected = "Subclass" if "subclass" in name else name
            assert expected in (await failure(both[0])).error
            # Python converts a coroutine's StopIteration into a RuntimeError
            assert "StopIteration" in (error := (await failure(both[1])).error) or expected in error
        for handle in [await fine.enqueue() for _ in range(2 * SLOTS)]:
            assert await handle.result(timeout=60) == "fine"
        await eventually(lambda: worker.statistics().running == 0, "free slots")
        assert worker.statistics().worker_failures == 0


async def test_the_failure_of_an_iterator_is_retried_as_options_say(stem):
    """The error is the task's own exception, and not the wrapper that carries it."""
    runs = []

    @stem.task("first", queue="q", retry_on=StopIteration, max_retries=1, retry={"base": "100ms"})
    def first() -> int:
        runs.append(1)
        return next(iter([]))

    async with working(stem):
        error = await failure(await first.enqueue())
    assert (error.reason, error.error) == ("retries-exhausted", "StopIteration")
    assert error.traceback.splitlines()[1].endswith("in first")
    assert len(runs) == 2


async def test_a_validator_that_fails_is_a_failure_of_the_task(stem):
    """Validators are code of the application, so their errors may be retried."""
    from typing import Annotated

    from pydantic import AfterValidator

    to_raise = []

    def check(value):
        if to_raise:
            raise to_raise.pop()
        return value

    @stem.task("checked", queue="q", retry={"base": "100ms"})
    async def checked(value: Annotated[int, AfterValidator(check)]) -> int:
        return value

    async with stem:
        handle = await checked.enqueue(7)  # which validates too
        to_raise += [SystemExit(1), LookupError("not yet")]
        async with stem.worker().running():
            assert await handle.result(timeout=60) == 7
    assert not to_raise


@pytest.mark.parametrize("raised", [RuntimeError, SystemExit, StopAsyncIteration])
@pytest.mark.parametrize("place", ["started", "stored", "settled"])
async def test_what_the_worker_itself_fails_on_is_dead_lettered_and_counted(
    stem, monkeypatch, raised, place
):
    """The failure occupies no slot, and the worker continues."""

    @stem.task("fine", queue="q")
    async def fine(number: int) -> int:
        return number

    async with working(stem) as worker:
        await (await fine.enqueue(0)).result(timeout=60)
        with monkeypatch.context() as patch:
            whose, name = {
                "started": (worker._observer, "started"),
                "stored": (worker._settler._recorder, "store"),
                "settled": (worker._settler, "settle"),
            }[place]

            async def broken(*arguments, **options):
                raise raised

            patch.setattr(whose, name, broken)
            for number in range(2 * SLOTS):
                await fine.enqueue(number)
            await eventually(lambda: worker.statistics().worker_failures == 2 * SLOTS, "counted")
        assert await (await fine.enqueue(7)).result(timeout=60) == 7
        dlq = stem.names.dlq("q")

        async def all_dead():
            return (await stem.connected.transport.status([dlq]))[dlq].ready == 2 * SLOTS

        await eventually(all_dead, "the messages in the dead-letter queue")
        told = await workers_problem(stem)
        assert told.warning
        assert f"{worker.name} {2 * SLOTS}" in told.detail


async def test_a_listener_that_quits_touches_no_task(stem):
    """This holds whatever the listener raises."""

    @stem.task("fine", queue="q")
    async def fine() -> str:
        return "fine"

    for signal in (stem.signals.task_received, stem.signals.task_started):

        @signal.connect()
        def leave(_event):
            raise SystemExit(1)

    async with working(stem) as worker:
        assert await (await fine.enqueue()).result(timeout=60) == "fine"
        assert worker.statistics().worker_failures == 0


async def test_a_result_that_cannot_be_written_is_one_failure(stem):
    """The task does not run again, whatever the error of the serialization."""
    runs = []
    circle = []
    circle.append(circle)

    @stem.task("circular", queue="q")
    async def circular() -> object:
        runs.append(1)
        return circle

    async with working(stem):
        assert (await failure(await circular.enqueue())).reason == "unserializable-result"
    assert len(runs) == 1


async def test_a_time_limit_counts_from_when_the_function_starts(make_stem):
    """Ten tasks wait for one thread, longer than their limits, and all of them succeed."""
    stem = make_stem(settings=Settings.load(threads=1), backend_url="memory://limits")
    held, release = threading.Event(), threading.Event()

    @stem.task("hold", queue="q")
    def hold() -> None:
        held.set()
        release.wait(60)

    @stem.task("nap", queue="q", time_limit="2s", soft_time_limit="1900ms", max_retries=0)
    def nap() -> str:
        return "slept"

    try:
        async with working(stem, concurrency=11) as worker:
            await hold.enqueue()
            await eventually(held.is_set, "the run that has the thread")
            handles = [await nap.enqueue() for _ in range(10)]
            await eventually(lambda: worker.statistics().waiting_for_threads == 10, "they wait")
            assert worker.statistics().running <= 1
            waited = time.monotonic() + 2.5
            await eventually(lambda: time.monotonic() > waited, "longer than their limits")
            release.set()
            assert [await handle.result(timeout=60) for handle in handles] == ["slept"] * 10
    finally:
        release.set()


async def test_used_up_threads_stop_the_intake_and_spend_no_attempt(make_stem, caplog):
    """Other tasks stay in their queue, async tasks of other queues run, and the worker recovers."""
    stem = make_stem(settings=Settings.load(threads=1), backend_url="memory://threads")
    released = threading.Event()

    @stem.task("stuck", queue="q", time_limit="50ms", max_retries=0)
    def stuck() -> None:
        while not released.is_set():
            with contextlib.suppress(BaseException):
                released.wait(60)

    @stem.task("innocent", queue="q", time_limit="20s", max_retries=0)
    def innocent() -> str:
        return "ran"

    @stem.task("async", queue="other")
    async def asynchronous() -> str:
        return "ran"

    try:
        async with working(stem, concurrency=4) as worker:
            stuck_ones = [await stuck.enqueue() for _ in range(18)]
            for handle in stuck_ones:
                assert "time limit" in (await failure(handle)).error
            await eventually(lambda: worker.statistics().threads_used_up, "they are used up")
            handles = [await innocent.enqueue() for _ in range(6)]
            await eventually(lambda: "q" not in worker.statistics().consuming, "the queue is left")
            assert await (await asynchronous.enqueue()).result(timeout=60) == "ran"
            assert "no thread is left for synchronous tasks" in caplog.text
            work = stem.names.work("q")

            async def all_wait():
                return (await stem.connected.transport.status([work]))[work].ready == 6

            await eventually(all_wait, "they wait in the queue")
            told = await workers_problem(stem)
            assert not told.ok
            assert worker.name in told.detail
            released.set()
            assert [await handle.result(timeout=60) for handle in handles] == ["ran"] * 6
            assert not worker.statistics().threads_used_up
            await eventually(lambda: not worker.statistics().abandoned_threads, "all return")
            assert await workers_check(stem) is None
    finally:
        released.set()


async def test_no_thread_to_be_had_spends_no_attempt(make_stem, monkeypatch):
    """The task is delivered again when the system's limit of threads allows a new thread."""
    from stem_amqp.worker.running import run

    monkeypatch.setattr(run, "LATER", 0.1)
    stem = make_stem(backend_url="memory://none")

    @stem.task("plain", queue="q", max_retries=0)
    def plain(ctx: TaskContext) -> int:
        return ctx.attempt

    async with working(stem) as worker:
        refusals = [RuntimeError("can't start new thread")] * 3
        submit = worker._threads._executor.submit

        def sometimes(*arguments):
            if refusals:
                raise refusals.pop()
            return submit(*arguments)

        monkeypatch.setattr(worker._threads._executor, "submit", sometimes)
        assert await (await plain.enqueue()).result(timeout=60) == 0
    assert not refusals


async def test_what_the_backend_cannot_do_ends_the_task_at_once(make_stem):
    """A `ConfigurationError` is the same in every run, so the task is not retried."""
    stem = make_stem(backend_url="rpc://")
    runs = []

    @stem.task("charge", queue="q", retry={"base": "100ms"})
    async def charge(ctx: TaskContext) -> None:
        runs.append(1)
        async with ctx.once("charge"):
            pass

    async with working(stem):
        error = await failure(await charge.enqueue())
    assert (error.reason, len(runs)) == ("not-retryable", 1)
    assert ConfigurationError.__name__ in error.error


async def test_a_background_task_is_no_part_of_a_run_that_has_ended(stem):
    """It belongs to the run until that ends; its later enqueues and log records do not."""
    go_on = asyncio.Event()
    background = []

    @stem.task("child", queue="q")
    async def child() -> list[str | None]:
        context = TaskContext.current()
        return [context.parent, context.root, context.meta.get("tenant")]

    async def follow():
        from stem_amqp.worker.report.logs import current_fields

        inside = current_fields()["task_id"]
        await go_on.wait()
        return inside, current_fields()["task_id"], await child.enqueue()

    @stem.task("starts", queue="q")
    async def starts() -> None:
        background.append(asyncio.create_task(follow()))
        await asyncio.sleep(0)

    async with working(stem):
        handle = await starts.options(meta={"tenant": "a"}).enqueue()
        await handle.result(timeout=60)
        assert (await handle.status()).state is TaskState.SUCCEEDED
        go_on.set()
        inside, after, started = await background[0]
        assert (inside, after) == (handle.id, None)
        assert await started.result(timeout=60) == [None, started.id, None]


async def test_a_run_that_outlived_its_limit_still_says_what_it_is(stem):
    """The log records of the abandoned thread still have the task's id."""
    from stem_amqp.worker.report.logs import current_fields

    released, seen = threading.Event(), []

    @stem.task("late", queue="q", time_limit="500ms", max_retries=0)
    def late() -> None:
        with contextlib.suppress(BaseException):
            released.wait(60)
        seen.append(current_fields()["task_id"])

    async with working(stem) as worker:
        handle = await late.enqueue()
        assert "time limit" in (await failure(handle)).error
        released.set()
        await eventually(lambda: seen and not worker.statistics().abandoned_threads, "it returns")
    assert seen == [handle.id]
