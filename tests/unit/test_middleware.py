"""Middleware around runs and publishes, on an in-memory broker."""

import asyncio
import uuid
from dataclasses import replace

import pytest

from stem_amqp import (
    ConfigurationError,
    EnqueueManyError,
    Middleware,
    Reject,
    Stem,
    StemError,
    TaskContext,
    TaskFailedError,
)

FAST = {"base": "100ms", "jitter": 0, "max": "200ms"}


@pytest.fixture
def make():
    """Return an application with middleware."""

    def make(*middleware):
        name = uuid.uuid4().hex
        url = f"memory://{name}"
        return Stem(broker_url=url, backend_url=url, namespace="t", middleware=middleware)

    return make


class Noting(Middleware):
    """Middleware that records the calls that it wraps."""

    def __init__(self, name, journal):
        self.name, self.journal = name, journal

    async def run(self, ctx, call_next):
        self.journal.append(f"run {self.name}")
        try:
            result = await call_next()
        except BaseException as error:
            self.journal.append(f"{type(error).__name__} {self.name}")
            raise
        self.journal.append(f"ran {self.name}")
        return [self.name, result]

    async def publish(self, message, call_next):
        self.journal.append(f"publish {self.name}")
        await call_next(message.with_meta(**{self.name: message.queue}).with_headers({"x": 1}))
        self.journal.append(f"published {self.name}")


class Publishing(Middleware):
    """Middleware whose publish hook is a function of the test."""

    def __init__(self, publish):
        self._publish = publish

    async def publish(self, message, call_next):
        await self._publish(message, call_next)


class Running(Middleware):
    """Middleware whose run hook is a function of the test."""

    def __init__(self, run):
        self._run = run

    async def run(self, ctx, call_next):
        return await self._run(ctx, call_next)


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_the_first_is_the_outermost_around_runs_and_publishes(make, kind):
    """This holds for async and plain tasks, and for middleware that is added later."""
    journal = []
    stem = make(Noting("a", journal))
    stem.add_middleware(Noting("b", journal))

    async def work(ctx: TaskContext) -> list:
        return [dict(ctx.meta), ctx.headers["x"]]

    def plain(ctx: TaskContext) -> list:
        return [dict(ctx.meta), ctx.headers["x"]]

    task = stem.task("work", queue="q")(work if kind == "async" else plain)
    async with stem, stem.worker().running():
        result = await (await task.options(meta={"mine": 1}).enqueue()).result(timeout=60)
    assert result == ["a", ["b", [{"mine": 1, "a": "q", "b": "q"}, 1]]]
    published = ["publish a", "publish b", "published b", "published a"]
    assert [word for word in journal if word.startswith("publish")] == published
    assert [word for word in journal if not word.startswith("publish")] == [
        *("run a", "run b", "ran b", "ran a"),
    ]


async def test_middleware_sees_how_a_run_ends_and_may_decide_otherwise(make):
    """Errors, time limits and control flow pass through it; it may swallow or raise them."""
    journal = []

    async def lenient(ctx, call_next):
        try:
            return await call_next()
        except KeyError:
            return "swallowed"
        except ZeroDivisionError as error:
            raise Reject("never") from error

    stem = make(Noting("outer", journal), Running(lenient))

    @stem.task("work", queue="q", retry=FAST, max_retries=0, time_limit="200ms")
    async def work(ctx: TaskContext, what: str) -> object:
        if what == "time":
            await asyncio.sleep(60)
        if what == "snooze" and not journal.count("Snooze outer"):
            ctx.snooze("100ms")
        if what == "key":
            raise KeyError
        if what == "zero":
            raise ZeroDivisionError
        return what

    async with stem, stem.worker().running():
        assert await (await work.enqueue("key")).result(timeout=60) == ["outer", "swallowed"]
        assert await (await work.enqueue("snooze")).result(timeout=60) == ["outer", "snooze"]
        for what, end in (("zero", "rejected"), ("time", "TimeLimitError")):
            with pytest.raises(TaskFailedError, match=end):
                await (await work.enqueue(what)).result(timeout=60)
    seen = [word for word in journal if word.endswith(" outer") and word[0].isupper()]
    assert seen == ["Snooze outer", "Reject outer", "TimeLimitError outer"]


