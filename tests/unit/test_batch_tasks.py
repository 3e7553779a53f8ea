"""Batch tasks: one call of the function for several messages, each of which is settled by itself."""

import asyncio
import dataclasses
import threading

import pytest
from support import eventually

from stem_amqp import (
    Batch,
    BatchContext,
    BatchFailed,
    ConfigurationError,
    Depends,
    Limit,
    Middleware,
    Reason,
    Reject,
    Snooze,
    Stem,
    TaskState,
    isolated,
)
from stem_amqp.errors import TaskDefinitionError
from stem_amqp.worker.job import Job
from stem_amqp.worker.report.logs import current_fields
from stem_amqp.worker.running.resources import Resources
from stem_amqp.worker.running.threads import ThreadPool


@pytest.fixture
def stem_app():
    return Stem(broker_url="amqp://nobody@nowhere.invalid/")


@pytest.fixture
def calls():
    """Return the lists for which the function was called."""
    return []


@pytest.fixture
def doubled(stem_app, calls):
    """Return a batch task that doubles numbers, three at a time."""

    @stem_app.task("double", batch=Batch(size=3, within="2s"), queue="numbers")
    async def double(items: list[int]) -> list[int]:
        calls.append(items)
        return [2 * item for item in items]

    return double


async def results(handles):
    """Return the results of tasks."""
    return [await handle.result(timeout=60) for handle in handles]


async def test_a_full_batch_is_one_call_and_each_message_has_its_own_result(
    doubled, calls, stem_memory
):
    """The rest runs as a batch that is not full."""
    handles = [await doubled.enqueue(number) for number in range(7)]
    outcomes = await stem_memory.run_due()
    assert calls == [[0, 1, 2], [3, 4, 5], [6]]
    assert await results(handles) == [0, 2, 4, 6, 8, 10, 12]
    assert sorted(one.id for one in outcomes) == sorted(handle.id for handle in handles)


async def test_a_batch_that_is_not_full_runs_when_its_time_has_passed(doubled, calls, stem_memory):
    """The time counts from its first message."""
    await doubled.enqueue(1)
    async with stem_memory.worker():
        assert await stem_memory.advance("1s") == []
        await doubled.enqueue(2)
        assert await stem_memory.advance("0.9s") == []
        assert len(await stem_memory.advance("0.1s")) == 2
    assert calls == [[1, 2]]


async def test_a_sync_function_takes_a_batch_in_a_thread(stem_app, stem_memory):
    """Without results, each message's result is None."""
    seen = []

    @stem_app.task("store", batch=Batch(size=2))
    def store(rows: list[str]) -> None:
        seen.append(rows)

    handles = [await store.enqueue(text) for text in "ab"]
    await stem_memory.run_due()
    assert seen == [["a", "b"]]
    assert await results(handles) == [None, None]


async def test_some_items_fail_and_each_goes_its_own_way(stem_app, stem_memory):
    """A retry, a snooze and a dead letter of one batch; the others keep their results."""

    @stem_app.task("mixed", batch=Batch(size=4), retry={"base": "1h", "max": "1h", "jitter": 0})
    async def mixed(ctx: BatchContext, items: list[str]) -> list[str]:
        kinds = {"bad": ValueError("broken"), "later": Snooze("2h"), "never": Reject("no")}
        errors = {
            index: kinds[item]
            for index, item in enumerate(items)
            if item in kinds and ctx[index].attempt == 0
        }
        raise BatchFailed(errors, [f"did {item}" for item in items])

    handles = [await mixed.enqueue(item) for item in ("bad", "good", "later", "never")]
    outcomes = {one.id: one for one in await stem_memory.run_due()}
    bad, good, later, never = (outcomes[handle.id] for handle in handles)
    assert (bad.state, bad.error, bad.delay) == (TaskState.RETRYING, "ValueError: broken", 3600)
    assert isinstance(bad.exception, ValueError)
    assert (good.state, good.result) == (TaskState.SUCCEEDED, "did good")
    assert (later.state, later.delay) == (TaskState.SNOOZED, 7200)
    assert (never.state, never.reason) == (TaskState.FAILED, Reason.REJECTED)
    (again,) = await stem_memory.advance("1h1s")
    assert (again.id, again.attempt, again.result) == (bad.id, 1, "did bad")


