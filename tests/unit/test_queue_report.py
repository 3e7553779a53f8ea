"""What waits where, and whether everything is healthy; on the in-memory broker."""

import asyncio
import uuid

import pytest

from stem_amqp import Stem
from stem_amqp.health import check_health
from stem_amqp.management import Unsettled
from stem_amqp.queue_report import Bucket, queue_report
from stem_amqp.transport.base import Publication


@pytest.fixture
def stem():
    """An application with two queues."""
    name = uuid.uuid4().hex
    stem = Stem(broker_url=f"memory://{name}", backend_url=f"memory://{name}", namespace="n")

    @stem.task("orders.sync", queue="orders")
    async def sync() -> None: ...

    @stem.task("emails.send", queue="emails", max_retries=0)
    async def send() -> None:
        raise ValueError("no")

    return stem


class Counts:
    """A management API that knows."""

    def __init__(self, counts, reason=""):
        self.answer = Unsettled(counts=counts, reason=reason)

    async def unsettled(self, prefix):
        assert prefix == "n."
        return self.answer


async def report_of(stem, management=None, **more):
    """Return the report of a connected application."""
    return await queue_report(stem, stem.connected.transport, management=management, **more)


async def test_a_report_counts_what_waits(stem):
    """Ready and dead letters per queue, delayed messages per waiting time, lost ones."""
    async with stem:
        await stem.enqueue("orders.sync", queue="orders")
        await stem.enqueue("orders.sync", queue="orders")
        await stem.enqueue("orders.sync", queue="orders", delay=30)
        async with stem.worker(["emails"]).running():
            handle = await stem.enqueue("emails.send", queue="emails")
            with pytest.raises(Exception, match="retries-exhausted"):
                await handle.result(timeout=10)
            report = await report_of(stem, Counts({"n.emails": 1}))
        await stem.connected.transport.publish(
            Publication(exchange="n.dead", routing_key="gone", body=b"{}")
        )
        after = await report_of(stem)
    orders, emails = report.queues
    assert (orders.ready, orders.running, orders.consumers, orders.dead) == (2, None, 0, 0)
    assert (emails.ready, emails.running, emails.consumers, emails.dead) == (0, 1, 1, 1)
    assert report.delays == (Bucket(seconds=30, messages=1),)
    assert report.delayed == 1
    assert (report.unroutable, after.unroutable) == (0, 1)


async def test_why_running_is_not_known_is_part_of_the_report(stem):
    """Whoever reads a dash is told the reason."""
    async with stem:
        report = await report_of(stem, Counts(None, "no plugin"))
        assert report.running_unknown == "no plugin"
        assert [line.running for line in report.queues] == [None, None]
        assert (await report_of(stem)).running_unknown == "no management API was asked"


async def test_a_queue_that_is_not_there_has_no_numbers(stem):
    """Nothing is not zero, and looking declares nothing."""
    async with stem:
        for _ in range(2):
            report = await report_of(stem, queues=["orders", "nowhere"])
            assert [line.ready for line in report.queues] == [0, None]
            assert report.queues[1].dead is None
            assert report.queues[1].consumers is None


def outcome(report):
    """Return each check's name and whether it is as it should be."""
    return {check.name: check.ok for check in report.checks}


async def test_an_application_that_was_never_deployed_is_not_healthy(stem):
    """Looking declares nothing, and what is missing is named with the remedy."""
    for _ in range(2):
        report = await check_health(stem)
        assert not report.healthy
        assert outcome(report) == {
            "broker": True,
            "topology": False,
            "consumers": True,
            "unroutable": True,
            "dead-letters": True,
            "backend": True,
        }
        detail = report.checks[1].detail
        assert "91 of 91 exchanges and queues are missing: n.orders, n.emails" in detail
        assert "stem-amqp topology apply" in detail
        assert len(detail) < 300


async def test_required_consumers_must_be_there(stem):
    """A deploy that leaves a queue without a worker is stopped."""
    async with stem:
        assert (await check_health(stem)).healthy
        report = await check_health(stem, require_consumers=["orders", "emails"])
        assert outcome(report)["consumers"] is False
        async with stem.worker(["orders"]).running():
            assert (await check_health(stem, require_consumers=["orders"])).healthy
            report = await check_health(stem, require_consumers=["orders", "emails"])
    failed = next(check for check in report.checks if not check.ok)
    assert failed.detail.startswith("no worker consumes emails\n")


async def test_lost_messages_are_not_healthy(stem):
    """What lies in the parking queue is forgotten unless somebody is told."""
    async with stem:
        await stem.connected.transport.publish(
            Publication(exchange="n.dead", routing_key="gone", body=b"{}")
        )
        report = await check_health(stem)
    assert outcome(report)["unroutable"] is False
    assert report.checks[3].detail.startswith(
        "messages that lost their queue are in n.unroutable: 1\n"
    )


async def test_a_dead_broker_ends_the_checks_that_need_it(stem):
    """The rest is not reported as broken one by one."""
    stem.settings = stem.settings.replace(broker_url="amqp://127.0.0.1:1/")
    assert outcome(await check_health(stem)) == {"broker": False, "backend": True}
    stem.settings = stem.settings.replace(backend_url="rpc://")
    report = await check_health(stem)
    assert outcome(report) == {"broker": False, "backend": False}
    assert report.checks[1].detail == "rpc:// needs the broker"


async def test_a_silent_broker_is_given_up_in_time(stem):
    """A pipeline gets its answer within the timeout."""

    async def say_nothing(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    stem.settings = stem.settings.replace(broker_url=f"amqp://127.0.0.1:{port}/")
    began = asyncio.get_running_loop().time()
    report = await check_health(stem, timeout=0.2)
    assert asyncio.get_running_loop().time() - began < 5
    assert outcome(report) == {"broker": False}
    assert "200 ms, is over" in report.checks[0].detail
    server.close()
    await server.wait_closed()
