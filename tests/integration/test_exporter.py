"""The queue exporter on RabbitMQ, as a process and beside a worker."""

import asyncio
import os
import re
import socket
import urllib.request

import pytest
from cli_support import command_line, worker
from support import until

from stem_amqp.management import Management
from stem_amqp.settings import Settings
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names

SHOP = """
    from stem_amqp import Stem
    stem = Stem()

    @stem.task("orders.sync", queue="orders", max_retries=0)
    async def sync(fail: bool = False) -> None:
        if fail:
            raise ConnectionError("the ERP is down")
"""
APP = ("--app", "shop:stem")


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path, managed, stem_namespace):
    """Yield a command line in a directory with an application, and clean the broker afterwards."""
    url, management_url = managed
    names = Names(stem_namespace.name)
    entities = compile_topology(Topology.default(), names, ["orders"])
    stem_namespace.delete_later(
        exchanges=[exchange.name for exchange in entities.exchanges],
        queues=[queue.name for queue in entities.queues],
    )
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        monkeypatch.setenv("STEM_BROKER_URL", url)
        monkeypatch.setenv("STEM_NAMESPACE", stem_namespace.name)
        monkeypatch.setenv("STEM_MANAGEMENT_URL", management_url)
        cli.write("shop.py", SHOP)
        yield cli


def scrape(cli):
    """Return the samples that the exporter serves, by name and labels."""
    found = until(lambda: re.search(r"at (http://\S+:\d+/metrics)", cli.log()), "the exporter")
    address = found[1].replace("0.0.0.0", "127.0.0.1")
    with urllib.request.urlopen(address, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def until_served(cli, holds, what):
    """Wait until a condition on the served samples holds, and return them."""

    def check():
        samples = scrape(cli)
        return samples if holds(samples) else None

    return until(check, what)


def test_a_queue_without_a_worker_grows_old_and_the_exporter_does_not_touch_it(cli):
    """The age grows, and no delivery was counted."""
    for _ in range(3):
        assert cli("enqueue", "orders.sync", *APP).code == 0
    with cli.process("exporter", "shop:stem", "--port", "0", "--interval", "100ms") as process:
        age = 'stem_queue_oldest_ready_age_seconds{queue="orders"}'
        ready = 'stem_queue_messages_ready{queue="orders"}'
        found = until_served(
            cli, lambda found: found.get(age, 0) > 1 and found.get(ready) == 3, "age and number"
        )
        assert found['stem_queue_messages_unacked{queue="orders"}'] == 0
        assert found["stem_broker_up"] == found["stem_management_up"] == 1
        assert found["stem_delayed_overdue_messages"] == 0
        assert any(name.startswith("stem_broker_alarm{") for name in found)
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert counted_deliveries(cli) == 0


def counted_deliveries(cli):
    """Return how often a message of the queue orders was delivered, as RabbitMQ counts it."""
    management = Management.of(Settings(_env_file=None))
    path = ("queues", "/", f"{os.environ['STEM_NAMESPACE']}.orders")

    def counted():
        numbers = asyncio.run(management.get(*path)).get("message_stats", {})
        return numbers if numbers.get("publish") == 3 else None

    # RabbitMQ counts late
    return until(counted, "the numbers of the three messages").get("deliver_get", 0)


def test_a_worker_serves_the_metrics_of_its_queues_too(cli):
    """One worker of many may have the exporter; it shows a dead letter with its reason."""
    with worker(cli, "--with-exporter", "0") as process:
        ran = cli("enqueue", "orders.sync", "--args", '{"fail": true}', *APP, "--timeout", "60s")
        assert ran.code == 1
        reason = 'stem_dead_messages{queue="orders",reason="retries-exhausted"}'
        found = until_served(cli, lambda found: found.get(reason), "the dead letter")
        assert found[reason] == 1
        consumers = 'stem_queue_consumers{queue="orders"}'
        until_served(cli, lambda found: found.get(consumers) == 1, "the consumer")
        process.terminate()
        assert process.wait(timeout=60) == 0


def test_wrong_uses_are_one_clear_error(cli, restored_signals):
    """A taken port, an in-memory broker, an unknown application, wrong credentials."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ran = cli("exporter", "shop:stem", "--host", "127.0.0.1", "--port", port)
        assert (ran.code, ran.err.count("the exporter cannot listen: port")) == (2, 1)
    ran = cli("exporter", "shop:stem", "--broker-url", "memory://")
    assert (ran.code, "in-memory broker" in ran.err) == (2, True)
    assert cli("exporter", "shop:nothing").code == 2
    url = "amqp://nobody:wrong@" + os.environ["STEM_BROKER_URL"].split("@")[1]
    ran = cli("exporter", "shop:stem", "--port", "0", "--broker-url", url)
    assert ran.code == 5
