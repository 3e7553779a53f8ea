"""Dead letters on every broker: looking takes nothing, a replay loses and doubles nothing."""

import asyncio
import signal
import sys
import textwrap
import time
from datetime import UTC, datetime

import pytest
from support import eventually

from stem_amqp import TaskFailedError, TaskState
from stem_amqp.clock import timestamp
from stem_amqp.dead_letter import ALL, DeadLetters, Selection, replay
from stem_amqp.durations import Rate
from stem_amqp.errors import (
    ConfigurationError,
    DeadLetterNotFoundError,
    PublishRefusedError,
    TopologyMissingError,
)
from stem_amqp.message import TaskMessage
from stem_amqp.settings import Settings
from stem_amqp.transport.base import Publication

QUEUE = "work"


@pytest.fixture
def app(stem):
    """An application with a task on the queue, not connected."""

    @stem.task("work", queue=QUEUE)
    async def work(number: int = 0) -> int:
        return number

    return stem


def ids(letters):
    """Return the ids of letters, in their order."""
    return [letter.id for letter in letters]


async def bury(stem, task_id, *, task="work", reason="retries-exhausted", age=0.0, body=None):
    """Put one letter into the dead-letter queue as a worker does, and return its body."""
    message = TaskMessage(id=task_id, task=task, args={"number": 1}, meta={"ü": task_id})
    body = message.encode() if body is None else body
    headers = {
        "stem-attempt": 3,
        "stem-reason": reason,
        "stem-error": "ValueError: no",
        "stem-failed-at": timestamp(time.time() - age),
        "stem-worker": "host:1:abc",
        "stem-history": ["once"],
        "mine": "kept",
    }
    await stem.connected.transport.publish(
        Publication(
            exchange=stem.names.dead,
            routing_key=QUEUE,
            body=body,
            type=task,
            correlation_id=task_id,
            headers=headers,
        )
    )
    return body


async def bury_many(stem, count, **values):
    """Put letters into the dead-letter queue, and return their ids."""
    numbers = [f"id-{number:03d}" for number in range(count)]
    for number in numbers:
        await bury(stem, number, **values)
    await there_are(stem, count)
    return numbers


async def there_are(stem, count):
    """Wait until so many letters are ready."""

    async def as_many():
        return await DeadLetters(stem, QUEUE).count() == count

    await eventually(as_many, f"{count} dead letters")


async def in_work_queue(stem):
    """Return the deliveries that wait in the work queue, which stay there."""
    async with stem.connected.transport.browse(stem.names.work(QUEUE)) as deliveries:
        return [delivery async for delivery in deliveries]


async def test_sixty_listings_lose_nothing_and_change_no_order(app):
    """Looking returns every letter to its place, however often it is done."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        expected = await bury_many(app, 12)
        for number in range(60):
            assert ids(await letters.list(limit=5)) == expected[:5], number
            assert (await letters.show("id-007")).id == "id-007", number
        assert ids(await letters.list(limit=None)) == expected
        assert await letters.count() == 12
        assert [one.position for one in await letters.list()] == list(range(1, 13))


async def test_a_list_is_chosen_and_limited(app):
    """The selection chooses, and the limit counts what was chosen."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        await bury_many(app, 3)
        for number in range(3):
            await bury(app, f"other-{number}", task="other.task", reason="expired")
        await there_are(app, 6)
        chosen = Selection(tasks="other.*")
        assert ids(await letters.list(chosen)) == ["other-0", "other-1", "other-2"]
        assert ids(await letters.list(chosen, limit=2)) == ["other-0", "other-1"]
        assert ids(await letters.list(Selection(reasons=frozenset({"not-retryable"})))) == []
        with pytest.raises(ConfigurationError, match="limit"):
            await letters.list(limit=0)


async def test_a_letter_that_is_not_there_is_named(app):
    """Asking for one that is gone says so."""
    async with app:
        with pytest.raises(DeadLetterNotFoundError, match="id-404"):
            await DeadLetters(app, QUEUE).show("id-404")


async def test_a_queue_that_is_not_there_is_an_error_with_the_right_name(app):
    """A typing mistake in the queue's name must not look like a queue without dead letters."""
    async with app:
        letters = DeadLetters(app, "wrok")
        for action in (
            letters.count,
            letters.list,
            letters.purge,
            lambda: letters.replay(ALL),
            lambda: letters.show("x"),
        ):
            with pytest.raises(TopologyMissingError, match=r"wrok(.|\n)*mean the queue 'work'"):
                await action()


async def test_a_queue_in_an_empty_namespace_is_an_error_that_says_where_it_looked(make_stem):
    """Without any queue there, it is the namespace or the virtual host that is wrong."""
    stem = make_stem(backend_url="memory://", settings=Settings.load(provision="none"))
    async with stem:
        with pytest.raises(TopologyMissingError, match=r"namespace \(t-\w+\)(.|\n)*: default"):
            await DeadLetters(stem, "orders").count()


