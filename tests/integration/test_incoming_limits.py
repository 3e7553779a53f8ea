"""Test limits of messages on every broker: size, headers, depth, age, a full dead-letter queue."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from support import eventually

from stem_amqp import Stem, TaskContext
from stem_amqp.clock import timestamp
from stem_amqp.dead_letter import ALL, DeadLetters, Selection
from stem_amqp.errors import ArgumentsError, ConfigurationError, MessageTooLargeError
from stem_amqp.health.examination import check_health
from stem_amqp.messages.message import TaskMessage
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.transport.publication import Publication


async def waiting(stem, queue):
    """Return the number of ready messages in a queue."""
    return (await stem.connected.transport.status([queue]))[queue].ready


async def test_a_body_that_is_too_large_is_not_sent(stem):
    """The error names the size, the limit and the largest part; nothing is published."""

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
def test_headers_that_amqp_cannot_carry_are_refused(headers):
    """The call raises an error with the header's name."""
    stem = Stem(broker_url="memory://headers")
    with pytest.raises(ConfigurationError, match="header"):
        stem.prepare("work", {}, headers=headers)


async def test_arguments_without_end_are_refused(stem):
    """Cycles and great depth are a clear error, and not a RecursionError."""

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


def body(**fields):
    """Return the bytes of a task message with some fields replaced."""
    return orjson.dumps({"v": 1, "id": "t-1", "task": "work", "args": {}, **fields})


def nested(depth):
    """Return nested lists."""
    value = []
    for _ in range(depth):
        value = [value]
    return value


BEYOND = {
    "BODY_SIZE": (
        {"body": body(args={"a": "x" * 40_000})},
        "has 40048 bytes, a worker accepts 32768",
    ),
    "VALUES": ({"body": body(args={"a": [1] * 1100})}, "about 11.. values, a worker accepts 1024"),
    "NESTING": ({"body": body(args={"a": nested(14)})}, "nested deeper than 12 levels"),
    "HEADERS": ({"body": body(), "headers": {f"h{n}": 1 for n in range(101)}}, "has 101 headers"),
    "OPTIONS": ({"body": body(options={f"o{n}": 1 for n in range(17)})}, "has 17 options"),
}
WITHIN = {
    "BODY_SIZE": {"body": body(args={"a": "x" * 32_000})},
    "VALUES": {"body": body(args={"a": [1] * 900, "b": ",[{" * 1000})},
    "NESTING": {"body": body(args={"a": nested(9)})},
    "HEADERS": {"body": body(), "headers": {f"h{n}": 1 for n in range(100)}},
    "OPTIONS": {"body": body(options={f"o{n}": 1 for n in range(16)})},
}


@pytest.mark.parametrize("limit", BEYOND)
async def test_a_message_beyond_a_limit_is_a_dead_letter_with_the_reason(make_stem, limit):
    """Each limit is a setting, which the reason names; a message just within the limit runs."""
    stem = make_stem(backend_url="rpc://")
    stem.reconfigure(
        max_body_size=32_768, incoming_body_size=32_768, incoming_values=1024,
        incoming_nesting=12, incoming_headers=100, incoming_options=16,
    )  # fmt: skip
    ran = []

    @stem.task("work", queue="work")
    async def work(**given: Any) -> None:
        ran.append(given)

    message, reason = BEYOND[limit]
    async with stem, stem.worker(["work"]).running():
        for one in (message, WITHIN[limit]):
            publication = Publication(exchange=stem.names.tasks, routing_key="work", **one)
            await stem.connected.transport.publish(publication)
        (letter,) = await eventually(lambda: DeadLetters(stem, "work").list(), "the dead letter")
        assert letter.reason == "undecodable"
        assert re.search(reason, letter.error), letter.error
        assert f"STEM_INCOMING_{limit}" in letter.error
        await eventually(lambda: ran, "the one within the limit")


