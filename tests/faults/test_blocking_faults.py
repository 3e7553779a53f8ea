"""The blocking producer while its broker goes and comes back."""

import time
import uuid

import pytest

from stem_amqp import Stem
from stem_amqp.assembly import entities_of
from stem_amqp.errors import BrokerError

pytestmark = pytest.mark.timeout(120)  # on a node of their own, so not again for another broker


@pytest.fixture
async def task(node):
    """A task of an application on the node, which leaves no queues to recover to the next test."""
    app = Stem(broker_url=node.url, namespace=f"t-{uuid.uuid4().hex[:8]}", backend_url="memory://")
    yield app.task("sums.add", queue="q")(lambda first: first)
    async with app:
        await app.connected.transport.delete(entities_of(app))


def ready(producer, app):
    name = app.names.work("q")

    async def count(connected):
        return (await connected.transport.status([name]))[name].ready

    return producer.ask(count, instead="", unclear="")


def test_connections_closed_by_the_operator_are_opened_again(node, task):
    """The next call goes through."""
    with task.app.blocking() as producer:
        for number in range(3):
            producer.enqueue(task, number)
            node.close_connections()
        producer.enqueue(task, 3)
        assert ready(producer, task.app) == 4


def test_a_stopped_broker_is_an_error_within_the_timeout_and_heals(node, task):
    """And with the broker the producer is back, without a word from the program."""
    with task.app.blocking(timeout="2s") as producer:
        producer.enqueue(task, 1)
        node.stop()
        begun = time.monotonic()
        with pytest.raises(BrokerError):
            producer.enqueue(task, 2)
        assert time.monotonic() - begun < 3.5
        node.start()
        with task.app.blocking() as patient:
            patient.enqueue(task, 3)
        deadline = time.monotonic() + 30
        while True:
            try:
                producer.enqueue(task, 4)
            except BrokerError:
                assert time.monotonic() < deadline
            else:
                break
        # the one of the error may have arrived as well, as its kind may say
        assert ready(producer, task.app) >= 3
