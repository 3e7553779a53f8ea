"""Test the options of a call: the same effect on every broker and in every way to enqueue."""

import uuid

import pytest

from stem_amqp import ConfigurationError, EnqueueManyError
from stem_amqp.errors import MessageTooLargeError

ODD = [
    {"task_id": uuid.uuid4()}, {"meta": [("a", 1)]}, {"headers": [("a", 1)]}, {"priority": "3"},
    {"delay": "soon"}, {"eta": "now"}, {"expires": True}, {"max_retries": 2.5}, {"queue": 3},
    {"ignore_result": "no"}, {"unique_key": 3},
]  # fmt: skip


@pytest.mark.parametrize("options", ODD, ids=lambda options: next(iter(options)))
async def test_an_odd_option_is_refused_before_anything_is_sent(stem, options):
    """The error is the same on both brokers, and nothing is sent."""

    @stem.task("note", queue="q")
    async def note(number: int) -> int:
        return number

    async with stem:
        ways = (
            lambda: note.options(**options).enqueue(1),
            lambda: stem.enqueue("note", {"number": 1}, **options),
            lambda: (
                stem.enqueue("elsewhere", {"number": 1}, queue="q", **options)
                if "queue" not in options
                else stem.enqueue("elsewhere", **options)
            ),
            lambda: stem.enqueue_many([note.options(**options).prepare(1)]),
        )
        for enqueue in ways:
            with pytest.raises(ConfigurationError):
                await enqueue()
        with pytest.raises(ConfigurationError):
            note.options(**options).enqueue_blocking(1)
        with pytest.raises(ConfigurationError):
            stem.blocking_producer.enqueue("note", {"number": 1}, **options)
        async with stem.worker().running():
            handle = await note.enqueue(7)
            assert await handle.result(timeout=60) == 7


async def test_an_id_of_ones_own_is_that_of_handle_and_record(stem):
    """The id can be any text up to its length in bytes."""

    @stem.task("note", queue="q")
    async def note() -> int:
        return 1

    async with stem, stem.worker().running():
        for task_id in ("order/42 é", "x" * 255):
            handle = await note.options(task_id=task_id).enqueue()
            assert handle.id == task_id
            assert await stem.handle(task_id).result(timeout=60) == 1


async def test_metadata_is_the_same_for_task_and_record(stem):
    """Both have the metadata in its JSON form, on every broker and backend."""

    @stem.task("note", queue="q")
    async def note() -> None: ...

    async with stem, stem.worker().running():
        handle = await note.options(meta={"pair": (1, 2), "id": uuid.UUID(int=1)}).enqueue()
        await handle.result(timeout=60)
        record = await handle.status()
    assert record.meta == {"pair": [1, 2], "id": "00000000-0000-0000-0000-000000000001"}


async def test_a_bulk_enqueue_has_the_handles_of_what_was_taken(stem):
    """The error has the handles by their positions, and they return results."""

    @stem.task("note", queue="q")
    async def note(text: str) -> int:
        return len(text)

    calls = [note.prepare("a"), note.prepare("b" * 3_000_000), note.prepare("ccc")]
    async with stem, stem.worker().running():
        with pytest.raises(EnqueueManyError) as caught:
            await stem.enqueue_many(calls)
        assert isinstance(caught.value.failed[1], MessageTooLargeError)
        results = {
            index: await handle.result(timeout=60) for index, handle in caught.value.done.items()
        }
    assert results == {0: 1, 2: 3}


async def test_what_cannot_be_read_ends_a_bulk_enqueue_with_its_own_error(stem):
    """Calls begun before are confirmed, and the error says how many."""

    @stem.task("note", queue="q")
    async def note(number: int) -> int:
        return number

    def failing():
        yield note.prepare(1)
        yield note.prepare(2)
        raise KeyError("no more rows")

    async with stem:
        with pytest.raises(KeyError, match="no more rows") as caught:
            await stem.enqueue_many(failing())
        assert caught.value.__notes__ == ["stem-amqp: 2 calls before that were enqueued"]
        coroutine = note.enqueue(3)
        with pytest.raises(ConfigurationError, match=r"task.prepare\(…\).*position 1"):
            await stem.enqueue_many([note.prepare(1), coroutine])
        coroutine.close()