async def test_a_replay_puts_the_same_bytes_back_in_order(app):
    """Every letter is a task again: attempt 0, one more replay, the body as the producer wrote it."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        bodies = [await bury(app, f"id-{number}") for number in range(8)]
        await there_are(app, 8)
        told = []
        report = await letters.replay(ALL, on_each=lambda one, error: told.append((one.id, error)))
        assert (report.matched, report.replayed, report.failed, report.skipped) == (8, 8, 0, 0)
        assert report.complete
        assert told == [(f"id-{number}", None) for number in range(8)]
        back = await in_work_queue(app)
        assert [delivery.body for delivery in back] == bodies
        for delivery in back:
            assert delivery.headers["stem-replays"] == 1
            assert delivery.headers["mine"] == "kept"
            gone = ("stem-attempt", "stem-reason", "stem-error", "stem-history", "stem-worker")
            assert not set(gone) & set(delivery.headers)
            assert not [name for name in delivery.headers if name.startswith("x-death")]
        assert await letters.count() == 0


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        (Selection(ids=frozenset({"b", "e"})), "be"),
        (Selection(tasks="orders.*"), "bd"),
        (Selection(reasons=frozenset({"expired"})), "ce"),
        (Selection(older_than=3600), "de"),
        (Selection(newer_than=3600), "abc"),
        (Selection(tasks="work", older_than=3600), "e"),
    ],
    ids=["ids", "task", "reason", "older", "newer", "both"],
)
async def test_a_replay_takes_what_is_chosen_and_leaves_the_rest_in_order(app, selection, chosen):
    """By id, by task, by reason and by age."""
    async with app:
        await bury(app, "a")
        await bury(app, "b", task="orders.sync")
        await bury(app, "c", reason="expired")
        await bury(app, "d", task="orders.sync", age=7200)
        await bury(app, "e", reason="expired", age=7200)
        await there_are(app, 5)
        letters = DeadLetters(app, QUEUE)
        report = await letters.replay(selection)
        assert report.replayed == report.matched == len(chosen)
        assert [one.correlation_id for one in await in_work_queue(app)] == list(chosen)
        assert ids(await letters.list()) == [name for name in "abcde" if name not in chosen]


async def test_a_dry_run_counts_and_does_nothing(app):
    """What would be replayed is told, and stays."""
    async with app:
        letters, told = DeadLetters(app, QUEUE), []
        expected = await bury_many(app, 4)
        report = await letters.replay(
            ALL, dry_run=True, limit=3, on_each=lambda letter, _: told.append(letter.id)
        )
        assert (report.matched, report.replayed, report.dry_run) == (3, 0, True)
        assert told == expected[:3]
        assert ids(await letters.list()) == expected
        assert await in_work_queue(app) == []


async def test_a_replay_can_be_limited_and_slowed_down(app):
    """A limit takes the oldest; a rate spreads them, so that a fragile service is not flooded."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        expected = await bury_many(app, 7)
        begun = time.monotonic()
        report = await letters.replay(ALL, limit=4, rate=Rate(count=10, period=1.0))
        assert time.monotonic() - begun >= 3 / 10
        assert report.replayed == 4
        assert ids(await letters.list()) == expected[4:]


async def test_what_cannot_be_published_stays_a_dead_letter(app, monkeypatch):
    """Count in is count out: each letter is in one of the queues, none in both."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        expected = await bury_many(app, 10)
        transport = app.connected.transport
        real = transport.publish

        async def failing(publication):
            if publication.correlation_id in {"id-002", "id-003", "id-007"}:
                raise PublishRefusedError("the queue is full")
            await real(publication)

        monkeypatch.setattr(transport, "publish", failing)
        report = await letters.replay(ALL)
        assert (report.matched, report.replayed, report.failed) == (10, 7, 3)
        assert not report.complete
        assert report.errors[0] == "work id-002: the queue is full"
        left, back = ids(await letters.list()), await in_work_queue(app)
        assert left == ["id-002", "id-003", "id-007"]
        assert sorted([*left, *(one.correlation_id for one in back)]) == expected


async def test_a_replay_gives_up_when_nothing_can_be_published(app, monkeypatch):
    """A thousand letters are not tried one after the other against a broker that refuses."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        expected = await bury_many(app, 9)

        async def failing(_):
            raise PublishRefusedError("the queue is full")

        monkeypatch.setattr(app.connected.transport, "publish", failing)
        report = await letters.replay(ALL)
        assert (report.matched, report.replayed, report.failed) == (5, 0, 5)
        assert "gave up after 5" in report.interrupted
        assert ids(await letters.list()) == expected


