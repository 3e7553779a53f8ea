"""What follows a failure and cannot be published is given up; groups and batches end all the same."""

import pytest
from support import eventually

from stem_amqp import BatchSummary, FailedMember, FailedTask, PublishError, Stem, TaskState, group
from stem_amqp.errors import PublishRefusedError
from stem_amqp.messages.message import new_id
from stem_amqp.worker.continuing import continuing


class Shop:
    """Tasks that fail, and callbacks."""

    def __init__(self, stem):
        self.stem, self.ended = stem, []

        @stem.task("fail", max_retries=0)
        async def fail() -> int:
            raise ValueError("no")

        @stem.task("note")
        async def note(failed: FailedTask) -> None: ...

        @stem.task("failure")
        async def failure(member: FailedMember) -> None:
            self.ended.append("failure")

        @stem.task("complete")
        async def complete(summary: BatchSummary) -> None:
            self.ended.append(("complete", summary["size"], summary["failed"]))

        @stem.task("total")
        async def total(numbers: list[int | FailedMember]) -> int:
            return len(numbers)

        self.fail, self.note, self.failure = fail, note, failure
        self.complete, self.total = complete, total


@pytest.fixture
def stem_app():
    url = f"memory://{new_id()}"
    return Stem(broker_url=url, backend_url=url)


@pytest.fixture
def shop(stem_app):
    return Shop(stem_app)


async def test_a_callback_that_is_refused_does_not_keep_a_batch_open(shop, stem_memory, caplog):
    """A member and its callback were refused: the callback ends as failed, and the others run."""
    batch = shop.stem.batch(on_failure=shop.failure.s(), on_complete=shop.complete.s())
    async with batch:
        stem_memory.broker.refuse_publishes(PublishRefusedError("full"), times=2)
        with pytest.raises(PublishError):
            await batch.add(shop.fail.s())
    await stem_memory.run_due()
    assert shop.ended == [("complete", 1, 1)]
    assert await batch.progress() == (1, 1, 1, True)
    record = await shop.stem.connected.backend.get(f"{batch.id}.0.on_failure.0")
    assert (record.state, record.reason) == (TaskState.FAILED, "link-failed")
    assert record.error == "it cannot be published: PublishRefusedError: full"
    assert f"on_failure of batch {batch.id} never runs" in caplog.text
    assert "count as running" not in caplog.text


async def test_the_last_member_that_fails_ends_its_batch(shop, caplog, monkeypatch):
    """In a worker, where the callback on failure has no queue."""
    monkeypatch.setattr(continuing, "UNROUTABLE_FOR", 0.0)
    lost = shop.failure.s().options(queue="nowhere")
    async with shop.stem:
        batch = shop.stem.batch(on_failure=lost, on_complete=shop.complete.s())
        await batch.open()
        await batch.add(shop.fail.s())
        await batch.seal()
        async with shop.stem.worker().running():
            await eventually(lambda: shop.ended, "the batch is complete")
        assert shop.ended == [("complete", 1, 1)]
        backend = shop.stem.connected.backend

        async def given_up():
            record = await backend.get(f"{batch.id}.0.on_failure.0")
            return record is not None and "there is no queue 'nowhere'" in (record.error or "")

        await eventually(given_up, "the callback has ended")
    assert f"on_failure of batch {batch.id} never runs" in caplog.text


async def test_a_member_whose_link_on_failure_is_lost_ends_its_group(shop, caplog, monkeypatch):
    """Its continuation runs, and the link ends as failed."""
    monkeypatch.setattr(continuing, "UNROUTABLE_FOR", 0.0)
    member = shop.fail.s().on_failure(shop.note.s().options(queue="nowhere"), shop.note.s())
    async with shop.stem:
        handle = await (group(member, policy="collect") | shop.total.s()).enqueue()
        async with shop.stem.worker().running():
            assert await handle.result(timeout="60s") == 1
            backend = shop.stem.connected.backend
            lost = await backend.wait(f"{handle.id}.0.0.err0", 60)
            done = await backend.wait(f"{handle.id}.0.0.err1", 60)
    assert (lost.state, lost.reason) == (TaskState.FAILED, "link-failed")
    assert "it cannot be published: UnroutableError" in lost.error
    assert done.state is TaskState.SUCCEEDED
    assert "what follows it in its composition cannot be published" in caplog.text
