"""The rules by which a test leaves its namespace on RabbitMQ to the next one."""

import re
import subprocess
import sys

import pytest
from broker_slots import FOLDER, Slot, close_slots
from pamqp import commands
from spare_namespaces import Borrowed, Trace

from stem_amqp import Stem
from stem_amqp.servers.keeping import free_ports
from stem_amqp.topology.delays import delays
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.topology.names import Names

NAMES = Names("t-1")


def bind_exchange(source, destination):
    """Write the frame of a binding between two exchanges."""
    commands.Exchange.Bind(source=source, destination=destination, routing_key="#")


def test_what_the_application_does_at_its_start_leaves_the_delays_as_they_were():
    """Names without those of delays are remembered, to be deleted."""
    entities = delays(NAMES)
    with Trace("t-1") as trace:
        commands.Connection.Open(virtual_host="/")
        for one in entities.exchanges:
            commands.Exchange.Declare(exchange=one.name, exchange_type=one.type)
        for one in entities.queues:
            commands.Queue.Declare(queue=one.name, arguments=dict(one.arguments))
        for one in entities.bindings:
            kind = commands.Exchange.Bind if one.to_exchange else commands.Queue.Bind
            source = {"source" if one.to_exchange else "exchange": one.source}
            target = {"destination" if one.to_exchange else "queue": one.destination}
            kind(**source, **target, routing_key=one.key)
        commands.Exchange.Declare(exchange=NAMES.tasks)
        commands.Queue.Declare(queue=NAMES.work("q"))
        commands.Queue.Declare(queue="t-2.q")
        commands.Basic.Publish(exchange=NAMES.tasks, routing_key="q")
        commands.Queue.Delete(queue=NAMES.work("q"))
        commands.Connection.Close(reply_code=200)
    assert trace.spoilt == set()
    assert trace.exchanges == {NAMES.tasks}
    assert trace.queues == {NAMES.work("q")}


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (
            lambda: commands.Basic.Publish(exchange=NAMES.delay_exchange(3), routing_key="1.q"),
            "was delayed",
        ),
        (lambda: commands.Basic.Publish(routing_key=NAMES.delay_queue(0, 1)), "was delayed"),
        (lambda: commands.Queue.Declare(queue=NAMES.delay_queue(0, 1)), "queue is different"),
        (
            lambda: commands.Exchange.Declare(exchange=f"{NAMES.delay}.x", exchange_type="topic"),
            "exchange is different",
        ),
        (
            lambda: commands.Queue.Declare(
                queue="t-1.q", arguments={"x-dead-letter-exchange": NAMES.delay_exchange(1)}
            ),
            "leads to the delays",
        ),
        (lambda: bind_exchange(NAMES.tasks, NAMES.delay_exchange(1)), "binding .* is different"),
        (lambda: commands.Queue.Delete(queue=NAMES.delay_queue(0, 1)), "part .* is missing"),
        (lambda: commands.Connection.Open(virtual_host="/"), "connection was cut"),
        (lambda: subprocess.run([sys.executable, "-V"], check=True), "another process"),
    ],
)
def test_what_may_leave_a_message_or_another_topology_spoils_the_namespace(action, words):
    """Another test never uses the namespace then."""
    with Trace("t-1") as trace:
        action()
    (reason,) = trace.spoilt
    assert re.search(words, reason)


@pytest.mark.parametrize(
    ("values", "fixtures"),
    [
        ({"backend_url": "memory://constant"}, []),
        ({"backend_url": "rpc://"}, ["stem_redis_url"]),
        (
            {
                "backend_url": "rpc://",
                "topology": parse_topology(
                    "{version: 1, settings: policies, queues: {q: {ttl: 1h}}}"
                ),
            },
            [],
        ),
    ],
)
def test_what_is_remembered_outside_the_queues_spoils_the_namespace(values, fixtures):
    """Results, keys and policies may belong to the namespace."""
    borrowed = Borrowed("amqp://nowhere", None)
    borrowed.examine(
        [Stem(broker_url="amqp://nowhere", namespace=borrowed.name, **values)], fixtures
    )
    assert len(borrowed.trace.spoilt) == 1


def test_the_spare_namespace_of_a_broker_that_has_ended_is_forgotten(monkeypatch, tmp_path):
    """The private broker of a test process ends with it, before the slots are closed."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    slot = Slot(tmp_path / "0.lock")
    slot.spare = (f"amqp://guest:guest@127.0.0.1:{free_ports(1)[0]}/", "t-1")
    slot.close()
    close_slots()
    assert not tmp_path.exists()
