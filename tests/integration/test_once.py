"""Test guarded side effects: once for a task, across retries, redeliveries and workers."""

import asyncio
import threading
import time
import uuid

import pytest
from support import delivery_type, empty, eventually

from stem_amqp import Stem, StemError, TaskContext, TaskFailedError, TaskState
from stem_amqp.errors import BackendUnavailableError
from stem_amqp.transport.memory import ManualClock

FAST = {"base": "100ms", "jitter": 0, "max": "200ms"}


@pytest.fixture
def stem(stem_with_keys):
    """Return an application on each kind of broker, with each backend that keeps keys."""
    return stem_with_keys


async def test_a_block_runs_once_across_attempts(stem):
    """A failure after the block is retried without the block; each name is a separate block."""
    done = []

    @stem.task("order", queue="q", max_retries=3, retry=FAST)
    async def order(ctx: TaskContext) -> None:
        for name in ("charge", "ship"):
            async with ctx.once(name) as first:
                if first:
                    done.append((name, ctx.attempt))
            if ctx.attempt == ("charge", "ship").index(name):
                raise ConnectionError("after the block")

    async with stem, stem.worker().running():
        await (await order.enqueue()).result(timeout=60)
        assert done == [("charge", 0), ("ship", 1)]
        await (await order.enqueue()).result(timeout=60)
    assert len(done) == 4  # another task has its own guards


async def test_a_block_that_raises_runs_again(stem):
    """It is unknown how much of a block that raised was done."""
    runs = []

    @stem.task("order", queue="q", max_retries=3, retry=FAST)
    async def order(ctx: TaskContext) -> None:
        async with ctx.once("charge") as first:
            if first:
                runs.append(ctx.attempt)
                if ctx.attempt == 0:
                    raise ConnectionError("inside of the block")
                if ctx.attempt == 1:
                    ctx.retry(delay="100ms")

    async with stem, stem.worker().running():
        await (await order.enqueue()).result(timeout=60)
    assert runs == [0, 1, 2]


async def test_what_a_function_returned_is_kept_for_later_runs(stem):
    """Async tasks use `run`, synchronous ones `call`."""
    charges = []

    async def charge() -> dict:
        charges.append(1)
        return {"receipt": len(charges)}

    def charge_now() -> dict:
        charges.append(1)
        return {"receipt": len(charges)}

    @stem.task("async", queue="q", max_retries=3, retry=FAST)
    async def order(ctx: TaskContext) -> dict:
        receipt = await ctx.once("charge").run(charge)
        if ctx.attempt < 2:
            raise ConnectionError
        return receipt

    @stem.task("sync", queue="q", max_retries=3, retry=FAST)
    def order_now(ctx: TaskContext) -> dict:
        receipt = ctx.once("charge").call(charge_now)
        if ctx.attempt < 2:
            raise ConnectionError
        return receipt

    async with stem, stem.worker().running():
        assert await (await order.enqueue()).result(timeout=60) == {"receipt": 1}
        assert await (await order_now.enqueue()).result(timeout=60) == {"receipt": 2}
    assert len(charges) == 2


async def test_a_synchronous_task_guards_its_block_from_its_thread(stem):
    """The task uses `with` instead of `async with`; in an async task `with` is an error."""
    threads = []

    @stem.task("sync", queue="q", max_retries=1, retry=FAST)
    def sync(ctx: TaskContext) -> None:
        with ctx.once("charge") as first:
            if first:
                threads.append(threading.current_thread() is threading.main_thread())
        if ctx.attempt == 0:
            raise ConnectionError

    @stem.task("wrong", queue="q", max_retries=0)
    async def wrong(ctx: TaskContext) -> None:
        with ctx.once("charge"):
            pass

    async with stem, stem.worker().running():
        await (await sync.enqueue()).result(timeout=60)
        with pytest.raises(TaskFailedError, match="async with"):
            await (await wrong.enqueue()).result(timeout=60)
    assert threads == [False]


