"""Behaviour that only the result backend rpc:// has, which needs no service but RabbitMQ."""

import asyncio
import logging
import re
import time

import pytest
from support import report_ends

from stem_amqp.errors import (
    BackendUnavailableError,
    BrokerUnavailableError,
    ConfigurationError,
    PublishRefusedError,
    ReplyRefusedError,
    ResultTimeoutError,
)
from stem_amqp.messages.message import new_id
from stem_amqp.results.base import MemberReport, Progress, ProgressUpdate, Transition
from stem_amqp.results.rpc.backend import RpcBackend
from stem_amqp.results.rpc.refusals import PATIENCE
from stem_amqp.results.rpc.token import GROUP, REPLACED_LIMIT, decode
from stem_amqp.states import TaskState
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import ManualClock, MemoryBroker, MemoryTransport
from stem_amqp.transport.publication import Publication

SUCCEEDED, QUEUED = TaskState.SUCCEEDED, TaskState.QUEUED


class Net:
    """A broker with backends, each with a transport that records what it publishes."""

    def __init__(self):
        self.broker = MemoryBroker()
        self.clock = ManualClock()
        self.backends = []
        self.published = []

    async def backend(self, **options):
        transport = MemoryTransport(self.broker, publish_timeout=0.1, connect_timeout=0.1)
        real = transport.publish

        async def publish(publication):
            self.published.append(publication)
            await real(publication)

        transport.publish = publish
        await transport.connect()
        backend = RpcBackend(transport, Names("shop"), self.clock, **options)
        await backend.open()
        self.backends.append(backend)
        return backend

    async def close(self):
        for backend in self.backends:
            await backend.close()
            await backend._transport.close()


@pytest.fixture
async def net():
    """Yield a broker with backends."""
    net = Net()
    yield net
    await net.close()


def change(task_id, state=SUCCEEDED, reply_to=None, **values):
    """Return a change as a producer or a worker makes it."""
    defaults = {"task": "shop.sync", "queue": "orders", "at": time.time()}
    return Transition(task_id=task_id, state=state, reply_to=reply_to, **(defaults | values))


async def test_concurrent_callers_share_one_reply_queue(net):
    """The first producer declares it; a worker needs none."""
    producer = await net.backend()
    assert not net.broker.engine.router.queues
    addresses = await asyncio.gather(*(producer.reply_address() for _ in range(20)))
    assert len(set(addresses)) == 1
    assert list(net.broker.engine.router.queues) == [addresses[0]]


async def test_the_reply_queue_is_named_after_its_process(net, monkeypatch):
    """Namespace, host and process are readable; special characters are replaced, long names cut."""
    monkeypatch.setattr("socket.gethostname", lambda: "büro 1/web.example.com" + "x" * 300)
    names = {await (await net.backend()).reply_address() for _ in range(2)}
    assert len(names) == 2
    for name in names:
        assert re.fullmatch(r"shop\.reply\.b-ro-1-web-example-comx*\.\d+\.[0-9a-f]{8}", name)
        assert len(name) < 120


async def test_a_reply_queue_that_could_not_be_made_is_made_by_the_next_call(net):
    """An unavailable broker does not disable replies permanently."""
    producer = await net.backend()
    with (
        net.broker.outage(),
        pytest.raises(BackendUnavailableError, match=r"reply queue shop\.reply"),
    ):
        await producer.reply_address()
    assert await producer.reply_address() in net.broker.engine.router.queues


async def test_a_producers_own_changes_are_not_published(net):
    """Changes for this process are stored in it."""
    producer = await net.backend()
    reply_to = await producer.reply_address()
    task_id = new_id()
    assert await producer.transition([change(task_id, QUEUED, reply_to)]) == [True]
    progress = ProgressUpdate(task_id=task_id, progress=Progress(fraction=0.5), reply_to=reply_to)
    await producer.report_progress([progress])
    record = await producer.get(task_id)
    assert (record.state, record.progress) == (QUEUED, progress.progress)
    assert await producer.transition([change(task_id, SUCCEEDED, reply_to)]) == [True]
    assert await producer.transition([change(task_id, QUEUED, reply_to)]) == [False]
    assert net.published == []


