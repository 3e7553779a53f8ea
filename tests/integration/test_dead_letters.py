"""Test dead letters on every broker: listing removes none, a replay loses and doubles none."""

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
from stem_amqp.dead_letter import ALL, DeadLetters, Selection, replay, replay_composition
from stem_amqp.durations import Rate
from stem_amqp.errors import (
    ConfigurationError,
    DeadLetterNotFoundError,
    PublishRefusedError,
    TopologyMissingError,
)
from stem_amqp.messages.links import Links
from stem_amqp.messages.message import TaskMessage
from stem_amqp.settings import Settings
from stem_amqp.transport.publication import Publication

QUEUE = "work"


@pytest.fixture
def app(stem):
    """Return an application with a task on the queue, not connected."""

    @stem.task("work", queue=QUEUE)
    async def work(number: int = 0) -> int:
        return number

    return stem


def ids(letters):
    """Return the ids of dead letters, in their order."""
    return [letter.id for letter in letters]


async def dead_letter(
    stem,
    task_id,
    *,
    task="work",
    reason="retries-exhausted",
    age=0.0,
    body=None,
    queue=QUEUE,
    links=None,
):
    """Publish one dead letter to the dead-letter queue like a worker, and return its body."""
    message = TaskMessage(
        id=task_id, task=task, args={"number": 1}, meta={"ü": task_id}, links=links
    )
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
            routing_key=queue,
            body=body,
            type=task,
            correlation_id=task_id,
            headers=headers,
        )
    )
    return body


async def dead_letter_many(stem, count, **values):
    """Publish dead letters to the dead-letter queue, and return their ids."""
    numbers = [f"id-{number:03d}" for number in range(count)]
    for number in numbers:
        await dead_letter(stem, number, **values)
    await there_are(stem, count)
    return numbers


async def there_are(stem, count):
    """Wait until a number of dead letters is ready."""

    async def as_many():
        return await DeadLetters(stem, QUEUE).count() == count

    await eventually(as_many, f"{count} dead letters")


async def in_work_queue(stem):
    """Return the ready deliveries of the work queue, which stay there."""
    async with stem.connected.transport.browse(stem.names.work(QUEUE)) as deliveries:
        return [delivery async for delivery in deliveries]


async def test_sixty_listings_lose_nothing_and_change_no_order(app):
    """Every dead letter keeps its position, however often the queue is browsed."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        expected = await dead_letter_many(app, 12)
        for number in range(60):
            assert ids(await letters.list(limit=5)) == expected[:5], number
            assert (await letters.show("id-007")).id == "id-007", number
            assert ids(await letters.list(limit=1 + number % 12)) == expected[: 1 + number % 12]
        assert ids(await letters.list(limit=None)) == expected
        assert ids(await letters.list(limit=3)) == expected[:3]
        assert ids(await letters.list(limit=None)) == expected
        assert await letters.count() == 12
        assert [one.position for one in await letters.list()] == list(range(1, 13))


async def test_a_replay_finds_letters_that_another_browser_has_just_returned(app):
    """RabbitMQ counts returned letters late, such as those that a metrics exporter has looked at."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        expected = await dead_letter_many(app, 3)
        for number in range(40):
            async with app.connected.transport.browse(app.names.dlq(QUEUE)) as deliveries:
                assert len([delivery async for delivery in deliveries]) == 3
            report = await letters.replay(ALL, dry_run=True)
            assert (report.matched, report.interrupted) == (3, None), number
        assert ids(await letters.list()) == expected


async def test_a_list_is_chosen_and_limited(app):
    """The limit counts the selected dead letters."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        await dead_letter_many(app, 3)
        for number in range(3):
            await dead_letter(app, f"other-{number}", task="other.task", reason="expired")
        await there_are(app, 6)
        chosen = Selection(tasks="other.*")
        assert ids(await letters.list(chosen)) == ["other-0", "other-1", "other-2"]
        assert ids(await letters.list(chosen, limit=2)) == ["other-0", "other-1"]
        assert ids(await letters.list(Selection(reasons=frozenset({"not-retryable"})))) == []
        with pytest.raises(ConfigurationError, match="limit"):
            await letters.list(limit=0)


async def test_a_missing_dead_letter_is_named(app):
    """The error names the id of a missing dead letter."""
    async with app:
        with pytest.raises(DeadLetterNotFoundError, match="id-404"):
            await DeadLetters(app, QUEUE).show("id-404")


async def test_a_queue_that_does_not_exist_is_an_error_with_the_right_name(app):
    """A mistake in the queue's name is an error, and not an empty list."""
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
    """If no queue exists there, the error names the namespace and the virtual host."""
    stem = make_stem(backend_url="memory://", settings=Settings.load(provision="none"))
    async with stem:
        with pytest.raises(TopologyMissingError, match=r"namespace \(t-\w+\)(.|\n)*: default"):
            await DeadLetters(stem, "orders").count()