async def test_a_worker_killed_between_the_guard_and_the_ack_leaves_a_block_done_once(
    stem, monkeypatch
):
    """The redelivered message has no stored outcome: the run is repeated, its block is not."""
    runs, charges, lost = [], [], []

    @stem.task("order", queue="q", ignore_result=True)
    async def order(ctx: TaskContext) -> None:
        runs.append(ctx.id)
        async with ctx.once("charge") as first:
            if first:
                charges.append(ctx.id)

    async with stem, stem.worker().running():
        kind = await delivery_type(stem)
        ack = kind.ack

        async def lose_the_first(delivery):
            if lost:
                return await ack(delivery)
            lost.append(delivery)
            return await delivery.nack(requeue=True)  # like the broker for a dead worker

        monkeypatch.setattr(kind, "ack", lose_the_first)
        handle = await order.enqueue()
        await eventually(lambda: len(runs) == 2, "the redelivery's run")
        await eventually(lambda: empty(stem), "an empty queue")
    assert runs == [handle.id, handle.id]
    assert charges == [handle.id]


async def test_a_run_that_finds_another_one_inside_comes_again_later(stem, caplog):
    """Of two concurrent runs of a task the second snoozes, and then finds the stored success."""
    caplog.set_level("INFO", "stem_amqp.worker")
    entered, leave = asyncio.Event(), asyncio.Event()
    runs, charges = [], []

    @stem.task("order", queue="q")
    async def order(ctx: TaskContext) -> str:
        runs.append(ctx.id)
        async with ctx.once("charge", lease="3s") as first:
            if first:
                charges.append(ctx.id)
                entered.set()
                await leave.wait()
        return "done"

    async with stem, stem.worker(concurrency=2).running():
        handle = await order.options(task_id="twice").enqueue()
        await asyncio.wait_for(entered.wait(), 60)
        await order.options(task_id="twice").enqueue()
        await eventually(lambda: snoozed(stem), "a snoozed second run")
        leave.set()
        assert await handle.result(timeout=60) == "done"
        again = "is a repeated delivery and does not run again, earlier outcome: succeeded"
        await eventually(lambda: again in caplog.text, "the second message, once more")
    assert charges == ["twice"]
    assert len(runs) == 2


async def snoozed(stem):
    """Return whether the task waits for another run of itself."""
    record = await stem.record("twice")
    return record.state is TaskState.SNOOZED


async def test_a_lease_is_renewed_while_its_run_lives():
    """However long the block takes, no other owner gets the guard; the test advances the clock."""
    clock = ManualClock()
    name = uuid.uuid4().hex
    stem = Stem(broker_url=f"memory://{name}", backend_url=f"memory://{name}", clock=clock)

    @stem.task("order")
    async def order(ctx: TaskContext) -> None:
        backend = stem.connected.backend

        async def remaining() -> float:
            claim = await backend.claim_key(f"once:{ctx.id}:charge", "intruder", ttl=60)
            assert claim.owner != "intruder"
            return claim.remaining

        async def renewed() -> bool:
            return await remaining() > 0.29

        async with ctx.once("charge", lease="300ms"):
            for _ in range(3):
                clock.advance(0.25)
                await eventually(renewed, "a renewed lease")

    async with stem, stem.worker().running():
        await (await order.enqueue()).result(timeout=60)


async def test_a_lease_that_is_not_renewed_ends(stem):
    """The redelivery of a killed worker's task waits for the rest of the lease."""
    charges, task_id = [], uuid.uuid4().hex

    @stem.task("order", queue="q")
    async def order(ctx: TaskContext) -> None:
        async with ctx.once("charge") as first:
            if first:
                charges.append(ctx.id)

    async with stem, stem.worker().running():
        await stem.connected.backend.claim_key(f"once:{task_id}:charge", "dead", ttl=0.3)
        await (await order.options(task_id=task_id).enqueue()).result(timeout=60)
    assert charges == [task_id]


