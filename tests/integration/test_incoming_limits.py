"""Limits on what comes in, on every broker: size, headers, depth, age, and a full dead-letter queue."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from support import eventually

from stem_amqp import Stem, TaskContext
from stem_amqp.clock import timestamp
from stem_amqp.dead_letter import ALL, DeadLetters, Selection
from stem_amqp.errors import ArgumentsError, ConfigurationError, MessageTooLargeError
from stem_amqp.health import check_health
from stem_amqp.message import TaskMessage
from stem_amqp.topology.load import parse_topology
from stem_amqp.transport.base import Publication


async def waiting(stem, queue):
    """Return how many messages are ready in a queue."""
    return (await stem.connected.transport.status([queue]))[queue].ready


async def test_a_body_that_is_too_large_is_not_sent(stem):
    """The error says the size, the limit, and what is large; and nothing is on the broker."""

    @stem.task("work", queue="work")
    async def work(text: str, small: int = 1) -> None: ...

    async with stem:
        with pytest.raises(
            MessageTooLargeError, match=r"1,048,576.*'text' with 1,100,002 bytes"
        ) as e:
            await work.enqueue("x" * 1_100_000)
        assert (e.value.largest, e.value.limit) == ("text", 1_048_576)
        assert await waiting(stem, stem.names.work("work")) == 0
        await work.enqueue("x" * 1_000_000)
        assert await waiting(stem, stem.names.work("work")) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {f"h{n}": 1 for n in range(65)},
        {"h": "é" * 5000},
        {"stem-attempt": 5},
        {"CC": ["other"]},
        {"n" * 129: 1},
        {"h": float("nan")},
        {"h": "\ud800"},
        {"h": 2**63},
        {"h": object()},
    ],
)
def test_headers_that_cannot_travel_are_refused(headers):
    """They are an error where the call is made, with the header's name."""
    stem = Stem(broker_url="memory://headers")
    with pytest.raises(ConfigurationError, match="header"):
        stem.prepare("work", {}, headers=headers)


async def test_arguments_without_end_are_refused(stem):
    """Cycles and great depth are a clear error, and no RecursionError."""

    @stem.task("work", queue="work")
    async def work(value: list) -> None: ...

    cycle = []
    cycle.append(cycle)
    deep = []
    for _ in range(253):
        deep = [deep]
    async with stem:
        with pytest.raises(ArgumentsError, match="Circular"):
            await work.enqueue(cycle)
        for name in ("work", "elsewhere"):
            with pytest.raises(ConfigurationError, match="nested deeper"):
                await stem.enqueue(name, {"value": deep}, queue="work")


async def send(stem, *, age, **headers):
    """Put a task message of some age into the queue."""
    at = stem.connected.transport.clock.time() - age
    message = TaskMessage(id="t-1", task="work", args={}, enqueued_at=timestamp(at))
    await stem.connected.transport.publish(
        Publication(
            exchange=stem.names.tasks, routing_key="work", body=message.encode(), headers=headers
        )
    )


@pytest.mark.parametrize("how", ["fails", "snoozes"])
async def test_a_task_that_is_too_old_does_not_run_again(stem, how):
    """It runs once, however old it is; then it is a dead letter, and a replay is a new life."""
    runs = []

    @stem.task("work", queue="work", max_age="1h", retry={"base": "100ms", "jitter": 0})
    async def work(ctx: TaskContext) -> None:
        runs.append(ctx.attempt)
        if len(runs) < 3:
            if how == "snoozes":
                ctx.snooze("100ms")
            raise ValueError(how)

    async with stem, stem.worker(["work"]).running():
        await send(stem, age=3700)
        (letter,) = await eventually(lambda: DeadLetters(stem, "work").list(), "the dead letter")
        assert letter.reason == "too-old"
        assert "1 h" in letter.error
        assert len(runs) == 1
        await DeadLetters(stem, "work").replay(ALL)
        await eventually(lambda: len(runs) == 3, "a retry of the replayed one")


async def test_age_counts_from_when_a_task_was_due(stem):
    """A task that was delayed for longer than its age limit is retried all the same."""
    runs = []

    @stem.task("work", queue="work", max_age="1h", retry={"base": "100ms", "jitter": 0})
    async def work(ctx: TaskContext) -> None:
        runs.append(ctx.attempt)
        if not ctx.attempt:
            raise ValueError

    async with stem, stem.worker(["work"]).running():
        due = datetime.fromtimestamp(stem.connected.transport.clock.time(), UTC)
        await send(stem, age=7200, **{"stem-not-before": due.isoformat()})
        await eventually(lambda: runs == [0, 1], "the retry")


async def test_an_enqueue_in_the_future_is_not_too_old(stem):
    """The clock of a producer may be ahead."""
    runs = []

    @stem.task("work", queue="work", max_age="1h", retry={"base": "100ms", "jitter": 0})
    async def work(ctx: TaskContext) -> None:
        runs.append(ctx.attempt)
        if not ctx.attempt:
            raise ValueError

    async with stem, stem.worker(["work"]).running():
        await send(stem, age=-timedelta(days=2).total_seconds())
        await eventually(lambda: runs == [0, 1], "the retry")


async def test_a_full_dead_letter_queue_holds_and_loses_nothing(make_stem):
    """It says so, in log, signal and health; with room again, everything arrives."""
    topology = parse_topology(
        "version: 1\nqueues: {work: {retry: {max_retries: 0}, dead_letter: {max_length: 3}}}"
    )
    stem = make_stem(backend_url="memory://full", topology=topology)
    stem.settings = stem.settings.replace(dlq_alarm=3)
    refused = asyncio.Event()

    @stem.task("work", queue="work")
    async def work(number: int) -> None:
        raise ValueError(number)

    @stem.signals.task_dead_letter_refused.connect()
    def hear(event):
        refused.set()

    async with stem:
        letters = DeadLetters(stem, "work")
        async with stem.worker(["work"], concurrency=2).running():
            for number in range(12):
                await work.enqueue(number)
            await asyncio.wait_for(refused.wait(), 20)
            report = await check_health(stem)
            assert not next(c for c in report.checks if c.name == "dead-letters").ok
            found = set()

            async def all_found():
                seen = await letters.list(limit=None)
                found.update(letter.args["number"] for letter in seen)
                # only those: others may have come meanwhile
                await letters.purge(Selection(ids=frozenset(letter.id for letter in seen)))
                return found == set(range(12))

            await eventually(all_found, "every dead letter", timeout=40)
