"""Messages of paused tasks are moved to a queue of their own: what is published, and what failures do."""

import pytest
from worker_fakes import NOW, QUEUE, FakeDelivery, FakeTransport, body, connections, read_job

from stem_amqp.context.context import TaskContext
from stem_amqp.errors import BrokerRefusedError, TopologyMismatchError, UnroutableError
from stem_amqp.messages.message import ATTEMPT, NOT_BEFORE, SINCE
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.tasks.options import TaskOptions
from stem_amqp.topology.names import Names
from stem_amqp.topology.paused_tasks import paused_task
from stem_amqp.worker.follow_up.persist import Persistence
from stem_amqp.worker.follow_up.publish import FollowUpPublisher
from stem_amqp.worker.pauses.holding import HoldingQueues

NAMES = Names("stem")
NAME = "stem.zz-paused.orders:work"


async def work():
    """Do nothing."""


class Holding:
    """Holding queues with a fake broker."""

    def __init__(self):
        self.transport = FakeTransport()
        self.declared, self.registered, self.refuse = [], [], None
        self.transport.declare = self._declare
        self.queues = HoldingQueues(self.transport, NAMES, self._register)
        self.publisher = FollowUpPublisher(
            connections(self.transport), NAMES, Persistence(longest_wait=0.01)
        )
        self.definition = TaskDefinition.build("work", work, TaskOptions.build({}), TaskContext)

    async def _declare(self, entities):
        if self.refuse is not None:
            raise self.refuse
        self.declared.append(entities)

    async def _register(self, queue, task):
        self.registered.append((queue, task))

    async def hold(self, headers=None, **fields):
        """Hold one message; return whether it is held."""
        job = read_job(self.definition, headers=headers, **fields)
        delivery = FakeDelivery(content=body(), headers=headers or {}, reply_to="r", priority=3)
        return await self.queues.hold(delivery, job, NOW, self.publisher)


async def test_a_message_keeps_its_body_and_what_its_headers_say():
    """Attempt and due time stay; it is marked as published again; RabbitMQ's own headers are dropped."""
    holding = Holding()
    headers = {ATTEMPT: 2, NOT_BEFORE: "2027-01-15T07:00:00.000Z", "x-death": [], "custom": 1}
    assert await holding.hold(headers)
    (message,) = holding.transport.published
    assert (message.exchange, message.routing_key) == ("stem.zz-paused", NAME)
    assert (message.body, message.reply_to, message.priority) == (body(), "r", 3)
    assert message.headers[ATTEMPT] == 2
    assert message.headers[NOT_BEFORE] == "2027-01-15T07:00:00.000Z"
    assert message.headers["custom"] == 1
    assert SINCE in message.headers
    assert "x-death" not in message.headers


async def test_the_queue_is_declared_and_registered_before_its_first_message():
    holding = Holding()
    assert await holding.hold()
    assert await holding.hold()
    assert holding.declared == [paused_task(NAMES, QUEUE, "work")]
    assert holding.registered == [(QUEUE, "work")]
    assert len(holding.transport.published) == 2


async def test_a_deleted_queue_is_declared_again():
    """The publish is unroutable, and succeeds after that."""
    holding = Holding()
    assert await holding.hold()
    holding.transport.errors = [UnroutableError("no queue")]
    assert await holding.hold()
    assert len(holding.declared) == 2
    assert len(holding.transport.published) == 2


async def test_without_a_permission_the_message_is_not_held(caplog):
    """The broker is not asked again for a while, and the log says what to allow."""
    holding = Holding()
    holding.refuse = BrokerRefusedError("no permission to configure")
    assert not await holding.hold()
    holding.refuse = None
    assert not await holding.hold()
    assert holding.transport.published == []
    assert r"^stem\.zz-paused" in caplog.text


async def test_a_queue_with_other_arguments_is_used_as_it_is():
    holding = Holding()
    holding.refuse = TopologyMismatchError("other arguments")
    assert await holding.hold()
    assert len(holding.transport.published) == 1


def test_a_queue_rejects_into_the_dead_letter_queue_of_its_logical_queue():
    (queue,) = paused_task(NAMES, "orders", "shop.charge").queues
    assert queue.name == "stem.zz-paused.orders:shop.charge"
    assert queue.arguments["x-dead-letter-exchange"] == "stem.dead"
    assert queue.arguments["x-dead-letter-routing-key"] == "orders"
    assert queue.arguments["x-dead-letter-strategy"] == "at-least-once"


@pytest.mark.parametrize("length", [100, 120])
def test_a_name_that_is_too_long_has_a_digest(length):
    """RabbitMQ accepts names of up to 255 bytes; the digest is different for each pair of names."""
    names = Names("n" * length)
    one, other = names.held("q" * 120, "t" * 120), names.held("q" * 120, "t" * 119)
    assert one != other
    assert one.startswith(f"{names.namespace}.zz-paused.")
    assert len(one) <= 255