async def test_a_replay_publishes_the_same_bytes_in_order(app):
    """Every dead letter is enqueued with attempt 0, one more replay, and the producer's body."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        bodies = [await dead_letter(app, f"id-{number}") for number in range(8)]
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
    """Dead letters are selected by id, by task, by reason and by age."""
    async with app:
        await dead_letter(app, "a")
        await dead_letter(app, "b", task="orders.sync")
        await dead_letter(app, "c", reason="expired")
        await dead_letter(app, "d", task="orders.sync", age=7200)
        await dead_letter(app, "e", reason="expired", age=7200)
        await there_are(app, 5)
        letters = DeadLetters(app, QUEUE)
        report = await letters.replay(selection)
        assert report.replayed == report.matched == len(chosen)
        assert [one.correlation_id for one in await in_work_queue(app)] == list(chosen)
        assert ids(await letters.list()) == [name for name in "abcde" if name not in chosen]


async def test_a_dry_run_counts_and_does_nothing(app):
    """A dry run counts the selected dead letters, and leaves them in the queue."""
    async with app:
        letters, told = DeadLetters(app, QUEUE), []
        expected = await dead_letter_many(app, 4)
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
        expected = await dead_letter_many(app, 7)
        begun = time.monotonic()
        report = await letters.replay(ALL, limit=4, rate=Rate(count=10, period=1.0))
        assert time.monotonic() - begun >= 3 / 10
        assert report.replayed == 4
        assert ids(await letters.list()) == expected[4:]


async def test_what_cannot_be_published_stays_a_dead_letter(app, monkeypatch):
    """Each dead letter is in one of the two queues, and none in both."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        expected = await dead_letter_many(app, 10)
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
    """A replay does not try a thousand dead letters against a broker that refuses."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        expected = await dead_letter_many(app, 9)

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
        expected = await dead_letter_many(app, 10)
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
    """After SIGKILL each dead letter is in one of the queues, at most the last one in both."""
    async with app:
        expected = await dead_letter_many(app, 30)
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
async def test_a_replay_continues_after_a_lost_connection(app):
    """Requeued dead letters are browsed again; those already replayed are not replayed twice."""
    async with app:
        letters, seen = DeadLetters(app, QUEUE), []
        expected = await dead_letter_many(app, 8)
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
    """The next round only removes it from the dead-letter queue, since it was published before."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        expected = await dead_letter_many(app, 6)
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
async def test_a_long_replay_requeues_the_other_dead_letters_in_between(app, monkeypatch):
    """Unselected messages are requeued in time, since RabbitMQ limits how long one may be held."""
    monkeypatch.setattr(replay, "MAX_BROWSE_TIME", 0.0)
    async with app:
        letters = DeadLetters(app, QUEUE)
        for name in "abcdef":
            await dead_letter(app, name, task="work" if name in "ace" else "other")
        report = await letters.replay(Selection(tasks="work"))
        assert report.replayed <= 3
        monkeypatch.setattr(replay, "MAX_BROWSE_TIME", 600.0)
        rest = await letters.replay(Selection(tasks="work"))
        assert report.replayed + rest.replayed == 3
        assert ids(await letters.list()) == ["b", "d", "f"]


async def test_a_letter_that_fails_again_is_not_replayed_for_ever(stem):
    """Only the dead letters of the beginning are replayed, although each fails again at once."""

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
    """Its record goes from failed to queued, with one more replay, and then to succeeded."""
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
                await handle.result(timeout=60)
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
            assert await handle.result(timeout=60) == 7
        record = await stem.record(handle.id)
        assert (record.state, record.replay) == (TaskState.SUCCEEDED, 1)