async def test_a_cancelled_replay_leaves_each_letter_in_one_queue(app):
    """Ctrl-C between the confirm and the acknowledgement makes no duplicate."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        expected = await bury_many(app, 10)
        transport, real = app.connected.transport, app.connected.transport.publish
        calls = []

        async def publish(publication):
            await real(publication)
            calls.append(publication)
            if len(calls) == 4:
                running.cancel()
            await asyncio.sleep(0)

        transport.publish = publish
        running = asyncio.create_task(letters.replay(ALL))
        with pytest.raises(asyncio.CancelledError):
            await running
        await there_are(app, 6)
        left, back = ids(await letters.list()), await in_work_queue(app)
        assert [*(one.correlation_id for one in back), *left] == expected


REPLAY_IN_A_PROCESS = """
    import asyncio, sys
    from stem_amqp import Settings, Stem
    from stem_amqp.dead_letter import ALL, DeadLetters
    from stem_amqp.durations import Rate

    async def main():
        stem = Stem(
            broker_url=sys.argv[1],
            namespace=sys.argv[2],
            backend_url="memory://",
            settings=Settings.load(provision="none"),
        )
        async with stem:
            await DeadLetters(stem, "work").replay(
                ALL, rate=Rate(count=50, period=1.0), on_each=lambda *_: print(flush=True)
            )

    asyncio.run(main())
"""


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
async def test_a_replay_that_is_killed_loses_nothing(app, broker_url):
    """SIGKILL in the middle: each letter is in one of the queues, at most the last one in both."""
    async with app:
        expected = await bury_many(app, 30)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            textwrap.dedent(REPLAY_IN_A_PROCESS),
            broker_url,
            app.settings.namespace,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(10):
            assert await process.stdout.readline() == b"\n"
        process.send_signal(signal.SIGKILL)
        await process.wait()
        back = []

        async def all_there():
            back[:] = [one.correlation_id for one in await in_work_queue(app)]
            left = ids(await DeadLetters(app, QUEUE).list())
            return left if set(left) | set(back) == set(expected) else None

        left = await eventually(all_there, "every letter in one of the queues")
        assert len(back) >= 10
        assert len(back) + len(left) <= len(expected) + 1
        assert back == expected[: len(back)]
        assert left == expected[-len(left) :]


@pytest.mark.parametrize("broker_url", ["memory"], indirect=True)
async def test_a_replay_goes_on_after_a_lost_connection(app):
    """The letters that came back are looked through again; what was replayed is not repeated."""
    async with app:
        letters, seen = DeadLetters(app, QUEUE), []
        expected = await bury_many(app, 8)
        broker = app.connected.transport.broker

        def lose(letter, _):
            seen.append(letter.id)
            if len(seen) == 3:
                broker.drop_connections()

        report = await letters.replay(ALL, on_each=lose)
        assert (report.replayed, report.interrupted) == (8, None)
        assert [one.correlation_id for one in await in_work_queue(app)] == expected
        assert await letters.count() == 0


@pytest.mark.parametrize("broker_url", ["memory"], indirect=True)
async def test_a_letter_whose_acknowledgement_was_lost_is_not_replayed_twice(app):
    """It is a task again already: the next round only takes it out of the dead-letter queue."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        expected = await bury_many(app, 6)
        transport, real, calls = app.connected.transport, app.connected.transport.publish, []

        async def publish(publication):
            await real(publication)
            calls.append(publication)
            if len(calls) == 3:
                transport.broker.drop_connections()

        transport.publish = publish
        report = await letters.replay(ALL)
        assert (report.matched, report.replayed, report.interrupted) == (6, 6, None)
        assert [one.correlation_id for one in await in_work_queue(app)] == expected
        assert await letters.count() == 0


@pytest.mark.parametrize("broker_url", ["memory"], indirect=True)
async def test_a_long_replay_gives_the_other_letters_back_in_between(app, monkeypatch):
    """RabbitMQ closes a channel that holds a message for long; what is not meant goes back."""
    monkeypatch.setattr(replay, "LONGEST_LOOK", 0.0)
    async with app:
        letters = DeadLetters(app, QUEUE)
        for name in "abcdef":
            await bury(app, name, task="work" if name in "ace" else "other")
        report = await letters.replay(Selection(tasks="work"))
        assert report.replayed <= 3
        monkeypatch.setattr(replay, "LONGEST_LOOK", 600.0)
        rest = await letters.replay(Selection(tasks="work"))
        assert report.replayed + rest.replayed == 3
        assert ids(await letters.list()) == ["b", "d", "f"]