async def test_another_exception_fails_every_message_with_its_own_attempt(stem_app, stem_memory):
    """One message has used up its retries, the other has not."""

    @stem_app.task("fails", batch=Batch(size=2), max_retries=1)
    async def fails(items: list[str]) -> None:
        raise ConnectionError("the database is away")

    last = await fails.options(max_retries=0).enqueue("a")
    first = await fails.enqueue("b")
    outcomes = {one.id: one for one in await stem_memory.run_due()}
    assert outcomes[last.id].reason == Reason.RETRIES_EXHAUSTED
    assert outcomes[first.id].state is TaskState.RETRYING
    assert all(isinstance(one.exception, ConnectionError) for one in outcomes.values())


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        ([1], "it returned 1 results for 2 items"),
        ("ab", "it returned str, and not None or a list of 2 results"),
        (BatchFailed({2: ValueError()}), "BatchFailed names item 2, and the batch has 2 items"),
        (BatchFailed({0: ValueError()}, [1]), "it returned 1 results for 2 items"),
    ],
)
async def test_results_that_fit_no_item_are_dead_letters(stem_app, stem_memory, returned, problem):
    """Nobody knows which items were done: an operator decides whether they run again."""

    @stem_app.task("wrong", batch=Batch(size=2))
    async def wrong(items):
        if isinstance(returned, BatchFailed):
            raise returned
        return returned

    for item in range(2):
        await wrong.enqueue(item)
    outcomes = await stem_memory.run_due()
    assert [one.reason for one in outcomes] == [Reason.UNSERIALIZABLE_RESULT] * 2
    assert all(problem in one.error for one in outcomes), outcomes
    assert len(stem_memory.dead_letters()) == 2


async def test_a_result_that_does_not_fit_the_annotation_fails_its_own_message_only(
    stem_app, stem_memory
):
    """The others of the batch succeed."""

    @stem_app.task("typed", batch=Batch(size=2))
    async def typed(items: list[int]) -> list[int]:
        return ["x" if item else 0 for item in items]

    handles = [await typed.enqueue(item) for item in range(2)]
    outcomes = {one.id: one for one in await stem_memory.run_due()}
    assert outcomes[handles[0].id].result == 0
    assert outcomes[handles[1].id].reason == Reason.UNSERIALIZABLE_RESULT


async def test_a_message_is_validated_by_the_item_type(stem_app, stem_memory):
    """An old producer may send what the annotation does not allow."""
    seen = []

    def define(app, annotation):
        @app.task("rows", batch=Batch(size=2, argument="row"))
        async def rows(items: list[annotation]) -> None:
            seen.append(items)

        return rows

    old = Stem(settings=stem_app.settings)
    define(stem_app, int)
    call = define(old, str).prepare("x")
    good = await stem_app.enqueue("rows", args={"row": 5})
    bad = await stem_app.enqueue_call(dataclasses.replace(call, definition=None))
    outcomes = {one.id: one for one in await stem_memory.run_due()}
    assert outcomes[good.id].state is TaskState.SUCCEEDED
    assert outcomes[bad.id].reason == Reason.INVALID_ARGUMENTS
    assert seen == [[5]]


async def test_what_expires_while_it_is_collected_does_not_run(doubled, calls, stem_memory):
    """The other messages of the batch run."""
    await doubled.options(expires="1s").enqueue(1)
    await doubled.enqueue(2)
    async with stem_memory.worker():
        expired, done = await stem_memory.advance("2s")
    assert (expired.state, done.state) == (TaskState.EXPIRED, TaskState.SUCCEEDED)
    assert calls == [[2]]


async def test_a_collected_message_that_is_revoked_does_not_run(doubled, calls, stem_memory):
    """Neither does a batch of which nothing is left."""
    unwanted = [await doubled.enqueue(number) for number in range(2)]
    async with stem_memory.worker() as worker:
        await eventually(lambda: worker.collected == 2, "two collected messages")
        for handle in unwanted:
            await stem_memory.app.revoke(handle.id)
        outcomes = await stem_memory.run_due()
    assert {one.state for one in outcomes} == {TaskState.REVOKED}
    assert calls == []


async def test_a_worker_that_stops_returns_what_it_has_collected(doubled, calls, stem_memory):
    """The next worker collects the messages again."""
    await doubled.enqueue(1)
    async with stem_memory.worker() as worker:
        await eventually(lambda: worker.collected == 1, "a collected message")
    assert (calls, stem_memory.outcomes()) == ([], [])
    await stem_memory.run_due()
    assert calls == [[1]]


async def test_a_message_that_is_revoked_during_the_run_leaves_it_and_the_others_end(
    stem_app, stem_memory
):
    """The function goes on; if all of its messages are cancelled, it is cancelled too."""
    cancelled, release = asyncio.Event(), asyncio.Event()

    @stem_app.task("slow", batch=Batch(size=2))
    async def slow(items: list[int]) -> list[int]:
        try:
            await release.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return items

    handles = [await slow.enqueue(item) for item in range(4)]
    async with stem_memory.worker() as worker:
        await worker.until_running(4, timeout="60s")
        for handle in (handles[0], handles[2], handles[3]):
            await stem_app.revoke(handle.id, terminate=True)
        await asyncio.wait_for(cancelled.wait(), 60)
        release.set()
        await stem_memory.run_due()
    states = {one.id: one.state for one in stem_memory.outcomes()}
    expected = [TaskState.REVOKED, TaskState.SUCCEEDED, TaskState.REVOKED, TaskState.REVOKED]
    assert [states[handle.id] for handle in handles] == expected