async def test_thousands_of_headers_do_not_stall_a_worker(make_stem):
    """This holds below and above the limit, in a task that fails, is retried and dead-lettered."""
    stem = make_stem(backend_url="rpc://")
    stem.reconfigure(incoming_headers=5000)

    @stem.task("work", queue="work", max_retries=1, retry={"base": "100ms", "jitter": 0})
    async def work() -> None:
        raise ValueError("x" * 100_000)

    many = [{f"h{n}": n % 2 == 0 for n in range(count)} for count in (4500, 5400)]
    async with stem, stem.worker(["work"]).running():
        before = time.process_time()
        for headers in many:
            publication = Publication(
                exchange=stem.names.tasks, routing_key="work", body=body(), headers=headers
            )
            await stem.connected.transport.publish(publication)
        letters = DeadLetters(stem, "work")
        await eventually(lambda: _count_is(letters, 2), "both dead letters", 60)
        assert time.process_time() - before < 15
        reasons = {letter.reason for letter in await letters.list()}
        assert reasons == {"retries-exhausted", "undecodable"}


async def _count_is(letters, number):
    return await letters.count() == number


async def test_a_producer_may_write_what_its_worker_reads():
    """If the settings allow a larger body at enqueue, the worker accepts it too."""
    stem = Stem(broker_url="memory://limits")
    settings = stem.settings.replace(incoming_body_size=2048, max_body_size=9000)
    assert settings.incoming_limits.body_size == 9000


async def test_the_first_of_many_wrong_values_are_reported(stem):
    """Pydantic's report of all errors would take a hundred times the memory of the message."""

    @stem.task("work", queue="work")
    async def work(items: list[int], names: dict[str, int], few: list[int]) -> None: ...

    wrong = {"items": ["x"] * 50_000, "names": {str(n): "x" for n in range(50_000)}, "few": ["x"]}
    async with stem, stem.worker(["work"]).running():
        await stem.connected.transport.publish(
            Publication(exchange=stem.names.tasks, routing_key="work", body=body(args=wrong))
        )
        (letter,) = await eventually(lambda: DeadLetters(stem, "work").list(), "the dead letter")
        assert letter.reason == "invalid-arguments"
        assert letter.error.count("Input should be") == 3, letter.error
        with pytest.raises(ArgumentsError, match=r"items\.0: Input .*and 30 more") as caught:
            await work.enqueue(["x"] * 50, {}, [])
        assert len(str(caught.value)) < 4000
        with pytest.raises(ArgumentsError, match="50000 values do not fit"):
            await work.enqueue(["x"] * 50_000, {}, [])


async def send(stem, *, age, **headers):
    """Publish a task message of a given age to the queue."""
    at = stem.connected.transport.clock.time() - age
    message = TaskMessage(id="t-1", task="work", args={}, enqueued_at=timestamp(at))
    await stem.connected.transport.publish(
        Publication(
            exchange=stem.names.tasks, routing_key="work", body=message.encode(), headers=headers
        )
    )


@pytest.mark.parametrize("how", ["fails", "snoozes"])
async def test_a_task_that_is_too_old_does_not_run_again(stem, how):
    """It runs once, however old it is, then becomes a dead letter; a replay resets its age."""
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
    """A task that was delayed for longer than its age limit is still retried."""
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
    """A task is not too old if the producer's clock is ahead."""
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
    """Log, signal and health report it; once there is room, every dead letter arrives."""
    topology = parse_topology(
        "version: 1\nqueues: {work: {retry: {max_retries: 0}, dead_letter: {max_length: 3}}}"
    )
    stem = make_stem(backend_url="memory://full", topology=topology)
    stem.reconfigure(dlq_alarm=3)
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
            await asyncio.wait_for(refused.wait(), 60)
            report = await check_health(stem)
            assert not next(c for c in report.checks if c.name == "dead-letters").ok
            found = set()

            async def all_found():
                seen = await letters.list(limit=None)
                found.update(letter.args["number"] for letter in seen)
                # only the listed ones: others may have arrived meanwhile
                await letters.purge(Selection(ids=frozenset(letter.id for letter in seen)))
                return found == set(range(12))

            await eventually(all_found, "every dead letter", timeout=60)