async def test_a_reply_is_readable_in_the_management_ui(net):
    """Type, correlation id and a JSON body with the result show the meaning of a message."""
    worker = await net.backend()
    other = await net.backend()
    reply_to = await other.reply_address()
    await worker.transition([change("t1", reply_to=reply_to, result=b'{"a":1}')])
    (publication,) = net.published
    assert (publication.exchange, publication.routing_key) == ("", reply_to)
    assert (publication.type, publication.correlation_id) == ("stem.result", "t1")
    assert publication.app_id == "shop"
    assert publication.body.endswith(b',"result":{"a":1}}')


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PublishRefusedError("full"), ReplyRefusedError),
        (BrokerUnavailableError("away"), BackendUnavailableError),
    ],
)
async def test_a_reply_that_cannot_be_published_is_an_error(net, error, kind):
    """An outage or a refusal is not retried for ever; repeating is safe."""
    producer, worker = await net.backend(), await net.backend()
    reply_to = await producer.reply_address()
    changes = [change(f"t{number}", reply_to=reply_to, result=b"1") for number in range(10)]
    net.broker.refuse_publishes(error, times=1)
    with pytest.raises(kind, match=r"full|away"):
        await worker.transition(changes)
    assert len(net.published) == 10
    assert await worker.transition(changes) == [True] * 10
    for number in range(10):
        assert (await producer.wait(f"t{number}", 5)).state is SUCCEEDED


async def test_a_reply_that_its_queue_refuses_for_long_is_forgotten(net):
    """Exclusive queues of a dead node refuse everything; no worker may wait for them for ever."""
    producer, worker = await net.backend(), await net.backend()
    reply_to = await producer.reply_address()
    net.broker.refuse_publishes(PublishRefusedError("down"), times=3)
    for _ in range(2):
        with pytest.raises(ReplyRefusedError, match="down"):
            await worker.transition([change("t1", reply_to=reply_to)])
    net.clock.advance(PATIENCE)
    assert await worker.transition([change("t1", reply_to=reply_to)]) == [True]
    assert await producer.get("t1") is None
    await worker.transition([change("t2", reply_to=reply_to)])
    assert (await producer.wait("t2", 5)).state is SUCCEEDED
    net.broker.refuse_publishes(PublishRefusedError("down"), times=1)
    with pytest.raises(ReplyRefusedError, match="down"):
        await worker.transition([change("t3", reply_to=reply_to)])


async def test_a_renamed_reply_queue_is_still_ones_own(net):
    """Changes of tasks that were enqueued under the earlier name are stored, not published."""
    producer = await net.backend()
    earlier = await producer.reply_address()
    producer._replies._on_renamed("later")
    assert await producer.reply_address() == "later"
    for address in (earlier, "later"):
        await producer.transition([change(address, reply_to=address)])
        assert (await producer.get(address)).state is SUCCEEDED
    assert net.published == []


async def test_replies_of_a_batch_are_published_at_once(net, monkeypatch):
    """A batch takes as long as its slowest confirm; the changes of one task stay in order."""
    worker, producer = await net.backend(), await net.backend()
    reply_to = await producer.reply_address()
    running, most, order = 0, 0, []

    async def publish(publication):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        order.append(publication.correlation_id)
        running -= 1

    monkeypatch.setattr(worker._transport, "publish", publish)
    changes = [change(f"t{number % 50}", reply_to=reply_to) for number in range(100)]
    await worker.transition(changes)
    assert most == 50
    assert len(order) == 100


