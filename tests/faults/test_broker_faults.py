"""Test the broker stopped, killed, frozen and alarmed under load: every acknowledged task runs."""

import asyncio
import subprocess
import sys
import time
from contextlib import contextmanager

import aio_pika
import pytest
from faults.harness.crew import HERE
from faults.harness.node import installed_version
from support import until

from stem_amqp import Stem
from stem_amqp.errors import BrokerError, PublishTimeoutError, ResultTimeoutError
from stem_amqp.health.examination import check_health

pytestmark = pytest.mark.timeout(300)  # uses private nodes: not marked as rabbitmq


@pytest.mark.releases
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_broker_that_goes_and_comes_back_loses_nothing(node, make_crew, account, how):
    """No task is lost when the broker is shut down cleanly or killed with SIGKILL."""
    crew = make_crew(f"broker: {how} and start")
    crew.under_load()
    getattr(node, how)()
    node.start()
    crew.ledger.recovered()
    tally = account(crew.finish())
    assert not tally.queued
    assert not tally.dead


def test_delayed_tasks_survive_a_kill_of_the_broker(node, make_crew, account):
    """Delayed tasks are stored in the broker's queues, not in the memory of a process."""
    crew = make_crew("delayed tasks, broker killed and started")
    producer = crew.produce(count=200, rate=400, delay=6.0)
    assert producer.wait(60) == 0
    assert not crew.ledger.read("finished")
    node.kill()
    node.start()
    crew.work()
    tally = account(crew.finish())
    assert tally.acknowledged == tally.finished == 200
    assert tally.repeated == 0


def test_connections_closed_by_the_operator_come_back(node, make_crew, account):
    """The processes reconnect after all connections were closed, three times."""
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
    """The broker cancels the consumer; an enqueue in the meantime can raise `UnroutableError`."""
    crew = make_crew("queue deleted under its consumer")
    crew.under_load()
    assert crew.end(crew.producers) == [0]
    # The messages of a queue are deleted with it
    until(lambda: not crew.ledger.outstanding(), "every task")
    node.ctl("delete_queue", f"{crew.namespace}.q")
    crew.produce()
    crew.ledger.recovered()
    tally = account(crew.finish())
    assert set(tally.refused) <= {"UnroutableError"}


def test_a_delay_whose_queue_was_deleted_parks_its_tasks(node, make_crew, account):
    """Tasks whose work queue was deleted are parked after their delay, and block no other delay."""
    crew = make_crew("queue deleted while tasks are delayed")
    assert crew.produce(count=50, rate=500, delay=6.0).wait(60) == 0
    asyncio.run(delete_queue(node, f"{crew.namespace}.q"))
    parked = f"{crew.namespace}.unroutable"
    until(lambda: crew.numbers(parked) == set(crew.ledger.read("acknowledged")), "parked tasks")
    tally = account(crew.count(also=parked))
    assert tally.queued == tally.acknowledged == 50


async def delete_queue(node, name):
    """Delete a queue at once: a tool of RabbitMQ takes seconds to start, in which a delay can end."""
    async with await aio_pika.connect(node.url) as connection:
        channel = await connection.channel()
        await channel.queue_delete(name)


def test_every_call_ends_on_a_frozen_broker(node, make_crew, account):
    """Every call ends in time while SIGSTOP keeps connections open and unanswered."""
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
    """Assert that every kind of call to a frozen broker ends in time with an error."""
    times = {"publish_timeout": 1.0, "connect_timeout": 1.0}
    stem = crew.stem(**times)
    async with stem:
        node.freeze()
        try:
            with at_most(8.0), pytest.raises(PublishTimeoutError):
                await stem.enqueue("note", {"number": -1})
            with at_most(8.0), pytest.raises(BrokerError):
                await stem.connected.transport.status([stem.names.work("q")])
            with at_most(8.0), pytest.raises(ResultTimeoutError):
                await stem.handle("no-task").result(timeout=1.0)
            with at_most(8.0), pytest.raises(BrokerError):
                await crew.stem(**times).connect()
            with at_most(9.0):
                await stem.close()
        finally:
            node.thaw()


