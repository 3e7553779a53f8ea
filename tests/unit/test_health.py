"""The thorough health checks: round trip, age, clock, backend and nodes."""

import re
import time
import uuid
from email.utils import formatdate

import pytest

from stem_amqp import Stem
from stem_amqp.errors import BrokerRefusedError, ManagementError
from stem_amqp.health.age import check_age
from stem_amqp.health.broker import check_clock, check_round_trip
from stem_amqp.health.examination import check_health
from stem_amqp.health.nodes import check_resources
from stem_amqp.health.report import UnhealthyError
from stem_amqp.management import Management, NodeResources
from stem_amqp.topology.model import Topology
from stem_amqp.transport.base import BrokerInfo

NEW = BrokerInfo(product="RabbitMQ", version=(4, 3, 0))
OLD = BrokerInfo(product="RabbitMQ", version=(3, 10, 8))


@pytest.fixture
def stem():
    """Return an application with a queue that has a limit of its age."""
    name = uuid.uuid4().hex
    queues = {"orders": {"max_ready_age": "5m"}, "emails": {}}
    stem = Stem(
        broker_url=f"memory://{name}",
        backend_url=f"memory://{name}",
        namespace="n",
        topology=Topology.model_validate({"version": 1, "queues": queues}),
    )

    @stem.task("orders.sync", queue="orders")
    async def sync() -> None: ...

    return stem


def details(report):
    """Return each check's name and findings."""
    return {check.name: check.detail for check in report.checks}


async def test_a_thorough_check_sends_a_message_and_writes_a_key(stem):
    """A check of the connection alone would pass while publishes do not arrive."""
    async with stem:
        found = details(await check_health(stem, thorough=True))
        plain = details(await check_health(stem))
    assert "was published and consumed in" in found["round-trip"]
    assert "a key was written and read" in found["backend"]
    assert found["age"] == "orders 0 ms of 5 min"
    assert "round-trip" not in plain
    assert "written" not in plain["backend"]


async def test_a_backend_that_returns_another_key_is_not_healthy(stem, monkeypatch):
    """Such as a replica that is behind."""
    from stem_amqp.results.memory.backend import MemoryBackend

    plain = MemoryBackend.claim_key

    async def forgetful(self, key, owner, *, ttl):
        return await plain(self, f"{key}{owner}", owner, ttl=ttl)

    monkeypatch.setattr(MemoryBackend, "claim_key", forgetful)
    async with stem:
        report = await check_health(stem, thorough=True)
    assert "does not return the key" in details(report)["backend"]
    assert not report.healthy


async def test_a_round_trip_without_permission_is_a_warning(stem, monkeypatch):
    """Users of deploy pipelines may lack it."""
    async with stem:
        transport = stem.connected.transport

        def refuse(*_, **__):
            raise BrokerRefusedError("access refused")

        monkeypatch.setattr(transport, "subscribe", refuse)
        finding = await check_round_trip(stem, transport)
    assert finding.warning
    assert finding.detail.startswith("not checked: the user may not declare n.control.health-*")


async def test_a_message_that_does_not_arrive_is_not_healthy(stem, monkeypatch):
    """The broker confirmed it, and that is not enough."""
    monkeypatch.setattr("stem_amqp.health.broker._ROUND_TRIP", 0.01)
    async with stem:
        transport = stem.connected.transport

        async def lose(_):
            pass

        monkeypatch.setattr(transport, "publish", lose)
        with pytest.raises(UnhealthyError, match="did not arrive within"):
            await check_round_trip(stem, transport)


async def test_a_task_that_waits_too_long_is_not_healthy(stem, monkeypatch):
    """From RabbitMQ 4.3 on a look at the message is harmless; it stays at the head."""
    async with stem:
        transport = stem.connected.transport
        await stem.enqueue("orders.sync", queue="orders")
        finding = await check_age(stem, transport, NEW)
        assert re.fullmatch(r"orders (0 ms|\d+ s) of 5 min", finding.detail)
        now = transport.clock.time()
        monkeypatch.setattr(transport.clock, "time", lambda: now + 420)
        with pytest.raises(UnhealthyError, match="max_ready_age: orders 7 min of 5 min"):
            await check_age(stem, transport, NEW)
        status = await transport.status([stem.names.work("orders")])
    assert status[stem.names.work("orders")].ready == 1


async def test_an_age_that_cannot_be_looked_at_is_not_known(stem, monkeypatch):
    """Before RabbitMQ 4.3 a look would count towards the delivery limit: nothing is taken."""
    async with stem:
        transport = stem.connected.transport
        assert (await check_age(stem, transport, OLD)).detail == "orders 0 ms of 5 min"
        await stem.enqueue("orders.sync", queue="orders")
        monkeypatch.setattr(transport, "browse", lambda _: pytest.fail("the queue was read"))
        finding = await check_age(stem, transport, OLD)
    assert finding.detail == "not known for orders: run stem-amqp exporter"


class Clock:
    """A management API with a clock."""

    def __init__(self, ahead):
        self.ahead = ahead

    async def time(self):
        if self.ahead is None:
            raise ManagementError("no")
        return 1000.0 + self.ahead


async def test_clocks_are_compared():
    """A small difference is a warning, a large one a failure."""
    assert await check_clock(Clock(None), 1000.0) is None
    assert not (await check_clock(Clock(1), 1000.0)).warning
    finding = await check_clock(Clock(-10), 1000.0)
    assert finding.warning
    assert finding.detail.startswith("the broker's clock is 10 s behind this machine's\n")
    with pytest.raises(UnhealthyError, match="2 min ahead of this machine's"):
        await check_clock(Clock(120), 1000.0)


async def test_the_broker_s_time_is_in_its_answer(monkeypatch):
    """It is the header Date; an answer without one has no time."""
    from stem_amqp.management import client
    from stem_amqp.management.http import Answer

    at = int(time.time())
    answers = iter([formatdate(at, usegmt=True), "", "yesterday"])

    def exchange(*_, **__):
        return Answer(status=200, body=b"{}", date=next(answers))

    monkeypatch.setattr(client, "exchange", exchange)
    management = Management(url="http://h:15672", user="u", password="p")
    assert [await management.time() for _ in range(3)] == [at, None, None]


def node(**values):
    """Return a node with free resources, except for the given ones."""
    return NodeResources(**({"name": "rabbit@a", "descriptors": 1000, "used": 10} | values))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"alarms": ("memory", "disk")}, "because of a memory and disk alarm"),
        ({"used": 980}, "run out of file descriptors"),
        ({"sockets": 100, "used_sockets": 99}, "run out of sockets: connections use 99 of 100"),
        ({"running": False, "descriptors": 0, "used": 0}, "rabbit@a is down"),
    ],
)
async def test_a_node_with_a_problem_is_not_healthy(stem, values, says):
    """Each with a remedy."""
    with pytest.raises(UnhealthyError, match=says) as raised:
        await check_resources(stem, None, [node(**values), node(name="rabbit@b")])
    assert "\n  " in str(raised.value)


async def test_a_node_near_a_limit_is_a_warning(stem):
    """There is time to raise the limit."""
    finding = await check_resources(stem, None, [node(used=850, sockets=100, used_sockets=90)])
    assert finding.warning
    assert "rabbit@a uses 85% of its file descriptors" in finding.detail
    assert "rabbit@a uses 90% of its sockets" in finding.detail
    assert not (await check_resources(stem, None, [node()])).warning