async def test_the_time_limit_counts_for_the_run_of_the_batch(stem_app, stem_memory):
    """Calls with other limits are collected apart."""
    sizes = []

    @stem_app.task("stuck", batch=Batch(size=5), time_limit="1m", max_retries=0)
    async def stuck(items: list[int]) -> None:
        sizes.append(len(items))
        if items == [9]:
            await asyncio.Event().wait()

    for item in range(2):
        await stuck.enqueue(item)
    handle = await stuck.options(time_limit=0.01).enqueue(9)
    outcomes = {one.id: one for one in await stem_memory.run_due()}
    assert sorted(sizes) == [1, 2]
    assert "TimeLimitError" in outcomes[handle.id].error
    assert len([one for one in outcomes.values() if one.state is TaskState.SUCCEEDED]) == 2


async def test_middleware_wraps_each_message_and_can_refuse_it(stem_app, stem_memory, calls):
    """The refused message does not enter the batch; the result of another one is changed."""

    class Guard(Middleware):
        async def run(self, ctx, call_next):
            if ctx.meta.get("refused"):
                raise Reject("refused")
            return (await call_next(), await call_next())

    stem_app.add_middleware(Guard())

    @stem_app.task("pairs", batch=Batch(size=3))
    async def pairs(items):
        calls.append(items)
        return [item.upper() for item in items]

    handle = await pairs.enqueue("a")
    await pairs.options(meta={"refused": True}).enqueue("b")
    await pairs.enqueue("c")
    await stem_memory.run_due()
    assert calls == [["a", "c"]]
    assert await handle.result() == ["A", "A"]


async def test_dependencies_are_opened_once_for_a_batch(stem_app, stem_memory):
    """A factory may take the context of the batch."""
    opened = []

    def session(ctx: BatchContext):
        opened.append(len(ctx))
        yield "session"
        opened.append("closed")

    @stem_app.task("with-session", batch=Batch(size=2))
    def store(items: list[int], db: str = Depends(session)) -> list[str]:
        return [f"{db} {item}" for item in items]

    handles = [await store.enqueue(item) for item in range(2)]
    await stem_memory.run_due()
    assert await results(handles) == ["session 0", "session 1"]
    assert opened == [2, "closed"]
    assert store([7]) == ["session 7"]


async def test_in_a_child_process_each_message_is_a_batch_of_its_own(
    stem_app, doubled, calls, stem_memory
):
    """A message in quarantine must not wait for others, which it could take down."""
    await doubled.enqueue(4)
    (message,) = stem_memory.broker.messages(stem_app.names.work("numbers"))
    threads = ThreadPool(1)
    resources = Resources(stem_app.blueprint.overrides, stem_app.settings)
    executor = isolated._executor(stem_app, None, threads, resources)
    outcome = await executor.execute(Job(body=message.body, headers={}, queue="numbers"))
    threads.close()
    assert (outcome.result, calls) == (b"8", [[4]])


async def test_the_log_of_a_batch_names_its_task(stem_app, stem_memory):
    """A line belongs to all of its messages, so it has no id."""
    fields = []

    @stem_app.task("logs", batch=Batch(size=2))
    async def logs(items: list[int]) -> None:
        fields.append(current_fields())

    await logs.enqueue(1)
    await stem_memory.run_due()
    (found,) = fields
    assert {name for name, value in found.items() if value is not None} == {"task_name"}
    assert found["task_name"] == "logs"


async def test_other_tasks_of_the_queue_run_while_messages_are_collected(
    stem_app, doubled, stem_memory
):
    """Collected messages hold no slot, and there is room for them beyond the concurrency."""

    @stem_app.task("plain", queue="numbers")
    async def plain() -> str:
        return "done"

    for number in range(2):
        await doubled.enqueue(number)
    handle = await plain.enqueue()
    async with stem_memory.worker(concurrency=1) as worker:
        assert await handle.result(timeout=60) == "done"
        await eventually(lambda: worker.collected == 2, "two collected messages")


