"""Test the blocking producer while its broker stops and starts."""

import time
import uuid

import pytest

from stem_amqp import Stem
from stem_amqp.errors import BrokerError

pytestmark = pytest.mark.timeout(300)  # uses a private node: not marked as rabbitmq


@pytest.fixture
async def task(node):
    """Yield a task of an application on the node, and delete its queues afterwards."""
    app = Stem(broker_url=node.url, namespace=f"t-{uuid.uuid4().hex[:8]}", backend_url="memory://")
    yield app.task("sums.add", queue="q")(lambda first: first)
    async with app:
        await app.connected.transport.delete(app.blueprint.entities)


def ready(producer, app):
    name = app.names.work("q")

    async def count(connected):
        return (await connected.transport.status([name]))[name].ready

    return producer.ask(count, instead="", unclear="")


def test_connections_closed_by_the_operator_are_opened_again(node, task):
    """The call after the connections were closed succeeds."""
    with task.app.blocking() as producer:
        for number in range(3):
            producer.enqueue(task, number)
            node.close_connections()
        producer.enqueue(task, 3)
        assert ready(producer, task.app) == 4


def test_a_stopped_broker_is_an_error_within_the_timeout_and_recovers(node, task):
    """The call fails within its timeout; after the broker's start the producer works by itself."""
    with task.app.blocking(timeout="2s") as producer:
        producer.enqueue(task, 1)
        node.stop()
        begun = time.monotonic()
        with pytest.raises(BrokerError):
            producer.enqueue(task, 2)
        assert time.monotonic() - begun < 15  # far below the 20 s that apply otherwise
        node.start()
        with task.app.blocking() as patient:
            patient.enqueue(task, 3)
        deadline = time.monotonic() + 60
        while True:
            try:
                producer.enqueue(task, 4)
            except BrokerError:
                assert time.monotonic() < deadline
            else:
                break
        # the publish that failed may have arrived as well
        assert ready(producer, task.app) >= 3
