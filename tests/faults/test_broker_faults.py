"""The broker stopped, killed, frozen and alarmed under load: every acknowledged task runs."""

import asyncio
import time
from contextlib import contextmanager

import pytest
from faults.harness.account import until
from faults.harness.node import installed_version

from stem_amqp.errors import BrokerError, PublishTimeoutError, ResultTimeoutError

pytestmark = pytest.mark.timeout(120)  # on nodes of their own, so not again for another broker


@pytest.mark.releases
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_broker_that_goes_and_comes_back_loses_nothing(node, make_crew, account, how):
    """Shut down in good order, and killed with SIGKILL."""
    crew = make_crew(f"broker: {how} and start")
    crew.under_load()
    getattr(node, how)()
    node.start()
    crew.ledger.recovered()
    tally = account(crew.finish())
    assert not tally.queued
    assert not tally.dead


def test_delayed_tasks_are_there_after_the_broker_was_killed(node, make_crew, account):
    """They wait in the broker's queues, not in anybody's memory."""
    crew = make_crew("delayed tasks, broker killed and started")
    producer = crew.produce(count=200, rate=400, delay=6.0)
    assert producer.wait(20) == 0
    assert not crew.ledger.read("finished")
    node.kill()
    node.start()
    crew.work()
    tally = account(crew.finish())
    assert tally.acknowledged == tally.finished == 200
    assert tally.repeated == 0


def test_connections_closed_by_the_operator_come_back(node, make_crew, account):
    """All of them, three times."""
    crew = make_crew("operator closes all connections, 3 times")
    crew.under_load()
    for _ in range(3):
        node.close_connections()
        crew.ledger.recovered()
    assert crew.log().count("consuming connection restored") == 3
    account(crew.finish())


def test_a_queue_deleted_under_its_consumer_is_declared_and_consumed_again(
    node, make_crew, account
):
    """The broker cancels the consumer; who enqueues meanwhile is told that there is no queue."""
    crew = make_crew("queue deleted under its consumer")
    crew.under_load()
    assert crew.end(crew.producers) == [0]
    until(lambda: not crew.ledger.outstanding(), "every task")  # what is in the queue goes with it
    node.ctl("delete_queue", f"{crew.namespace}.q")
    crew.produce()
    crew.ledger.recovered()
    tally = account(crew.finish())
    assert set(tally.refused) <= {"UnroutableError"}


def test_a_delay_whose_queue_is_gone_parks_its_tasks(node, make_crew, account):
    """They end in the parking queue, and hold up no other delay."""
    crew = make_crew("queue gone while tasks are delayed")
    assert crew.produce(count=50, rate=500, delay=3.0).wait(20) == 0
    node.ctl("delete_queue", f"{crew.namespace}.q")
    parked = f"{crew.namespace}.unroutable"
    until(lambda: crew.numbers(parked) == set(crew.ledger.read("acknowledged")), "parked tasks")
    tally = account(crew.count(also=parked))
    assert tally.queued == tally.acknowledged == 50


def test_no_call_hangs_on_a_frozen_broker(node, make_crew, account):
    """SIGSTOP: every connection stays open, and nothing answers. It goes on where it was."""
    quick = {
        "STEM_AMQP_HEARTBEAT": "2s",
        "STEM_PUBLISH_TIMEOUT": "2s",
        "STEM_CONNECT_TIMEOUT": "2s",
    }
    crew = make_crew("broker frozen for seconds", **quick)
    crew.under_load()
    asyncio.run(calls_while_frozen(node, crew))
    crew.ledger.recovered()
    account(crew.finish())


async def calls_while_frozen(node, crew):
    """Make every kind of call to a broker that does not answer."""
    times = {"publish_timeout": 1.0, "connect_timeout": 1.0}
    stem = crew.stem(**times)
    async with stem:
        node.freeze()
        try:
            with at_most(2.0), pytest.raises(PublishTimeoutError):
                await stem.enqueue("note", {"number": -1})
            with at_most(2.0), pytest.raises(BrokerError):
                await stem.connected.transport.status([stem.names.work("q")])
            with at_most(2.0), pytest.raises(ResultTimeoutError):
                await stem.handle("no-task").result(timeout=1.0)
            with at_most(2.0), pytest.raises(BrokerError):
                await crew.stem(**times).connect()
            with at_most(4.0):
                await stem.close()
        finally:
            node.thaw()


@contextmanager
def at_most(seconds):
    """Fail if the block takes longer."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


@pytest.mark.releases
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_an_alarm_blocks_producers_while_workers_acknowledge(
    node, make_crew, account, tmp_path, kind
):
    """Enqueueing ends in time with an error that says why; the queue is drained meanwhile."""
    alarm = getattr(node, f"{kind}_alarm")
    crew = make_crew(
        f"{kind} alarm",
        backend_url=f"sqlite:///{tmp_path}/results.db",
        FAULTS_PAUSE="0.1",
        STEM_PUBLISH_TIMEOUT="1s",
    )
    assert crew.produce(count=800, rate=2000).wait(20) == 0
    try:
        alarm(on=True)
        asyncio.run(refusal_under_alarm(crew))
        crew.work(concurrency=10)  # not before: a slow machine would be done by now
        until(lambda: node.messages(crew.namespace) == 0, "an empty queue", 30)
        assert not crew.ledger.outstanding()
    finally:
        alarm(on=False)
    crew.produce(rate=200)
    crew.ledger.recovered()
    tally = account(crew.finish())
    assert tally.repeated == 0


async def refusal_under_alarm(crew):
    """Enqueue until the alarm is heard of."""
    async with crew.stem(publish_timeout=1.0) as stem:
        with pytest.raises(PublishTimeoutError, match="memory or disk alarm"):
            await stem.enqueue("note", {"number": -1})


def test_results_by_reply_survive_an_alarm(node, make_crew, account):
    """The replies are blocked as well: tasks wait unsettled for the end of the alarm."""
    crew = make_crew("memory alarm, results in replies", STEM_PUBLISH_TIMEOUT="1s")
    crew.under_load()
    try:
        node.memory_alarm(on=True)
        until(lambda: crew.ledger.refusals()["PublishTimeoutError"] >= 100, "refusals")
    finally:
        node.memory_alarm(on=False)
    crew.ledger.recovered()
    account(crew.finish())


@pytest.mark.releases
def test_a_consumer_timeout_gives_the_task_back_and_the_worker_goes_on(node, make_crew, account):
    """Who does not acknowledge in time loses the channel; since RabbitMQ 4.3 only the consumer."""
    node.ctl("eval", "application:set_env(rabbit, consumer_timeout, 1500).")
    node.ctl("eval", "application:set_env(rabbit, channel_tick_interval, 300).")
    try:
        crew = make_crew("consumer timeout")
        crew.under_load()
        asyncio.run(linger(crew, 3.0))
        until(lambda: set(crew.ledger.read("finished")) >= {1, 2, 3}, "the slow tasks")
        release = tuple(int(part) for part in installed_version().split(".")[:2])
        cancelled = "the broker cancelled the consumer"
        said = cancelled if release >= (4, 3) else "delivery acknowledgement"
        assert said in crew.log()
        crew.ledger.recovered()
        account(crew.finish())
    finally:
        node.ctl("eval", "application:set_env(rabbit, consumer_timeout, 1800000).")
        node.ctl("eval", "application:set_env(rabbit, channel_tick_interval, 60000).")


async def linger(crew, seconds):
    """Enqueue three tasks that take too long the first time."""
    async with crew.stem() as stem:
        for number in (1, 2, 3):
            await stem.enqueue("linger", {"number": number, "seconds": seconds}, queue="q")