async def test_a_body_that_cannot_be_read_is_replayed_only_by_its_id(app):
    """It would only fail again; naming its id replays it nevertheless."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        await dead_letter(app, "bad", body=b"\xff not a task", reason="undecodable")
        await dead_letter(app, "good")
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
    """Selected dead letters are dropped for good; the others keep their order."""
    async with app:
        letters = DeadLetters(app, QUEUE)
        await dead_letter_many(app, 4)
        await dead_letter(app, "x", reason="expired")
        await dead_letter(app, "y", body=b"\xff", reason="undecodable")
        await there_are(app, 6)
        assert await letters.purge(Selection(ids=frozenset({"id-001", "nobody"}))) == 1
        assert await letters.purge(Selection(reasons=frozenset({"expired", "undecodable"}))) == 2
        assert ids(await letters.list()) == ["id-000", "id-002", "id-003"]
        assert await letters.purge() == 3
        assert await letters.list() == []
        assert await in_work_queue(app) == []


async def test_a_message_that_the_broker_dead_lettered_has_a_reason_and_a_time(app):
    """This also holds after a delay, when the message has expired in a delay queue before."""
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


NESTED = [
    {"queue": {"a": [1]}, "reason": ["expired"], "time": "now", "count": {"n": 1}},
    {"queue": ["t.work"], "reason": {"b": 2}},
    "text",
    7,
]


async def test_a_letter_with_an_odd_record_of_its_deaths_hides_no_other(app):
    """Another program may have published it: it is listed, replayed and purged like others."""
    async with app:
        for number in range(3):
            await dead_letter(app, f"id-{number}")
        message = TaskMessage(id="odd", task="work", args={"number": 1})
        for _ in range(2):
            await app.connected.transport.publish(
                Publication(
                    exchange=app.names.dead,
                    routing_key=QUEUE,
                    body=message.encode(),
                    type="work",
                    headers={"x-death": NESTED, "stem-history": {"a": 1}, "stem-attempt": "many"},
                )
            )
        letters = DeadLetters(app, QUEUE)
        found = await letters.list()
        assert sorted(set(ids(found))) == ["id-0", "id-1", "id-2", "odd"]
        report = await letters.replay(Selection(ids=frozenset({"odd"})), limit=1)
        assert report.replayed == 1
        assert await letters.purge(Selection(ids=frozenset({"odd", "id-1"}))) == 2
        assert sorted(ids(await letters.list())) == ["id-0", "id-2"]


async def test_a_duplicate_dead_letter_is_replayed_once(app):
    """A worker that gets no confirm in time publishes a dead letter twice."""
    async with app:
        for _ in range(2):
            await dead_letter(app, "twice", age=60.0)
        letters = DeadLetters(app, QUEUE)
        found = await letters.list()
        moment = found[0].headers["stem-failed-at"]
        await letters.purge()
        for _ in range(2):
            await app.connected.transport.publish(
                Publication(
                    exchange=app.names.dead,
                    routing_key=QUEUE,
                    body=found[0].body,
                    headers={**found[0].headers, "stem-failed-at": moment},
                )
            )
        report = await letters.replay(ALL)
        assert report.replayed == 1
        assert await letters.count() == 0
        work = app.names.work(QUEUE)
        await eventually(lambda: has_ready(app, work, 1), "the replayed task")


async def has_ready(app, name, number):
    """Return whether a number of messages is ready in a queue."""
    return (await app.connected.transport.status([name]))[name].ready == number


async def test_the_dead_letters_of_a_composition_are_replayed_from_all_queues(app):
    """Those of other compositions, and of tasks in none, stay dead letters."""

    @app.task("other", queue="others")
    async def other(number: int = 0) -> int:
        return number

    own, foreign = Links(composition="c1"), Links(composition="c2")
    async with app:
        await dead_letter(app, "c1.0.3", links=own)
        await dead_letter(app, "c2.0.3", links=foreign)
        await dead_letter(app, "c1", queue="others", task="other")
        await dead_letter(app, "c1.1", queue="others", task="other", links=own)
        await eventually(lambda: counts_are(app, 2, 2), "the dead letters")
        tried = await replay_composition(app, "c1.0.3", dry_run=True)
        assert (tried.composition, tried.matched, tried.replayed) == ("c1", 2, 0)
        assert set(tried.queues) == {QUEUE, "others"}
        done = await replay_composition(app, "c1")
        assert (done.matched, done.replayed, done.complete) == (2, 2, True)
        await eventually(lambda: counts_are(app, 1, 1), "the others")
        assert ids(await DeadLetters(app, QUEUE).list()) == ["c2.0.3"]
        nothing = await replay_composition(app, "c3")
        assert (nothing.matched, dict(nothing.queues), nothing.complete) == (0, {}, True)


async def counts_are(stem, first, second):
    """Return whether the two queues have so many dead letters."""
    found = [await DeadLetters(stem, queue).count() for queue in (QUEUE, "others")]
    return found == [first, second]
