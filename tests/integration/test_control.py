"""``stem.control``: commands to workers, what they answer, and who does not."""

import asyncio
import base64
import logging
import time
import uuid

import orjson
import pytest
from support import PATIENCE, eventually

from stem_amqp.errors import ConfigurationError
from stem_amqp.messages.commands import COMMAND, COMMAND_BYTES, Ping
from stem_amqp.observability import Exporter
from stem_amqp.transport.publication import Publication


@pytest.fixture
def shop(stem):
    """Return an application with a task that waits, and what it counts."""
    stem.reconfigure(heartbeat_interval=PATIENCE)  # commands wait a second longer for answers
    stem.go = asyncio.Event()
    stem.counted = []

    @stem.task("orders.sync", queue="orders", rate_limit="100/s", time_limit="30s")
    async def sync(token: str = "") -> None:
        await stem.go.wait()

    @stem.task("emails.send", queue="emails")
    def send() -> None:
        """Do nothing."""

    class Counts(Exporter):
        def commanded(self, command, outcome):
            stem.counted.append((command, outcome))

    stem.add_exporter(Counts())
    return stem


def command(**changed):
    """Return the fields of a ping."""
    now = time.time()
    fields = {"nonce": "n" * 16, "issuer": "ann", "at": now, "deadline": now + PATIENCE}
    return {"command": "ping", **fields, **changed}