async def test_a_middleware_may_run_again_within_an_attempt(make):
    """This suits a short-lived failure, such as a deadlock of the database."""

    async def again(ctx, call_next):
        try:
            return await call_next()
        except ConnectionError:
            return await call_next()

    stem, attempts = make(Running(again)), []

    @stem.task("work", queue="q")
    async def work(ctx: TaskContext, order: int) -> int:
        attempts.append(ctx.attempt)
        if len(attempts) == 1:
            raise ConnectionError
        return order

    async with stem, stem.worker().running():
        assert await (await work.enqueue(7)).result(timeout=60) == 7
    assert attempts == [0, 0]


async def test_a_retry_is_no_new_publish_and_carries_what_the_middleware_wrote(make):
    """The body never changes, and headers are kept."""
    journal = []
    stem = make(Noting("a", journal))

    @stem.task("work", queue="q", retry=FAST)
    async def work(ctx: TaskContext) -> list:
        if ctx.attempt == 0:
            raise ValueError
        return [ctx.meta["a"], ctx.headers["x"]]

    async with stem, stem.worker().running():
        assert await (await work.enqueue()).result(timeout=60) == ["a", ["q", 1]]
    assert journal.count("publish a") == 1
    assert journal.count("run a") == 2


async def test_publishing_can_change_the_queue_and_what_a_task_inherits(make):
    """Inner tasks inherit what the middleware of the publish has set."""

    async def change(message, call_next):
        meta = {k: v for k, v in message.meta.items() if k != "secret"}
        await call_next(replace(message.to_queue("other"), meta=meta, priority=3))

    stem = make(Publishing(change))

    @stem.task("inner", queue="q")
    async def inner(ctx: TaskContext) -> list:
        return [ctx.queue, dict(ctx.meta), ctx.parent is not None]

    @stem.task("outer", queue="other")
    async def outer() -> str:
        return (await inner.enqueue()).id

    async with stem, stem.worker().running():
        handle = await outer.options(meta={"secret": 1, "kept": 2}).enqueue()
        inner_id = await handle.result(timeout=60)
        assert handle.queue == "other"
        inner_result = await stem.handle(inner_id).result(timeout=60)
    assert inner_result == ["other", {"kept": 2}, True]


@pytest.mark.parametrize("way", ["async", "many", "blocking"])
async def test_every_way_to_enqueue_goes_through_it(make, way):
    """This holds by name, in bulk and without an event loop; context variables are the caller's."""
    journal = []
    stem = make(Noting("a", journal))

    @stem.task("work", queue="q")
    async def work() -> None: ...

    async with stem:
        if way == "async":
            await stem.enqueue("work")
        elif way == "many":
            await stem.enqueue_many([work.prepare(), work.prepare()])
        else:
            await asyncio.to_thread(work.enqueue_blocking)
    times = 2 if way == "many" else 1
    assert journal.count("publish a") == journal.count("published a") == times


async def test_an_error_of_publishing_reaches_the_caller_and_nothing_is_sent(make):
    """In bulk, the call is one of the failed ones."""

    async def refuse(message, call_next):
        if message.args["order"] == 13:
            raise PermissionError("not this one")
        await call_next(message)

    stem = make(Publishing(refuse))

    @stem.task("work", queue="q")
    async def work(order: int) -> int:
        return order

    async with stem:
        with pytest.raises(PermissionError):
            await work.enqueue(13)
        with pytest.raises(EnqueueManyError) as caught:
            await stem.enqueue_many(work.prepare(n) for n in (12, 13, 14))
        assert list(caught.value.done) == [0, 2]
        name = stem.names.work("q")
        assert (await stem.connected.transport.status([name]))[name].ready == 2