async def test_a_message_that_is_no_reply_is_logged_and_ignored(net, caplog):
    """After any message on the reply queue, later replies still arrive."""
    producer, worker = await net.backend(), await net.backend()
    reply_to = await producer.reply_address()
    for body, kind in ((b"{", "stem.result"), (b"{}", None), (b"\xff", "stem.progress")):
        message = Publication(exchange="", routing_key=reply_to, body=body, type=kind)
        await worker._transport.publish(message)
    await worker.transition([change("t1", reply_to=reply_to, result=b"1")])
    with caplog.at_level(logging.WARNING, "stem_amqp.results"):
        assert (await producer.wait("t1", 5)).result == b"1"
    assert sum("ignored a message" in record.getMessage() for record in caplog.records) == 3


async def test_the_oldest_records_make_room_and_a_lost_result_is_reported_once(net, caplog):
    """Memory is bounded; a result that was dropped before it was read causes one warning."""
    producer = await net.backend(limit=5)
    reply_to = await producer.reply_address()
    queued = [change(f"q{number}", QUEUED, reply_to) for number in range(20)]
    await producer.transition(queued)
    assert not caplog.records
    results = [change(f"t{number}", reply_to=reply_to, result=b"1") for number in range(20)]
    await producer.transition(results)
    kept = [number for number in range(20) if await producer.get(f"t{number}")]
    assert kept == [15, 16, 17, 18, 19]
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert "keeps the last 5 records: the result of task t0" in warnings[0]


async def test_a_waiter_gets_its_result_however_many_others_come(net):
    """The limit drops only records without a waiter; a waiter is woken when the reply arrives."""
    producer, worker = await net.backend(limit=5), await net.backend()
    reply_to = await producer.reply_address()
    waiting = [asyncio.create_task(producer.wait(f"t{number}", 5)) for number in range(50)]
    await asyncio.sleep(0)
    await worker.transition([change(f"t{n}", reply_to=reply_to, result=b"1") for n in range(50)])
    assert [record.task_id for record in await asyncio.gather(*waiting)] == [
        f"t{number}" for number in range(50)
    ]


async def test_members_that_end_together_are_written_together(net):
    """100 members that end in one process while another change is in progress cost few messages."""
    worker = await net.backend()
    await worker.create_group("g1", 100, ttl=60)
    net.published.clear()
    groups = await asyncio.gather(*(report_ends(worker, "g1", number) for number in range(100)))
    assert [group.complete for group in groups].count(True) == 1
    assert groups[-1].done == 100
    states = [publication for publication in net.published if publication.type == GROUP]
    assert len(states) <= 3
    assert len(net.published) == 100 + len(states)


async def test_a_group_id_must_fit_into_a_queues_name(net):
    """The error names the allowed length."""
    worker = await net.backend()
    with pytest.raises(ConfigurationError, match=r"(?s)too long.*255.*shorter id"):
        await worker.create_group("g" * 250, 1, ttl=60)


async def test_a_very_long_ttl_is_what_rabbitmq_takes(net):
    """RabbitMQ's timers end at 49 days, so a longer expiry is cut to that."""
    worker = await net.backend()
    await worker.create_group("g1", 1, ttl=365 * 86400.0)
    assert net.broker.engine.router.queues["shop.group.g1"].arguments["x-expires"] == 2**32 - 1
    net.clock.advance(364 * 86400)
    assert (await worker.get_group("g1")).size == 1


async def test_a_claim_that_crashed_halfway_is_won_by_the_same_claimant(net):
    """The queue decides the claim: its owner has won, even if the answer was lost."""
    worker = await net.backend()
    await worker.create_group("g1", 1, ttl=60)
    await report_ends(worker, "g1", 0)
    assert await worker.groups._declare_claim("g1", "first", 60)
    assert await worker.claim_group("g1", "second") is False
    assert (await worker.get_group("g1")).claimed_by is None
    assert await worker.claim_group("g1", "first") is True
    assert (await worker.get_group("g1")).claimed_by == "first"