async def publish(stem, body):
    """Publish a body to the control exchange."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    await stem.connected.transport.publish(
        Publication(exchange=stem.names.control, routing_key="", body=raw, type=COMMAND)
    )


async def test_workers_answer_a_ping(shop):
    """All of them, those of a queue, or those with a name."""
    async with (
        shop,
        shop.worker(["orders"], name="web-1").running(),
        shop.worker(["emails"], name="mail-1").running(),
    ):
        everybody = await shop.control.ping(issuer="ann")
        assert [answer.worker for answer in everybody] == ["mail-1", "web-1"]
        assert everybody.complete
        assert everybody.issuer == "ann"
        assert everybody.values["web-1"].state == "running"
        assert everybody.answers[0].pid > 0

        assert set((await shop.control.ping(queues="orders")).values) == {"web-1"}
        assert set((await shop.control.ping(workers=["mail-*"])).values) == {"mail-1"}
        assert len(await shop.control.ping(queues="orders", workers="mail-1")) == 0
        assert shop.counted == [("ping", "done")] * 4


async def test_a_worker_that_rabbitmq_does_not_count_yet_is_waited_for(shop, monkeypatch):
    """RabbitMQ has routed the command, so that there is a worker, though nothing is known of it yet."""

    async def nobody(*_):
        return {}

    async def not_asked(_):
        pass

    monkeypatch.setattr("stem_amqp.control.gather.consumers_of", nobody)
    monkeypatch.setattr("stem_amqp.control.gather.Gathering.ask", not_asked)
    monkeypatch.setattr("stem_amqp.control.gather.SETTLE", 0.0)
    async with shop, shop.worker(["orders"], name="web-1").running():
        assert set((await shop.control.ping(timeout="60s")).values) == {"web-1"}


async def test_the_inside_of_a_worker(shop):
    """Tasks with their options, queues, settings without secrets, and what runs and waits."""
    async with shop, shop.worker(concurrency=1, prefetch=3, name="web-1").running() as worker:
        for token in ("s3cret", "s3cret"):
            await shop.enqueue("orders.sync", {"token": token})
        await eventually(lambda: len(worker._gauges.unsettled) == 2)
        await eventually(lambda: worker.statistics().running == 1)

        answers = await shop.control.inspect()
        found = answers.values["web-1"]
        sync = next(task for task in found.tasks if task.name == "orders.sync")
        assert (sync.queue, sync.runs_in) == ("orders", "event loop")
        assert sync.options == {"rate_limit": "100/s", "time_limit": 30.0}
        assert next(task for task in found.tasks if task.name == "emails.send").runs_in == "thread"
        orders = next(queue for queue in found.queues if queue.name == "orders")
        assert (orders.concurrency, orders.running, orders.waiting) == (1, 1, 1)
        assert orders.prefetch >= 3, "and what may wait for its limit"
        assert [one.task for one in found.running + found.waiting] == ["orders.sync"] * 2
        assert found.settings["namespace"] == shop.names.namespace
        text = str(answers)
        assert "s3cret" not in text
        assert "guest" not in text
        assert "://" not in text

        statistics = (await shop.control.stats()).values["web-1"]
        assert (statistics.running, statistics.waiting, statistics.done) == (1, 1, 0)
        assert statistics.memory > 0
        shop.go.set()


async def test_a_worker_is_shut_down_by_name(shop, caplog):
    """It answers first; the others continue, and the log says who did it."""
    caplog.set_level(logging.INFO)
    async with shop, shop.worker(["orders"], name="web-1").running():
        async with shop.worker(["emails"], name="mail-1").running() as mail:
            answers = await shop.control.shutdown(workers="mail-1", issuer="ann@ops")
            assert answers.values["mail-1"].running == 0
            await eventually(mail._stopping.is_set)
            assert mail.shut_down_by_command
            (entry,) = await shop.control.history()
            assert (entry.what, entry.by) == ("shutdown warm in mail-1", "ann@ops")
        assert set((await shop.control.ping()).values) == {"web-1"}
    assert "warm shutdown by 'ann@ops'" in caplog.text
    audit = [one for one in caplog.records if one.name == "stem_amqp.control"]
    assert any(answers.nonce in one.getMessage() for one in audit)


async def test_a_cold_shutdown_requeues_what_runs(shop):
    """The task waits in the broker for another worker."""
    async with shop:
        async with shop.worker(["orders"], name="web-1").running() as worker:
            handle = await shop.enqueue("orders.sync")
            await eventually(lambda: worker.statistics().running == 1)
            answers = await shop.control.shutdown(cold=True)
            assert (answers.values["web-1"].running, answers.values["web-1"].grace) == (1, 0)
        shop.go.set()
        async with shop.worker(["orders"]).running():
            await handle.result(timeout=60)


async def test_no_worker_is_up(shop):
    """Nobody answers, and nothing is missing."""
    async with shop:
        answers = await shop.control.ping()
        assert (len(answers), answers.complete) == (0, True)


async def test_who_does_not_answer_is_named(shop):
    """A worker that cannot answer in time is known by its heartbeat, or by its consumer."""
    async with shop, shop.worker(["orders"], name="web-1").running() as worker:
        worker.steering.handlers[Ping] = lambda _, __: None

        async def unanswered():
            answers = await shop.control.ping(timeout=0.3)
            assert not (answers.unanswered and answers.complete)
            # nobody if its heartbeat takes longer than that
            return answers.unanswered

        (one,) = await eventually(unanswered, "a heartbeat within the timeout")
        assert one.worker == "web-1"


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ({"queues": "order"}, "there is no queue 'order'.*did you mean orders"),
        ({"workers": "wbe-1"}, "no worker is named 'wbe-1'; did you mean web-1"),
        ({"timeout": 0}, "a timeout must be more than 0 s"),
        ({"issuer": "a\nb"}, "is not a valid issuer"),
        ({"wrokers": "web-1"}, "a command has no option 'wrokers'"),
        ({"workers": ["w" * 200] * 30}, "no worker is named"),
        ({"workers": [f"{n:0200d}" for n in range(30)]}, "may have at most 4096"),
    ],
)
async def test_a_wrong_target_is_refused(shop, to, says):
    """Nothing is carried out, and the error names the remedy."""
    async with shop, shop.worker(["orders"], name="web-1").running():
        with pytest.raises(ConfigurationError, match=f"(?s){says}"):
            await shop.control.shutdown(**to)
        assert len(await shop.control.ping()) == 1
    assert ("shutdown", "done") not in shop.counted


async def test_what_is_no_valid_command_changes_nothing_and_is_counted(shop):
    """Too large, malformed, late, repeated, and unknown commands."""
    async with shop, shop.worker(["orders"], name="web-1").running():
        await publish(shop, b" " * (COMMAND_BYTES + 1))
        await publish(shop, b"{")
        await publish(shop, {"command": "explode"})
        await publish(shop, command(command="shutdown", cold="perhaps"))
        await publish(shop, command(command="shutdown", deadline=time.time() - 60))
        await publish(shop, command())
        await publish(shop, command())
        await eventually(lambda: len(shop.counted) == 7)
        assert sorted(shop.counted) == sorted(
            [
                ("other", "too-large"),
                ("other", "malformed"),
                ("other", "malformed"),
                ("other", "malformed"),
                ("shutdown", "stale"),
                ("ping", "done"),
                ("ping", "replayed"),
            ]
        )
        assert len(await shop.control.ping()) == 1


async def test_an_event_says_who_did_what(shop):
    """Listeners of events see each command."""
    seen = []
    async with shop, shop.worker(["orders"], name="web-1").running():

        async def follow():
            async for event in shop.events(event="worker-commanded"):
                seen.extend([(event.worker, event.command, event.issuer, event.error)])

        following = asyncio.create_task(follow())

        async def heard():
            await shop.control.ping(issuer="ann")
            return seen

        await eventually(heard)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert seen[0] == ("web-1", "ping", "ann", None)


async def test_code_without_an_event_loop_gives_commands(shop):
    """The blocking producer has the same commands."""
    async with shop, shop.worker(["orders"], name="web-1").running():

        def ask():
            with shop.blocking() as producer:
                found = producer.control.ping(workers="web-*", issuer="ann")
                return found.values, producer.control.stats().values

        pongs, statistics = await asyncio.to_thread(ask)
    assert set(pongs) == set(statistics) == {"web-1"}


async def test_with_signing_only_signed_commands_count(make_stem):
    """The issuer is signed too: a copy, a changed issuer and an unsigned command change nothing."""
    key = "k1:" + base64.b64encode(b"k" * 32).decode()
    shop = make_stem(backend_url=f"memory://{uuid.uuid4().hex}")
    shop.reconfigure(signing_key=key, heartbeat_interval=PATIENCE)
    shop.counted, captured = [], []

    @shop.task("orders.sync", queue="orders")
    async def sync() -> None:
        """Do nothing."""

    class Counts(Exporter):
        def commanded(self, command, outcome):
            shop.counted.append((command, outcome))

    shop.add_exporter(Counts())
    async with shop, shop.worker(["orders"], name="web-1").running() as worker:
        transport = shop.connected.transport
        spy = f"{shop.names.control}.spy"
        async with transport.subscribe(spy, captured.append, exchange=shop.names.control):
            assert len(await shop.control.ping(issuer="ann")) == 1
            await eventually(lambda: [one for one in captured if one.type == COMMAND])
        (sent,) = [one for one in captured if one.type == COMMAND]
        assert b'"issuer":"ann"' in sent.body

        async def replay(body, headers):
            await transport.publish(
                Publication(
                    exchange=shop.names.control,
                    routing_key="",
                    body=body,
                    type=COMMAND,
                    reply_to=sent.reply_to,
                    headers=headers,
                )
            )

        await replay(sent.body, dict(sent.headers))
        await replay(sent.body.replace(b'"ann"', b'"bob"'), dict(sent.headers))
        await replay(orjson.dumps(command(command="shutdown", nonce="m" * 16)), {})
        await eventually(lambda: len(shop.counted) == 4)
        assert shop.counted[0] == ("ping", "done")
        assert sorted(shop.counted[1:]) == [
            ("ping", "replayed"),
            ("ping", "signature"),
            ("shutdown", "signature"),
        ]
        assert not worker.shut_down_by_command
