"""The metrics of the queue exporter, on the in-memory broker and a management API of the test."""

import asyncio
import logging
import shutil
import socket
import subprocess
import urllib.request
import uuid

import pytest

from stem_amqp import Stem
from stem_amqp.delay import exact_units, route
from stem_amqp.errors import BrokerUnavailableError, ConfigurationError, ManagementError
from stem_amqp.observability.queues import METRICS, make_plan, serve_queues
from stem_amqp.observability.queues.dead import MOST_READ, READ_INTERVAL, DeadReader
from stem_amqp.observability.queues.measure import Measurer
from stem_amqp.topology.delays import delays
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import FormerNames
from stem_amqp.topology.paused_tasks import paused_task
from stem_amqp.transport.publication import Publication

prometheus = pytest.importorskip("prometheus_client")


@pytest.fixture
def stem():
    """Return an application with two queues, one with a limit of its age."""
    name = uuid.uuid4().hex
    topology = Topology.model_validate(
        {"version": 1, "queues": {"orders": {"max_ready_age": "5m"}, "emails": {}}}
    )
    stem = Stem(
        broker_url=f"memory://{name}", backend_url="memory://", namespace="n", topology=topology
    )

    @stem.task("orders.sync", queue="orders", max_retries=0)
    async def sync(fail: bool = False) -> None:
        if fail:
            raise ValueError("no")

    return stem


class Api:
    """A management API with the answers of the test."""

    user = "shop"

    def __init__(self, transport, names):
        self.transport = transport
        self.names = names
        self.refused = {}
        self.delivered = 0
        self.silent = ()

    async def listing(self, kind, prefix, columns):
        assert (kind, prefix) == ("queues", "n.")
        assert "messages_unacknowledged" in columns
        if kind in self.refused:
            raise self.refused[kind]
        status = await self.transport.status(self.names)
        return [
            {
                "name": name,
                "messages_ready": found.ready,
                "messages_unacknowledged": 2,
                "messages_dlx": 1,
                "consumers": found.consumers,
                "message_stats": {"deliver_get": self.delivered + 3, "redeliver": 3},
            }
            if name not in self.silent
            else {"name": name}
            for name, found in status.items()
            if found is not None
        ]

    async def get(self, path):
        if path in self.refused:
            raise self.refused[path]
        if path == "overview":
            return {"rates_mode": "basic"}
        return [{"name": "rabbit@a", "mem_alarm": True, "disk_free_alarm": False}]


def plan_of(stem):
    """Return what the exporter reports of an application."""
    return make_plan(stem.names, stem.topology, stem.queues, [task.name for task in stem.registry])


def api_of(stem):
    """Return a management API that knows an application's queues."""
    plan = plan_of(stem)
    return Api(stem.connected.transport, [*plan.certain, *plan.possible, *plan.held])