async def test_a_synchronous_task_that_is_interrupted_leaves_its_block(stem):
    """The time limit ends the run, and the retry does not wait for the lease."""
    entered = []

    # On a slow machine the limit may end an attempt before the block, too
    @stem.task("order", queue="q", max_retries=20, retry=FAST, time_limit="300ms")
    def order(ctx: TaskContext) -> None:
        with ctx.once("charge", lease="1h") as first:
            if first:
                entered.append(ctx.attempt)
                while len(entered) == 1:
                    time.sleep(0.005)

    async with stem, stem.worker().running():
        await (await order.enqueue()).result(timeout=60)
    assert len(entered) > 1
    assert entered == sorted(set(entered)), "once in each attempt"


async def test_an_outage_at_the_end_of_a_block_does_not_repeat_it(stem, monkeypatch):
    """The guard is stored when the backend is available again."""
    charges, failures = [], []

    @stem.task("order", queue="q", max_retries=0)
    async def order(ctx: TaskContext) -> int:
        async with ctx.once("charge") as first:
            if first:
                charges.append(1)
        return len(charges)

    async with stem, stem.worker().running():
        backend = type(stem.connected.backend)
        keep = backend.keep_key

        async def fail_twice(self, key, owner, **values):
            if len(failures) < 2:
                failures.append(key)
                raise BackendUnavailableError("away")
            return await keep(self, key, owner, **values)

        monkeypatch.setattr(backend, "keep_key", fail_twice)
        assert await (await order.enqueue()).result(timeout=60) == 1
    assert (len(charges), len(failures)) == (1, 2)


async def test_a_lease_that_ran_out_in_an_outage_is_taken_again_or_reported(
    stem, monkeypatch, caplog
):
    """The block counts as done unless another owner took the guard; then the log reports it."""

    @stem.task("order", queue="q", max_retries=0)
    async def order(ctx: TaskContext, *, intruder: bool) -> None:
        async with ctx.once("charge") as first:
            assert first
            backend = stem.connected.backend
            key = f"once:{ctx.id}:charge"
            owner = (await backend.claim_key(key, "look", ttl=1)).owner
            await backend.release_key(key, owner)
            if intruder:
                await backend.claim_key(key, "other", ttl=60)

    async with stem, stem.worker().running():
        quiet = await order.enqueue(intruder=False)
        await quiet.result(timeout=60)
        assert "may run twice" not in caplog.text
        claim = await stem.connected.backend.claim_key(f"once:{quiet.id}:charge", "x", ttl=1)
        assert claim.value == b"null"
        await (await order.enqueue(intruder=True)).result(timeout=60)
        await eventually(lambda: "may run twice" in caplog.text, "an error in the log")


async def test_mistakes_are_named(stem):
    """Invalid names, leases, nested blocks and values each have their own error."""

    @stem.task("order", queue="q", max_retries=0)
    async def order(ctx: TaskContext, mistake: str) -> None:
        if mistake == "name":
            ctx.once("")
        if mistake == "lease":
            ctx.once("x", lease=0)
        if mistake == "value":

            async def odd() -> object:
                return object()

            await ctx.once("x").run(odd)
        async with ctx.once("x"), ctx.once("x"):
            pass

    async with stem, stem.worker().running():
        for mistake, text in (
            ("name", "1 to 200 characters"),
            ("lease", "longer than 0"),
            ("value", "cannot store"),
            ("nested", "already in once"),
        ):
            with pytest.raises(TaskFailedError, match=text):
                await (await order.enqueue(mistake)).result(timeout=60)


async def test_the_default_backend_names_those_that_can(make_stem):
    """The run fails before its block, since the backend cannot store the guard."""
    stem, charges = make_stem(), []

    @stem.task("order", queue="q", max_retries=0)
    async def order(ctx: TaskContext) -> None:
        async with ctx.once("charge"):
            charges.append(1)

    async with stem, stem.worker().running():
        with pytest.raises(TaskFailedError, match="STEM_BACKEND_URL"):
            await (await order.enqueue()).result(timeout=60)
    assert charges == []


async def test_a_plain_call_has_no_guard(stem):
    """There is no worker whose backend could store the guard."""

    @stem.task("order", queue="q")
    async def order(ctx: TaskContext) -> None:
        ctx.once("charge")

    with pytest.raises(StemError, match="does not belong to a worker"):
        await order()