async def test_a_letter_that_fails_again_is_not_replayed_for_ever(stem):
    """Only the letters of the beginning are replayed, although each comes back at once."""

    @stem.task("work", queue=QUEUE, max_retries=0)
    async def work() -> None:
        raise ValueError("still broken")

    async with stem:
        letters = DeadLetters(stem, QUEUE)
        async with stem.worker([QUEUE]).running():
            for _ in range(5):
                await work.enqueue()
            await there_are(stem, 5)
            report = await letters.replay(ALL, rate=Rate(count=50, period=1.0))
            await there_are(stem, 5)
        assert report.replayed == 5
        assert [letter.replays for letter in await letters.list()] == [1] * 5


@pytest.mark.parametrize("backend", ["memory", "rpc"])
async def test_a_replayed_task_has_a_result_in_the_end(make_stem, backend):
    """Its record goes from failed to queued, one replay higher, and then to succeeded."""
    stem, broken = make_stem(backend_url=f"{backend}://"), True

    @stem.task("work", queue=QUEUE, max_retries=1, retry={"base": "100ms", "jitter": 0})
    async def work() -> int:
        if broken:
            raise ValueError("a bug")
        return 7

    async with stem:
        letters = DeadLetters(stem, QUEUE)
        handle = await work.options(meta={"order": 42}).enqueue()
        async with stem.worker([QUEUE]).running():
            with pytest.raises(TaskFailedError, match="retries-exhausted"):
                await handle.result(timeout=20)
        await there_are(stem, 1)
        letter = await letters.show(handle.id)
        assert (letter.attempt, letter.meta, letter.error) == (
            1,
            {"order": 42},
            "ValueError: a bug",
        )
        assert (datetime.now(UTC) - letter.failed_at).total_seconds() < 60
        await letters.replay(Selection(ids=frozenset({handle.id})))
        record = await stem.record(handle.id)
        assert (record.state, record.replay, record.attempt) == (TaskState.QUEUED, 1, 0)
        assert record.meta == {"order": 42}
        broken = False
        async with stem.worker([QUEUE]).running():
            assert await handle.result(timeout=20) == 7
        record = await stem.record(handle.id)
        assert (record.state, record.replay) == (TaskState.SUCCEEDED, 1)


async def test_a_body_that_cannot_be_read_is_replayed_only_by_its_id(app):
    """It would only fail again; who asks for it by name knows why."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        await bury(app, "bad", body=b"\xff not a task", reason="undecodable")
        await bury(app, "good")
        await there_are(app, 2)
        report = await letters.replay(ALL)
        assert (report.matched, report.replayed, report.skipped) == (2, 1, 1)
        (letter,) = await letters.list()
        assert (letter.id, letter.body) == ("bad", b"\xff not a task")
        report = await letters.replay(Selection(ids=frozenset({"bad"})))
        assert (report.matched, report.replayed, report.skipped) == (1, 1, 0)
        back = await in_work_queue(app)
        assert [one.body for one in back][1:] == [b"\xff not a task"]


async def test_a_purge_drops_all_or_what_is_chosen(app):
    """What is chosen is dropped for good; the rest stays in its order."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        await bury_many(app, 4)
        await bury(app, "x", reason="expired")
        await bury(app, "y", body=b"\xff", reason="undecodable")
        await there_are(app, 6)
        assert await letters.purge(Selection(ids=frozenset({"id-001", "nobody"}))) == 1
        assert await letters.purge(Selection(reasons=frozenset({"expired", "undecodable"}))) == 2
        assert ids(await letters.list()) == ["id-000", "id-002", "id-003"]
        assert await letters.purge() == 3
        assert await letters.list() == []
        assert await in_work_queue(app) == []


async def test_what_the_broker_dead_lettered_itself_tells_why_and_when(app):
    """Also after a delay, when the message has died in a delay queue before."""
    async with app:
        task = app.prepare("work", {"number": 5}, delay=0.2)
        handle = await app.enqueue_call(task)
        taken = []

        async def reject():
            async with app.connected.transport.browse(app.names.work(QUEUE)) as deliveries:
                async for delivery in deliveries:
                    await delivery.reject(requeue=False)
                    taken.append(delivery)
            return taken

        await eventually(reject, "the delayed message")
        await there_are(app, 1)
        (letter,) = await DeadLetters(app, QUEUE).list()
        assert letter.headers["x-first-death-reason"] == "expired"
        assert (letter.id, letter.reason, letter.error) == (handle.id, "rejected", None)
        assert letter.args == {"number": 5}
        assert abs((datetime.now(UTC) - letter.failed_at).total_seconds()) < 60
        report = await DeadLetters(app, QUEUE).replay(Selection(reasons=frozenset({"rejected"})))
        assert report.replayed == 1
        (back,) = await in_work_queue(app)
        assert back.body == letter.body
        assert not [name for name in back.headers if "death" in name]