async def test_no_more_batches_run_at_once_than_the_concurrency(stem_app, stem_memory):
    """A batch holds one slot."""
    running, most = set(), []
    release = asyncio.Event()

    @stem_app.task("slotted", batch=Batch(size=2), queue="slots")
    async def slotted(items: list[int]) -> None:
        running.add(items[0])
        most.append(len(running))
        await release.wait()
        running.discard(items[0])

    for item in range(6):
        await slotted.enqueue(item)
    async with stem_memory.worker(concurrency=1) as worker:
        await worker.until_running(2, timeout="60s")
        release.set()
        await stem_memory.run_due()
    assert most == [1, 1, 1]


async def test_batch_tasks_are_links_and_members(stem_app, doubled, calls, stem_memory):
    """Members of several groups may share a batch; each goes on with its own result."""

    @stem_app.task("total")
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    both = doubled.map([1, 2]) | total.s()
    handles = [await both.enqueue(), await (doubled.s(5) | doubled.s()).enqueue()]
    await stem_memory.run_due(raise_errors=True)
    assert await results(handles) == [6, 20]
    assert sorted(map(sorted, calls)) == [[1, 2, 5], [10]]


async def test_called_directly_it_takes_a_list(doubled, stem_app):
    """It is the plain function; an item is a mistake."""
    assert await doubled([1, 2]) == [2, 4]
    with pytest.raises(
        TypeError, match=r"double is a batch task: called directly, it takes one list"
    ):
        await doubled(1)

    @stem_app.task("in-context", batch=Batch(size=2))
    def in_context(ctx: BatchContext, items: list[str]) -> list[str]:
        return [f"{one.task} {item}" for one, item in zip(ctx, items, strict=True)]

    assert in_context(["a"]) == ["in-context a"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"size": 0}, "size must be a whole number of messages from 1 to 10,000, not 0"),
        ({"size": "9"}, "size must be a whole number"),
        ({"size": 2, "within": 0}, "within must be longer than 0 and at most 10 min"),
        ({"size": 2, "within": "1h"}, "the collected messages are unsettled for so long"),
        ({"size": 2, "within": "soon"}, "'soon' is not a valid duration"),
        ({"size": 2, "argument": "an item"}, "argument must be a name"),
        ({"size": 2, "argument": "class"}, "argument must not be the keyword 'class'"),
    ],
)
def test_a_wrong_batch_is_refused(values, problem):
    """When the option is written."""
    with pytest.raises(ConfigurationError, match=problem):
        Batch(**values)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"batch": 100}, r"batch takes a Batch, such as Batch\(size=100, within=\"2s\"\), not 100"),
        ({"batch": Batch(size=2), "executor": "process"}, "cannot run in the process pool"),
        ({"batch": Batch(size=2), "concurrency_limit": 1}, "concurrency_limit counts messages"),
        ({"batch": Batch(size=2), "limits": [Limit(concurrency=1)]}, "counts messages"),
    ],
)
def test_options_that_do_not_go_with_a_batch_are_refused(stem_app, options, problem):
    """When the task is defined."""
    with pytest.raises(ConfigurationError, match=problem):
        stem_app.task("x", **options)


def _two(a: list[int], b: list[int]) -> None: ...
def _none() -> None: ...
def _item(item: int) -> None: ...
def _sum(items: list[int]) -> int: ...
def _typed(items: list[threading.Lock]) -> None: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (_two, r"takes one list of items, and not the parameters \(a, b\)"),
        (_none, "takes one list of items"),
        (_item, "'item' of a batch task is annotated as int; write list"),
        (_sum, "its return annotation is int"),
        (_typed, "not supported in JSON"),
    ],
)
def test_a_function_that_takes_no_list_is_refused(stem_app, function, problem):
    """When the task is defined, with what to write."""
    with pytest.raises(TaskDefinitionError, match=problem):
        stem_app.task("x", batch=Batch(size=2))(function)


def test_a_batch_failure_takes_indexes_and_exceptions():
    """Anything else is refused where it is raised."""
    with pytest.raises(ConfigurationError, match="takes a mapping of indexes to exceptions"):
        BatchFailed({"a": ValueError()})
    with pytest.raises(ConfigurationError, match="takes a mapping of indexes to exceptions"):
        BatchFailed({0: "no"})


async def test_a_prefetch_smaller_than_a_batch_is_refused_at_the_start(
    stem_app, doubled, stem_memory
):
    """No batch would ever be full."""
    with pytest.raises(
        ConfigurationError, match=r"(?s)a batch of double is never full.*at least 6"
    ):
        stem_app.worker(["numbers"], prefetch=2)
    (consumer,) = stem_app.worker(["numbers"], prefetch=3)._consumers
    assert consumer.prefetch == 3
    (consumer,) = stem_app.worker(["numbers"], concurrency=4)._consumers
    assert (consumer.concurrency, consumer.prefetch) == (4, 10)