async def test_a_token_whose_confirm_was_lost_counts_its_member_once(net):
    """A report of unknown outcome is repeated without harm."""
    worker = await net.backend()
    await worker.create_group("g1", 2, ttl=60)
    net.broker.refuse_publishes(BrokerUnavailableError("cut"), times=1, accepted=True)
    with pytest.raises(BackendUnavailableError, match="cut"):
        await report_ends(worker, "g1", 0)
    group = await report_ends(worker, "g1", 0)
    assert (group.done, group.complete) == (1, False)
    assert len(net.broker.messages("shop.group.g1")) == 1


async def test_a_holder_that_was_cut_off_learns_what_the_next_one_did(net, monkeypatch):
    """A change counts as made if its token was merged with others before it came back."""
    first, second = await net.backend(), await net.backend()
    await first.create_group("g1", 2, ttl=60)
    real, others = first._transport.publish, []

    async def publish_and_lose(publication):
        await real(publication)
        monkeypatch.undo()
        connection = first._transport._link.connection
        net.broker._connections.pop(connection)
        connection.lose("cut by the test")
        await others[0]

    async with first.groups._hold("g1") as held, asyncio.timeout(60):
        await held.state()
        others.append(asyncio.create_task(report_ends(second, "g1", 1)))
        await asyncio.sleep(0.05)
        assert not others[0].done()
        monkeypatch.setattr(first._transport, "publish", publish_and_lose)
        state = await held.update(
            lambda seen: seen.with_reports(
                [MemberReport(group_id="g1", index=0, task_id="t0", state=SUCCEEDED)]
            )
        )
    assert others[0].result().complete
    assert state.succeeded == 0b11
    assert len(net.broker.messages("shop.group.g1")) == 1


async def test_a_token_stands_for_every_one_that_it_replaced(net, monkeypatch):
    """A process that waits for its own token finds its number in the remaining one."""
    worker = await net.backend()
    await worker.create_group("g1", 2, ttl=60)
    state = decode(net.broker.messages("shop.group.g1")[0].body)[2]
    real = worker._transport.publish

    async def publish_after_another(publication):
        other = Publication(exchange="", routing_key="shop.group.g1", body=state.encode("other"))
        monkeypatch.undo()
        await real(other)
        await real(publication)

    monkeypatch.setattr(worker._transport, "publish", publish_after_another)
    await report_ends(worker, "g1", 0)
    (left,) = net.broker.messages("shop.group.g1")
    assert "other" in decode(left.body)[1]
    for _ in range(200):
        await worker.get_group("g1")
    assert len(decode(net.broker.messages("shop.group.g1")[0].body)[1]) == REPLACED_LIMIT


async def test_ping_fails_without_a_broker(net):
    """The backend is available if the broker is."""
    worker = await net.backend()
    await worker.ping()
    with net.broker.outage(), pytest.raises(BackendUnavailableError, match="does not answer"):
        await worker.ping()


async def test_groups_without_a_broker_are_an_outage(net):
    """Every operation on a group raises the same error, and can be repeated."""
    worker = await net.backend()
    with net.broker.outage():
        for call in (
            worker.create_group("g1", 1, ttl=60),
            report_ends(worker, "g1", 0),
            worker.claim_group("g1", "t1"),
            worker.get_group("g1"),
        ):
            with pytest.raises(BackendUnavailableError):
                await call
    await worker.create_group("g1", 1, ttl=60)
    assert (await report_ends(worker, "g1", 0)).complete


async def test_a_task_of_another_process_is_unknown(net):
    """rpc:// has only the producer's own tasks, as a timeout shows."""
    producer, stranger, worker = [await net.backend() for _ in range(3)]
    reply_to = await producer.reply_address()
    await worker.transition([change("t1", reply_to=reply_to, result=b"1")])
    assert (await producer.wait("t1", 5)).state is SUCCEEDED
    with pytest.raises(ResultTimeoutError, match="nothing is known"):
        await stranger.wait("t1", 0.05)
