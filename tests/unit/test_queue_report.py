"""The report on waiting tasks and the health checks, on the in-memory broker."""

import asyncio
import uuid

import pytest

from stem_amqp import Breaker, Stem
from stem_amqp.breakers.opening import Opening
from stem_amqp.directives.model import Directive, Kind, Target
from stem_amqp.health.examination import check_health
from stem_amqp.health.queues import Bucket, queue_report
from stem_amqp.management import Unsettled
from stem_amqp.topology.paused_tasks import paused_task
from stem_amqp.transport.publication import Publication


@pytest.fixture
def stem():
    """Return an application with two queues."""
    name = uuid.uuid4().hex
    stem = Stem(broker_url=f"memory://{name}", backend_url=f"memory://{name}", namespace="n")

    @stem.task("orders.sync", queue="orders")
    async def sync() -> None: ...

    @stem.task("emails.send", queue="emails", max_retries=0)
    async def send() -> None:
        raise ValueError("no")

    return stem


class Counts:
    """A management API that returns counts."""

    def __init__(self, counts, reason=""):
        self.answer = Unsettled(counts=counts, reason=reason)

    async def unsettled(self, prefix):
        assert prefix == "n."
        return self.answer


async def report_of(stem, management=None, **more):
    """Return the report of a connected application."""
    return await queue_report(stem, stem.connected.transport, management=management, **more)


async def test_a_report_counts_what_waits(stem):
    """It counts ready and dead-lettered tasks per queue, delays per waiting time, and lost ones."""
    async with stem:
        await stem.enqueue("orders.sync", queue="orders")
        await stem.enqueue("orders.sync", queue="orders")
        await stem.enqueue("orders.sync", queue="orders", delay=30)
        async with stem.worker(["emails"]).running():
            handle = await stem.enqueue("emails.send", queue="emails")
            with pytest.raises(Exception, match="retries-exhausted"):
                await handle.result(timeout=60)
            report = await report_of(stem, Counts({"n.emails": 1}))
        await stem.connected.transport.publish(
            Publication(exchange="n.dead", routing_key="gone", body=b"{}")
        )
        after = await report_of(stem)
    orders, emails = report.queues
    assert (orders.ready, orders.running, orders.consumers, orders.dead) == (2, None, 0, 0)
    assert (emails.ready, emails.running, emails.consumers, emails.dead) == (0, 1, 1, 1)
    assert report.delays == (Bucket(seconds=30, messages=1, name="n.zz-delay.0000030.0s"),)
    assert report.delayed == 1
    assert (report.unroutable, after.unroutable) == (0, 1)


async def test_why_running_is_not_known_is_part_of_the_report(stem):
    """The table has a dash, and the report the reason."""
    async with stem:
        report = await report_of(stem, Counts(None, "no plugin"))
        assert report.running_unknown == "no plugin"
        assert [line.running for line in report.queues] == [None, None]
        assert (await report_of(stem)).running_unknown == "the management API was not asked"


async def test_a_queue_that_does_not_exist_has_no_numbers(stem):
    """Its numbers are unknown instead of zero, and the report declares nothing."""
    async with stem:
        for _ in range(2):
            report = await report_of(stem, queues=["orders", "nowhere"])
            assert [line.ready for line in report.queues] == [0, None]
            assert report.queues[1].dead is None
            assert report.queues[1].consumers is None


def outcome(report):
    """Return each check's name and whether it passed."""
    return {check.name: check.ok for check in report.checks}


async def test_an_application_that_was_never_deployed_is_not_healthy(stem):
    """The check declares nothing, and names what is missing with the remedy."""
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
        assert (
            "95 of 95 exchanges and queues are missing: n.schedules, n.control.directives, n.orders, n.emails"
            in detail
        )
        assert "stem-amqp topology apply" in detail
        assert len(detail) < 300


async def test_a_queue_without_consumers_warns_and_passes_while_no_task_waits(stem):
    """Workers may be scaled to zero."""
    async with stem, stem.worker(["orders"]).running():
        report = await check_health(stem)
        async with stem.worker(["emails"]).running():
            after = await check_health(stem)
    assert report.healthy
    found, complete = (
        next(check for check in one.checks if check.name == "consumers") for one in (report, after)
    )
    assert (found.ok, found.warning) == (True, True)
    assert found.detail.endswith("no worker consumes emails, where no task waits")
    assert (complete.warning, complete.detail) == (False, "orders 1, emails 1")


async def test_required_consumers_must_exist(stem):
    """A deployment that leaves a queue without a worker fails the check."""
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
    """Messages in the parking queue would otherwise go unnoticed."""
    async with stem:
        await stem.connected.transport.publish(
            Publication(exchange="n.dead", routing_key="gone", body=b"{}")
        )
        report = await check_health(stem)
    assert outcome(report)["unroutable"] is False
    assert report.checks[3].detail.startswith("unroutable messages are in n.unroutable: 1\n")


async def test_a_dead_broker_ends_the_checks_that_need_it(stem):
    """The checks that depend on it are not reported as failures."""
    stem.reconfigure(broker_url="amqp://127.0.0.1:1/")
    assert outcome(await check_health(stem)) == {"broker": False, "backend": True}
    stem.reconfigure(backend_url="rpc://")
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
    stem.reconfigure(broker_url=f"amqp://127.0.0.1:{port}/")
    began = asyncio.get_running_loop().time()
    report = await check_health(stem, timeout=0.2)
    assert asyncio.get_running_loop().time() - began < 19
    assert outcome(report) == {"broker": False}
    assert "no answer within 200 ms" in report.checks[0].detail
    server.close()
    await server.wait_closed()


async def order(stem, kind, **fields):
    """Issue a directive."""
    desk = stem.connected.desk(stem.blueprint)
    await desk.issue(Directive(kind=kind, by="ann", reason="a test", **fields))


async def test_a_report_says_what_is_paused(stem):
    """Operators see who paused a queue, the state of a breaker, and the messages of a paused task."""
    async with stem:
        await order(stem, Kind.PAUSE, target=Target(queue="orders"))
        opening = Opening.begin(Breaker(), stem.connected.transport.clock.time())
        await order(stem, Kind.BREAKER, target=Target(queue="emails"), value=opening.fields())
        await order(stem, Kind.PAUSE, target=Target(task="emails.*"))
        await order(stem, Kind.HELD, target=Target(queue="emails", task="emails.send"))
        transport = stem.connected.transport
        entities = paused_task(stem.names, "emails", "emails.send")
        await transport.declare(entities)
        (queue,) = entities.queues
        await transport.publish(
            Publication(exchange=stem.names.paused, routing_key=queue.name, body=b"{}")
        )
        report = await report_of(stem)
    assert [line.paused for line in report.queues] == ["by ann: a test", "breaker open: a test"]
    (line,) = report.held
    assert (line.queue, line.task, line.messages, line.paused) == ("emails", "emails.send", 1, True)
    assert line.name == "n.zz-paused.emails:emails.send"


async def test_a_paused_queue_with_waiting_tasks_is_healthy(stem):
    """It has no consumer because an operator wants it so."""
    async with stem:
        await stem.enqueue("orders.sync", queue="orders")
        unhealthy = await check_health(stem, require_consumers=["orders"])
        await order(stem, Kind.PAUSE, target=Target(queue="orders"))
        healthy = await check_health(stem, require_consumers=["orders"])
    named = {check.name: check.ok for check in unhealthy.checks}
    assert not named["consumers"]
    assert {check.name: check.ok for check in healthy.checks}["consumers"]