def page_at(port):
    """Return the served page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return answer.read().decode()


async def scrape(port):
    """Return the served samples by name and labels."""
    text = await asyncio.to_thread(page_at, port)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


async def test_the_output_follows_the_conventions_of_prometheus(stem):
    """Promtool checks names, types and descriptions."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    async with stem, serving(stem, api_of(stem)) as port:
        text = await asyncio.to_thread(page_at, port)
    ran = await asyncio.to_thread(
        subprocess.run,
        [program, "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def serving(stem, management=None, **more):
    """Serve an application's metrics at a free port."""
    transport = stem.connected.transport
    options = {"host": "127.0.0.1", "port": 0, "interval": 0.0} | more
    return serve_queues(plan_of(stem), transport, management, **options)


async def test_passive_declares_tell_ready_and_consumers_only(stem):
    """What is not known is absent and not 0."""
    async with stem:
        await stem.enqueue("orders.sync", queue="orders")
        await stem.enqueue("orders.sync", queue="orders", delay=30)
        async with serving(stem) as port:
            found = await scrape(port)
    assert found["stem_broker_up"] == 1
    assert found['stem_queue_messages_ready{queue="orders"}'] == 1
    assert found['stem_queue_messages_ready{queue="emails"}'] == 0
    assert found['stem_queue_consumers{queue="orders"}'] == 0
    assert found['stem_queue_max_ready_age_seconds{queue="orders"}'] == 300
    assert found['stem_queue_messages_dead{queue="orders"}'] == 0
    assert found['stem_delayed_messages{delay="30s"}'] == 1
    assert found['stem_delayed_messages{delay="20s"}'] == 0
    assert found["stem_unroutable_messages"] == 0
    names = {name.partition("{")[0] for name in found}
    unknown = {"unacked", "oldest", "overdue", "alarm", "management"}
    assert [name for name in names if any(word in name for word in unknown)] == []


async def test_the_management_api_tells_the_rest(stem):
    """Unacked messages, the age of the oldest ready one, overdue delays and alarms."""
    async with stem:
        await stem.enqueue("orders.sync", queue="orders")
        async with serving(stem, api_of(stem)) as port:
            await scrape(port)
            found = await scrape(port)
    assert found["stem_management_up"] == 1
    assert found['stem_queue_messages_unacked{queue="orders"}'] == 2
    assert 0 < found['stem_queue_oldest_ready_age_seconds{queue="orders"}'] < 20
    assert found['stem_queue_oldest_ready_age_seconds{queue="emails"}'] == 0
    assert found["stem_delayed_overdue_messages"] == len(stem.names.delay_queues())
    assert found['stem_broker_alarm{node="rabbit@a",resource="memory"}'] == 1
    assert found['stem_broker_alarm{node="rabbit@a",resource="disk"}'] == 0
    assert {name.partition("{")[0] for name in found} <= {metric.name for metric in METRICS}


async def test_schedulers_are_counted_if_the_application_has_schedules(stem):
    """Without schedules nothing is missing, and no alert fires."""
    queue = stem.names.schedules
    plan = make_plan(stem.names, stem.topology, stem.queues, schedules=True)
    async with stem:
        api, transport = api_of(stem), stem.connected.transport
        api.names.append(queue)
        for management in (api, None):
            measurer = Measurer(plan, transport, management)
            assert (await measurer.measure()).schedulers == 0
            consumer = await transport.consume(queue, lambda _: None, prefetch=1, tag="one")
            assert (await measurer.measure()).schedulers == 1
            await consumer.close()
            await measurer.close()
        other = Measurer(plan_of(stem), transport, api)
        assert (await other.measure()).schedulers is None
        await other.close()


async def test_messages_of_paused_tasks_are_counted_by_queue_and_task(stem):
    """Of tasks that the application knows; those without a queue of their own have no sample."""
    async with stem:
        place = stem.names.held("orders", "orders.sync")
        await stem.connected.transport.declare(paused_task(stem.names, "orders", "orders.sync"))
        await stem.connected.transport.publish(
            Publication(exchange=stem.names.paused, routing_key=place, body=b"{}")
        )
        async with serving(stem, api_of(stem)) as port:
            found = await scrape(port)
    held = {name: value for name, value in found.items() if name.startswith("stem_held_messages")}
    # one is ready, and this API says of every queue that two more are unacked
    assert held == {'stem_held_messages{queue="orders",task="orders.sync"}': 3}


@pytest.mark.parametrize("by_api", [False, True])
async def test_delay_queues_of_an_earlier_release_are_counted(stem, by_api):
    """Under the waiting time that they share with the current ones, as long as they exist."""
    former = FormerNames("n")
    async with stem:
        await stem.enqueue("orders.sync", queue="orders", delay=30)
        transport = stem.connected.transport
        await transport.declare(delays(former))
        way = route(exact_units(30), "orders")
        exchange = former.delay_exchange(way.level)
        await transport.publish(
            Publication(exchange=exchange, routing_key=way.routing_key, body=b"")
        )
        api = api_of(stem) if by_api else None
        if api is not None:
            api.names += [*former.delay_queues()]
        async with serving(stem, api) as port:
            found = await scrape(port)
        await transport.connect()  # closed with the exporter
        await transport.delete(delays(former))
        async with serving(stem, api) as port:
            after = await scrape(port)
    assert found['stem_delayed_messages{delay="30s"}'] == 2
    assert after['stem_delayed_messages{delay="30s"}'] == 1


async def test_a_queue_without_statistics_is_asked_by_amqp(stem):
    """RabbitMQ has no numbers of a queue that was just declared."""
    async with stem:
        await stem.enqueue("orders.sync", queue="orders")
        api = api_of(stem)
        api.silent = {"n.orders"}
        measurer = Measurer(plan_of(stem), stem.connected.transport, api)
        orders = next(one for one in (await measurer.measure()).queues if one.queue == "orders")
        await measurer.close()
    assert (orders.ready, orders.unacked, orders.oldest_ready) == (1, None, None)


async def test_a_refusal_is_logged_once_and_names_the_tag(stem, caplog):
    """The exporter goes on with what it may know."""
    refused = ManagementError("the management API refused the user 'shop' (401)")
    async with stem:
        api = api_of(stem)
        api.refused = {"nodes": refused}
        measurer = Measurer(plan_of(stem), stem.connected.transport, api)
        assert (await measurer.measure()).alarms == {}
        assert (await measurer.measure()).management_up is True
        api.refused = {"nodes": refused, "queues": refused}
        measured = await measurer.measure()
        api.refused = {}
        again = await measurer.measure()
        await measurer.close()
    assert measured.management_up is False
    assert next(one.ready for one in measured.queues) is not None
    assert again.alarms
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert warnings[0].startswith("alarms are not known, because")
    assert all("rabbitmqctl set_user_tags shop monitoring" in warning for warning in warnings)
    assert "unacked messages and the age" in warnings[1]


async def test_dead_letters_are_counted_by_reason(stem):
    """A reason of a foreign message is no label; the oldest letter has an age."""
    async with stem:
        async with stem.worker(["orders"]).running():
            handle = await stem.enqueue("orders.sync", {"fail": True}, queue="orders")
            with pytest.raises(Exception, match="retries-exhausted"):
                await handle.result(timeout=60)
        for headers in ({"stem-reason": "x" * 500}, {}):
            await stem.connected.transport.publish(
                Publication(exchange="n.dead", routing_key="orders", body=b"{}", headers=headers)
            )
        async with serving(stem) as port:
            found = await scrape(port)
    assert found['stem_queue_messages_dead{queue="orders"}'] == 3
    assert found['stem_dead_messages{queue="orders",reason="retries-exhausted"}'] == 1
    assert found['stem_dead_messages{queue="orders",reason="other"}'] == 1
    assert found['stem_dead_messages{queue="orders",reason="unknown"}'] == 1
    assert 0 <= found['stem_dead_oldest_age_seconds{queue="orders"}'] < 60


class Browsed:
    """A transport that counts how often queues are browsed."""

    def __init__(self, transport):
        self._transport = transport
        self.browsed = []

    def browse(self, queue):
        self.browsed.append(queue)
        return self._transport.browse(queue)


async def test_dead_letters_are_read_only_when_their_number_changes(stem):
    """Reading takes them away from others for a moment."""
    async with stem:
        for _ in range(2):
            await stem.connected.transport.publish(
                Publication(exchange="n.dead", routing_key="orders", body=b"{}")
            )
        transport = Browsed(stem.connected.transport)
        reader = DeadReader(transport)
        for at, count in ((0, 2), (1, 2), (2, 3), (READ_INTERVAL, 3), (READ_INTERVAL + 1, 0)):
            await reader.read(at, {"n.orders.dlq": count}, {})
        assert transport.browsed == ["n.orders.dlq"] * 2
        assert reader.known("n.orders.dlq").by_reason(1) == {"not-read": 1}


async def test_at_most_a_thousand_letters_are_read(stem):
    """The others are counted, and all stay in their order."""
    total = MOST_READ + 5
    async with stem:
        transport = stem.connected.transport
        for number in range(total):
            await transport.publish(
                Publication(exchange="n.dead", routing_key="orders", body=b"%d" % number)
            )
        reader = DeadReader(transport)
        await reader.read(0, {"n.orders.dlq": total}, {})
        found = reader.known("n.orders.dlq").by_reason(total)
        async with transport.browse("n.orders.dlq") as letters:
            bodies = [letter.body async for letter in letters]
    assert found == {"unknown": MOST_READ, "not-read": 5}
    assert bodies == [b"%d" % number for number in range(total)]


class Unreachable:
    """A transport whose broker can be stopped."""

    def __init__(self, transport):
        self._transport = transport
        self.clock = transport.clock
        self.stopped = False

    async def connect(self):
        if self.stopped:
            raise BrokerUnavailableError("no broker answers")
        return await self._transport.connect()

    async def close(self):
        pass

    async def status(self, queues):
        if self.stopped:
            raise ManagementError("asked although the broker does not answer")
        return await self._transport.status(queues)

    def browse(self, queue):
        return self._transport.browse(queue)


async def test_an_outage_leaves_no_old_values(stem, caplog):
    """The alert on the broker fires, and no alert on queues has a value that is over."""
    caplog.set_level(logging.INFO)
    async with stem:
        transport = Unreachable(stem.connected.transport)
        transport.stopped = True
        api = api_of(stem)
        api.transport = transport  # it is down too, and that is no second problem
        options = {"host": "127.0.0.1", "port": 0, "interval": 0.0}
        async with serve_queues(plan_of(stem), transport, api, **options) as port:
            assert await scrape(port) == {"stem_broker_up": 0}
            assert await scrape(port) == {"stem_broker_up": 0}
            transport.stopped = False
            assert (await scrape(port))['stem_queue_messages_ready{queue="orders"}'] == 0
            transport.stopped = True
            assert await scrape(port) == {"stem_broker_up": 0}
    names = {"stem_amqp.observability"}
    lines = [one.getMessage() for one in caplog.records if one.name in names]
    assert [line.partition(",")[0] for line in lines] == [
        "the broker does not answer", "the broker answers again", "the broker does not answer"
    ]  # fmt: skip


async def test_a_measurement_that_takes_too_long_counts_as_an_outage(stem):
    """Prometheus gives up a scrape after 10 seconds, and would have nothing."""
    async with stem:
        api = api_of(stem)
        api.get = lambda _: asyncio.sleep(100)
        async with serving(stem, api, timeout=0.05) as port:
            assert await scrape(port) == {"stem_broker_up": 0}


async def test_scrapes_in_between_get_the_last_values(stem):
    """Two Prometheus servers do not double the load of the broker."""
    async with stem, serving(stem, interval=100.0) as port:
        assert (await scrape(port))['stem_queue_messages_ready{queue="orders"}'] == 0
        await stem.enqueue("orders.sync", queue="orders")
        assert (await scrape(port))['stem_queue_messages_ready{queue="orders"}'] == 0


async def test_a_port_that_is_taken_is_named(stem):
    """It is an error of the configuration, with a remedy."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with stem:
            with pytest.raises(
                ConfigurationError, match=rf"port {port} of 127.0.0.1 .*in use[\s\S]*--port"
            ):
                async with serving(stem, port=port):
                    pass


async def test_a_missing_library_is_named(stem, monkeypatch):
    """It is optional."""
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    async with stem:
        with pytest.raises(ConfigurationError, match=r"pip install 'stem-amqp\[prometheus\]'"):
            async with serving(stem):
                pass


def test_names_of_metrics_follow_the_conventions():
    """Each has a unit and one sentence; no name appears twice."""
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))
    for metric in METRICS:
        assert metric.name.startswith("stem_")
        assert metric.description.endswith(".")
        assert (metric.unit == "s") == metric.name.endswith("_seconds")
