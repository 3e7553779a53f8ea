"""Batches: members are added while others run, and callbacks run once when they have ended."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from support import eventually

from stem_amqp import (
    ArgumentsError,
    BatchSummary,
    ConfigurationError,
    FailedMember,
    PublishError,
    Stem,
    TaskContext,
    TaskState,
    group,
)
from stem_amqp.composition.batch.reading import BatchProgress
from stem_amqp.errors import (
    BackendUnavailableError,
    PublishRefusedError,
    ResultUnavailableError,
)


class Shop:
    """Tasks of a batch, and what its callbacks got."""

    def __init__(self, stem):
        self.stem = stem
        self.ended = []
        self.broken = {3}

        @stem.task("square", max_retries=0)
        async def square(number: int) -> int:
            if number in self.broken:
                raise ValueError(f"no {number}")
            return number * number

        @stem.task("spread", retry={"base": "1s", "jitter": 0}, max_retries=2)
        async def spread(ctx: TaskContext, batch: str, numbers: list[int]) -> None:
            opened = stem.batch(id=batch)
            for number in numbers if ctx.attempt else numbers[::-1]:
                await opened.add(square.s(number))
            if not ctx.attempt:
                raise ConnectionError("after the members are added")

        @stem.task("complete")
        async def complete(summary: BatchSummary) -> None:
            self.ended.append(("complete", summary["size"], summary["failed"]))

        @stem.task("success")
        async def success(summary: BatchSummary) -> None:
            self.ended.append(("success", summary["size"]))

        @stem.task("failure")
        async def failure(member: FailedMember) -> None:
            self.ended.append(("failure", member["index"]))

        @stem.task("total")
        async def total(numbers: list[int]) -> int:
            return sum(numbers)

        self.square, self.spread, self.total = square, spread, total
        self.callbacks = {
            "on_complete": complete.s(),
            "on_success": success.s(),
            "on_failure": failure.s(),
        }

    def batch(self, **options):
        """Return a batch with all callbacks."""
        return self.stem.batch(**self.callbacks, **options)


@pytest.fixture
def stem_app():
    return Stem(broker_url="amqp://nobody@nowhere.invalid/")


@pytest.fixture
def shop(stem_app):
    return Shop(stem_app)


async def test_callbacks_run_once_when_all_members_have_ended(shop, stem_memory):
    """Not before the end of the block, although all members so far have ended."""
    async with shop.batch() as batch:
        first = await batch.add(shop.square.s(1))
        await stem_memory.run_due()
        assert await batch.progress() == (1, 0, 1, False)
        await batch.add_many(shop.square.s(number) for number in (4, 5))
        await stem_memory.run_due()
        assert shop.ended == []
    await stem_memory.run_due()
    assert sorted(shop.ended) == [("complete", 3, 0), ("success", 3)]
    assert await first.result() == 1
    assert [one async for one in batch.results()] == [1, 16, 25]
    await batch.seal()  # again, as after a crash of the process that has sealed it
    await stem_memory.run_due()
    assert len(shop.ended) == 2


async def test_the_first_failure_is_reported_at_once_and_mended_by_a_replay(shop, stem_memory):
    """The success comes when the last dead letter of the batch has succeeded."""
    async with shop.batch() as batch:
        await batch.add_many(shop.square.s(number) for number in (3, 3, 2))
        await stem_memory.run_due()
        assert [event for event, _ in shop.ended] == ["failure"]
    await stem_memory.run_due()
    assert shop.ended[1:] == [("complete", 3, 2)]
    failed = [one async for one in batch.results(failed=True)]
    assert [one["index"] for one in failed] == [1, 2]
    shop.broken.clear()
    assert await batch.retry_failed() == 2
    await stem_memory.run_due()
    assert shop.ended[2:] == [("success", 3)]
    assert [one async for one in batch.results(failed=False)] == [9, 9, 4]


async def test_members_add_members_and_their_retries_add_nothing(shop, stem_memory):
    """Whatever the order in which the next run adds them; equal members count each."""
    async with shop.batch() as batch:
        await batch.add(shop.spread.s(batch.id, [5, 6, 6]))
        await stem_memory.advance("10s")
        assert str(await batch.progress()) == "4 of 4"
    await stem_memory.run_due()
    assert sorted([one async for one in batch.results() if one is not None]) == [25, 36, 36]
    ran = [one for one in stem_memory.outcomes(shop.square) if not one.repeated]
    assert len(ran) == 3
    assert sorted(shop.ended) == [("complete", 4, 0), ("success", 4)]


async def test_members_may_add_members_after_the_block(shop, stem_memory):
    """The batch ends when nobody is left who could."""
    async with shop.batch() as batch:
        await batch.add(shop.spread.s(batch.id, [5, 6]))
    assert await batch.progress() == (0, 0, 1, True)
    await stem_memory.advance("10s")
    assert await batch.progress() == (3, 0, 3, True)
    assert sorted(shop.ended) == [("complete", 3, 0), ("success", 3)]


async def test_a_chain_is_one_member(shop, stem_memory):
    """Its end is the end of the member."""
    async with shop.batch() as batch:
        handle = await batch.add(shop.square.s(2) | shop.square.s())
    await stem_memory.run_due()
    assert await handle.result() == 16
    assert await batch.progress() == (1, 0, 1, True)


async def test_a_batch_without_members_is_complete_when_it_is_sealed(shop, stem_memory):
    """There is nothing that could fail."""
    async with shop.batch():
        pass
    await stem_memory.run_due()
    assert sorted(shop.ended) == [("complete", 0, 0), ("success", 0)]


async def test_a_block_that_fails_leaves_the_batch_open(shop, stem_memory):
    """A block with the same id goes on with it."""
    batch = shop.batch(id="import-7")

    async def read_file():
        async with batch:
            await batch.add(shop.square.s(1))
            raise KeyError("the file ends early")

    with pytest.raises(KeyError):
        await read_file()
    await stem_memory.run_due()
    assert (await batch.progress(), shop.ended) == ((1, 0, 1, False), [])
    async with shop.batch(id="import-7") as again:
        await again.add(shop.square.s(2))
    await stem_memory.run_due()
    assert sorted(shop.ended) == [("complete", 2, 0), ("success", 2)]


async def test_a_member_that_the_broker_refuses_counts_as_failed(shop, stem_memory):
    """Otherwise the batch would wait for it for ever."""
    async with shop.batch() as batch:
        stem_memory.broker.refuse_publishes(PublishRefusedError("full"), times=1)
        with pytest.raises(PublishError):
            await batch.add(shop.square.s(1))
    await stem_memory.run_due()
    assert sorted(shop.ended) == [("complete", 1, 1), ("failure", 1)]
    (failed,) = [one async for one in batch.results()]
    assert failed["error"].startswith("not enqueued: PublishRefusedError")


@pytest.mark.parametrize("times", [1, None])
async def test_a_member_that_begins_with_a_group_counts_as_failed_too(shop, stem_memory, times):
    """Whether one call of the group or each of them was refused; it is one member."""
    member = group(shop.square.s(1), shop.square.s(2)) | shop.total.s()
    async with shop.batch() as batch:
        stem_memory.broker.refuse_publishes(PublishRefusedError("full"), times=times)
        with pytest.raises(PublishError):
            await batch.add(member)
        stem_memory.broker.accept_publishes()
    await stem_memory.run_due()
    assert await batch.progress() == (1, 1, 1, True)
    # the failure follows while the broker refuses everything: it is lost, and the batch ends
    assert ("complete", 1, 1) in shop.ended


async def test_a_member_whose_group_is_not_created_counts_as_failed(shop, stem_memory, monkeypatch):
    """There is no group that could end."""
    backend = shop.stem.connected.backend
    create = backend.create_group

    async def fail_inside(group_id, *args, **options):
        if ".0.1" in group_id:
            raise BackendUnavailableError("gone")
        await create(group_id, *args, **options)

    member = group(shop.square.s(1), shop.square.s(2)) | shop.total.s()
    async with shop.batch() as batch:
        with monkeypatch.context() as patched:
            patched.setattr(backend, "create_group", fail_inside)
            with pytest.raises(BackendUnavailableError):
                await batch.add(member)
    await stem_memory.run_due()
    assert await batch.progress() == (1, 1, 1, True)
    assert sorted(shop.ended) == [("complete", 1, 1), ("failure", 1)]


async def test_a_member_whose_addition_is_cancelled_has_not_failed(shop, stem_memory):
    """Its message is on its way, so that it runs."""
    async with shop.batch() as batch:
        stem_memory.broker.pause()
        adding = asyncio.create_task(batch.add_many([shop.square.s(1), shop.square.s(2)]))

        async def on_its_way():
            return (await batch.progress()).size == 2

        await eventually(on_its_way, "the members are counted")
        await asyncio.sleep(0)  # they are published without a further wait
        adding.cancel()
        stem_memory.broker.resume()
        with pytest.raises(asyncio.CancelledError):
            await adding
        assert (await batch.progress()).failed == 0
    await stem_memory.run_due()
    assert await batch.progress() == (2, 0, 2, True)
    assert sorted(shop.ended) == [("complete", 2, 0), ("success", 2)]


async def test_a_member_with_a_point_in_time_is_added_once(shop, stem_memory):
    """Also by a retry, for which the time is nearer."""

    @shop.stem.task("later", retry={"base": "1s", "jitter": 0}, max_retries=2)
    async def later(ctx: TaskContext, batch: str, at: datetime) -> None:
        await shop.stem.batch(id=batch).add(shop.square.s(2).options(eta=at))
        if not ctx.attempt:
            raise ConnectionError("after the member is added")

    at = datetime.now(UTC) + timedelta(minutes=1)
    async with shop.batch() as batch:
        await batch.add(later.s(batch.id, at))
        await stem_memory.advance("2m")
    assert await batch.progress() == (2, 0, 2, True)


async def test_a_cancelled_batch_runs_no_more_members(shop, stem_memory):
    """Also none that is added later, and no callback."""
    async with shop.batch() as batch:
        await batch.add(shop.square.s(1))
        await batch.cancel(reason="wrong file")
        await batch.add(shop.square.s(2))
    outcomes = await stem_memory.run_due()
    assert {one.state for one in outcomes} == {TaskState.REVOKED}
    assert shop.ended == []
    assert await batch.progress() == (2, 2, 2, True)


async def test_a_sync_task_uses_a_blocking_batch(shop, stem_memory):
    """With the same members, callbacks and results."""
    seen = []

    @shop.stem.task("blocking")
    def blocking(numbers: list[int]) -> None:
        with shop.stem.blocking_producer.batch(**shop.callbacks) as batch:
            handle = batch.add(shop.square.s(numbers[0]))
            batch.add_many(shop.square.s(number) for number in numbers[1:])
            seen.append((batch.id, handle.id, batch.progress().size))

    @shop.stem.task("mend")
    def mend(batch: str) -> None:
        shop.broken.clear()
        opened = shop.stem.blocking_producer.batch(id=batch)
        seen.append((opened.retry_failed(), opened.tree().id))

    await blocking.enqueue([3, 4, 5])
    await stem_memory.run_due()
    ((batch, member, size),) = seen
    assert (member, size) == (f"{batch}.0.1", 3)
    assert sorted(shop.ended) == [("complete", 3, 1), ("failure", 1)]
    found = [one async for one in shop.stem.batch(id=batch).results()]
    assert (found[0]["state"], found[1:]) == ("failed", [16, 25])
    await mend.enqueue(batch)
    await stem_memory.run_due()
    assert seen[1:] == [(1, batch)]
    assert ("success", 3) in shop.ended


async def test_wrong_use_of_a_batch_is_refused(shop, stem_memory):
    """With the remedy."""
    async with shop.batch() as batch:
        with pytest.raises(ConfigurationError, match="all its arguments"):
            await batch.add(shop.square.s())
        with pytest.raises(ConfigurationError, match="ends with a link"):
            await batch.add(group(shop.square.s(1)))
        with pytest.raises(ConfigurationError, match=r"square\.s\("):
            await batch.add(shop.square)
        assert (await batch.progress()).size == 0
    with pytest.raises(ConfigurationError, match="it is sealed"):
        await batch.add(shop.square.s(1))
    unknown = shop.stem.batch(id="unknown")
    with pytest.raises(ResultUnavailableError, match="there is no group"):
        await unknown.add(shop.square.s(1))
    with pytest.raises(ResultUnavailableError, match="there is no batch unknown"):
        await unknown.progress()
    with pytest.raises(ConfigurationError, match="on_complete begins with a link"):
        shop.stem.batch(on_complete=group(shop.square.s(1)))
    with pytest.raises(
        ArgumentsError, match="what on_complete passes, a BatchSummary, as 'number'"
    ):
        shop.stem.batch(on_complete=shop.square.s())
    with pytest.raises(ArgumentsError, match="Annotate 'number' as FailedMember"):
        shop.stem.blocking_producer.batch(on_failure=shop.square.s())
    other = Stem(broker_url="memory://").link("elsewhere", {"a": 1})
    with pytest.raises(ConfigurationError, match="belong to several"):
        shop.stem.batch(on_success=other)
    with pytest.raises(ConfigurationError, match="belong to several"):
        await batch.add(other)
    with pytest.raises(ConfigurationError, match=r"no '\.'"):
        shop.stem.batch(id="a.b")
    with pytest.raises(ConfigurationError, match="ttl must be longer than 0"):
        shop.stem.batch(ttl=0)


def test_progress_is_readable():
    """As text it needs no formatting."""
    assert str(BatchProgress(37_412, 3, 100_000, True)) == "37,412 of 100,000"