@contextmanager
def at_most(seconds):
    """Fail if the block takes longer than a number of seconds."""
    start = time.monotonic()
    yield
    assert time.monotonic() - start < seconds


@pytest.mark.releases
@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_an_alarm_blocks_producers_while_workers_acknowledge(
    node, make_crew, account, tmp_path, kind
):
    """An enqueue fails in time with an error that names the alarm; workers drain the queue."""
    alarm = getattr(node, f"{kind}_alarm")
    crew = make_crew(
        f"{kind} alarm",
        backend_url=f"sqlite:///{tmp_path}/results.db",
        FAULTS_PAUSE="0.1",
        STEM_PUBLISH_TIMEOUT="3s",
    )
    assert crew.produce(count=800, rate=2000).wait(60) == 0
    try:
        alarm(on=True)
        asyncio.run(refusal_under_alarm(crew))
        crew.work(concurrency=10)  # started late: on a slow machine it would have finished by now
        until(lambda: node.messages(crew.namespace) == 0, "an empty queue", 60)
        assert not crew.ledger.outstanding()
    finally:
        alarm(on=False)
    crew.produce(rate=200)
    crew.ledger.recovered()
    tally = account(crew.finish())
    assert tally.repeated == 0


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_health_is_not_green_in_an_alarm(node, kind):
    """The check needs no management API: an alarm delays the return of an unroutable message."""
    stem = Stem(broker_url=node.url, namespace="alarmed", backend_url="memory://")
    alarm = getattr(node, f"{kind}_alarm")

    def resources():
        report = asyncio.run(check_health(stem, timeout=20))
        return next(check for check in report.checks if check.name == "resources")

    assert resources().ok
    alarm(on=True)
    try:
        found = resources()
        assert not found.ok
        assert "publishers are blocked" in found.detail
        assert "memory or disk alarm" in found.detail
    finally:
        alarm(on=False)
    assert resources().ok


def test_commands_about_workers_name_an_alarm(node, make_crew, account):
    """They publish a question, which the broker does not take; `top` and `events` go on."""
    crew = make_crew("memory alarm, commands about workers")
    crew.under_load()
    node.memory_alarm(on=True)
    try:
        for name in ("workers", "running"):
            ended = command(crew, name, "application:stem")
            assert (ended.returncode, ended.stdout) == (4, "")
            assert "error: no worker can be asked during an alarm" in ended.stderr
            assert "memory or disk alarm" in ended.stderr
        listening = command(crew, "events", "application:stem", "--for", "4s")
        assert listening.returncode == 0
        assert "send no events: no worker can be asked during an alarm" in listening.stderr
        top = command(crew, "top", "application:stem", "--once")
        assert top.returncode == 0
        assert "workers: not available, the broker blocks publishers" in top.stdout
    finally:
        node.memory_alarm(on=False)
    crew.ledger.recovered()
    account(crew.finish())


def command(crew, *words):
    """Run a command of the command line on a crew's application, and return how it ended."""
    return subprocess.run(
        [sys.executable, "-m", "stem_amqp", *words],
        cwd=HERE,
        env=crew.environment | {"COLUMNS": "160", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


async def refusal_under_alarm(crew):
    """Assert that an enqueue fails with an error that names the alarm."""
    async with crew.stem(publish_timeout=3.0) as stem:
        with pytest.raises(PublishTimeoutError, match="memory or disk alarm"):
            await stem.enqueue("note", {"number": -1})


def test_results_by_reply_survive_an_alarm(node, make_crew, account):
    """The alarm blocks replies too: tasks stay unsettled until it ends."""
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
def test_a_consumer_timeout_requeues_the_task_and_the_worker_continues(node, make_crew, account):
    """A late acknowledgement costs the worker its channel; since RabbitMQ 4.3 only the consumer."""
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
    """Enqueue three tasks that exceed the consumer timeout in their first run."""
    async with crew.stem() as stem:
        for number in (1, 2, 3):
            await stem.enqueue("linger", {"number": number, "seconds": seconds}, queue="q")