async def test_a_publish_that_failed_may_be_tried_again(make):
    """The message has the same id."""
    tried = []

    async def fails_once(message, call_next):
        tried.append(message.id)
        if len(tried) == 1:
            raise ConnectionError
        await call_next(message)

    async def again(message, call_next):
        try:
            await call_next(message)
        except ConnectionError:
            await call_next(message)

    stem = make(Publishing(again), Publishing(fails_once))

    @stem.task("work", queue="q")
    async def work() -> None: ...

    async with stem:
        handle = await stem.enqueue("work")
    assert tried == [handle.id] * 2


async def swallow(message, call_next):
    """Do nothing."""


async def twice(message, call_next):
    """Call the next middleware twice."""
    await call_next(message)
    await call_next(message)


async def forgets(message, call_next):
    """Call the next middleware without the call."""
    await call_next(None)


async def other_id(message, call_next):
    """Change the id."""
    await call_next(replace(message, id="other"))


async def bad_queue(message, call_next):
    """Change the queue to an invalid name."""
    await call_next(message.to_queue("no queue"))


async def bad_header(message, call_next):
    """Set a reserved header."""
    await call_next(message.with_headers({"stem-attempt": 3}))


@pytest.mark.parametrize(
    ("publish", "problem"),
    [
        (swallow, "neither awaited call_next"),
        (twice, "was passed on to the producer twice"),
        (forgets, "call_next takes the task"),
        (other_id, "cannot change its id, only queue"),
        (bad_queue, "'no queue' is not a valid queue name"),
        (bad_header, "choose another one"),
    ],
)
async def test_what_a_middleware_cannot_do_is_said(make, publish, problem):
    """The error is raised where the task is enqueued."""
    stem = make(Publishing(publish))
    async with stem:
        with pytest.raises(StemError, match=problem):
            await stem.enqueue("work", queue="default")


class NotAsync(Middleware):
    def run(self, ctx, call_next):
        """Do nothing in a plain function."""


class Nothing(Middleware):
    """A subclass without any hook."""


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (Noting, r"such as Noting\(\)"),
        (print, "is not a middleware"),
        (NotAsync(), "NotAsync.run must be an async function"),
        (Nothing(), "overrides neither run nor publish"),
    ],
)
def test_what_is_no_middleware_is_refused(make, wrong, problem):
    """The error is raised where the middleware is given."""
    with pytest.raises(ConfigurationError, match=problem):
        make(wrong)


async def test_a_traceback_begins_where_the_application_does(make):
    """It begins in the task's frames, or in those of a middleware that raised."""

    async def outer(ctx, call_next):
        await call_next()
        raise LookupError("of the middleware")

    async def inner(ctx, call_next):
        return await call_next()

    stem = make(Running(outer), Running(inner))

    def helper():
        raise ValueError("of the task")

    @stem.task("plain", queue="q", max_retries=0, time_limit="20s", soft_time_limit="10s")
    def plain() -> None:
        helper()

    @stem.task("async", queue="q", max_retries=0, time_limit="20s", soft_time_limit="10s")
    async def asynchronous() -> None:
        try:
            helper()
        except ValueError as error:
            raise KeyError("again") from error

    @stem.task("fine", queue="q", max_retries=0)
    async def fine() -> None: ...

    async with stem, stem.worker().running():
        for task, first in ((plain, "plain"), (asynchronous, "asynchronous"), (fine, "run")):
            with pytest.raises(TaskFailedError) as caught:
                await (await task.enqueue()).result(timeout=60)
            tracebacks = caught.value.traceback.split("Traceback (most recent call last):\n")[1:]
            assert all(text.split("\n")[0].endswith(f"in {first}") for text in tracebacks)
            assert len(tracebacks) == (2 if task is asynchronous else 1)
