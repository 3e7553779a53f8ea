"""The worker's log about tasks: complete, and bounded in its rate."""

import logging

import pytest
from support import eventually

from stem_amqp import Retry, Settings, Snooze, Stem, TaskContext
from stem_amqp.results.memory.backend import MemoryBackend
from stem_amqp.results.rpc.backend import RpcBackend
from stem_amqp.worker.capabilities import unmet
from stem_amqp.worker.report import success_log
from stem_amqp.worker.report.digest import Digest
from stem_amqp.worker.report.logs import TextFormatter


@pytest.fixture
def make(request):
    """Return an application in memory."""

    def make(**settings):
        url = f"memory://{request.node.name}"
        return Stem(settings=Settings.load(**settings), broker_url=url, backend_url=url)

    return make


def lines(caplog, level=logging.INFO):
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "stem_amqp.worker" and record.levelno >= level
    ]


async def run(stem, calls):
    async with stem, stem.worker().running():
        handles = await stem.enqueue_many(calls)
        for handle in handles:
            await handle.result(timeout=60)


async def test_each_success_is_a_line_until_there_are_too_many(make, caplog, monkeypatch):
    """The successes beyond the limit are counted, and none is left out."""
    monkeypatch.setattr(success_log, "PER_SECOND", 10)
    caplog.set_level(logging.DEBUG)
    stem = make()

    @stem.task("fine", queue="q")
    async def fine() -> None: ...

    await run(stem, [fine.prepare() for _ in range(500)])
    written = [line for line in lines(caplog) if " succeeded in " in line]
    counted = [line for line in lines(caplog) if " more succeeded within 1 s" in line]
    assert 10 <= len(written) < 500
    assert len(written) + sum(int(line.split()[2]) for line in counted) == 500


@pytest.mark.parametrize(
    ("mode", "level", "number"),
    [("each", "INFO", 300), ("none", "INFO", 0), ("none", "DEBUG", 300)],
)
async def test_successes_are_logged_as_the_setting_says(make, caplog, mode, level, number):
    """Each success is logged, or only at DEBUG."""
    caplog.set_level(level)
    stem = make(log_successes=mode)

    @stem.task("fine", queue="q")
    async def fine() -> None: ...

    await run(stem, [fine.prepare() for _ in range(300)])
    assert (
        len([line for line in lines(caplog, logging.DEBUG) if " succeeded in " in line]) == number
    )


async def test_many_retries_and_snoozes_are_a_few_lines(make, caplog):
    """The first of each is logged, and finally the number of the others."""
    caplog.set_level(logging.INFO)
    stem = make()

    @stem.task("again", queue="q", retry={"base": "100ms", "max": "100ms"})
    async def again(ctx: TaskContext) -> None:
        if ctx.attempt == 0:
            raise Retry
        if not ctx.headers.get("stem-not-before"):
            raise Snooze("100ms")

    await run(stem, [again.prepare() for _ in range(200)])
    told = [line for line in lines(caplog) if "succeeded" not in line]
    assert sum("retry 1 of 3" in line and "more" not in line for line in told) == 1
    assert sum("snoozed for" in line and "more" not in line for line in told) == 1
    for what in ("retries", "snoozes"):
        more = [line for line in told if f" more {what}" in line]
        assert sum(int(line.split()[2]) for line in more) == 199


async def test_continuing_events_are_reported_at_each_interval_and_ended_ones_are_not(caplog):
    """After a quiet time, a first line is written at once again."""
    caplog.set_level(logging.INFO)
    digest = Digest(interval=0.05)
    for number in range(3):
        digest.note("task t", "retries", f"line {number}")
    await eventually(lambda: len(lines(caplog)) == 2, "the second line")
    await eventually(lambda: not digest._open, "the quiet time")
    digest.note("task t", "retries", "line 3")
    digest.close()
    assert lines(caplog) == [
        "line 0",
        "task t: 2 more retries within 0.05 s, the last: line 2",
        "line 3",
    ]


def test_an_error_with_a_remedy_is_one_line():
    """This holds for the worker's own records; the remedy is on the same line."""
    text = "%s: it is missing:\n  Declare it: stem-amqp topology apply\n"
    record = logging.LogRecord("stem_amqp.worker", logging.ERROR, "", 1, text, ("q",), None)
    line = TextFormatter().format(record)
    assert line.endswith("q: it is missing: | Declare it: stem-amqp topology apply")


def test_a_worker_says_what_its_backend_cannot_do(make):
    """The line is about guards and unique tasks, and names the tasks."""
    stem = make()

    @stem.task("guarded")
    async def guarded(ctx: TaskContext) -> None:
        async with ctx.once("x"):
            pass

    @stem.task("hidden")
    def hidden() -> None:
        def inner():
            return TaskContext.current().once("x")

        inner()

    @stem.task("unique", unique="1h")
    async def unique() -> None: ...

    @stem.task("fine")
    async def fine(ctx: TaskContext) -> None: ...

    rpc = object.__new__(RpcBackend)
    about_unique, about_guards = unmet(stem.registry, rpc)
    assert about_unique.startswith("unique: unique, debounced and throttled tasks need")
    assert about_guards.startswith("guarded, hidden: ctx.once needs")
    assert list(unmet(stem.registry, object.__new__(MemoryBackend))) == []


async def test_it_says_so_at_its_start(make, caplog):
    """The line is written before the first task."""
    stem = make()
    stem.reconfigure(backend_url="rpc://")

    @stem.task("guarded", queue="q")
    async def guarded(ctx: TaskContext) -> None:
        async with ctx.once("x"):
            pass

    async with stem, stem.worker().running():
        told = lines(caplog, logging.ERROR)
    assert len(told) == 1
    assert "guarded: ctx.once needs" in told[0]
