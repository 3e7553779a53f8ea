"""Dead-lettering in the in-memory broker: details that only it makes visible at once."""

import asyncio
import logging
import time

import pytest

from stem_amqp.errors import PublishRefusedError
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.transport.memory import ManualClock, MemoryBroker, MemoryTransport
from stem_amqp.transport.publication import Publication

AT_LEAST_ONCE = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": "dead",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}


@pytest.fixture
def clock():
    """Return a clock that stands still."""
    return ManualClock()


@pytest.fixture
async def transport(clock):
    """Yield a transport to a broker of its own."""
    transport = MemoryTransport(MemoryBroker(clock=clock))
    await transport.connect()
    yield transport
    await transport.close()


@pytest.fixture
def declare(transport):
    """Declare queues by name and arguments, and an exchange ``dead``."""

    async def declare(bindings=(), **queues):
        await transport.declare(
            Entities(
                exchanges=(Exchange(name="dead", type="direct"),),
                queues=tuple(Queue(name=name, arguments=args) for name, args in queues.items()),
                bindings=tuple(
                    Binding(source="dead", destination=queue, key=key) for key, queue in bindings
                ),
            )
        )

    return declare


async def send(transport, queue, *bodies, headers=None):
    """Put messages into a queue."""
    for body in bodies:
        await transport.publish(
            Publication(exchange="", routing_key=queue, body=body, headers=headers or {})
        )


async def reject_all(transport, queue):
    """Dead-letter everything in a queue."""
    async with transport.browse(queue) as deliveries:
        async for delivery in deliveries:
            await delivery.reject(requeue=False)


def bodies(transport, queue):
    """Return the bodies of the messages in a queue."""
    return [message.body for message in transport.broker.messages(queue)]


def kept(transport, queue):
    """Return the dead letters that a queue keeps."""
    return [message.body for message in transport.broker.kept_dead_letters(queue)]


async def test_at_least_once_keeps_what_has_no_route(transport, declare):
    """The dead letter is kept, and moves on when a new binding routes it."""
    await declare(work=AT_LEAST_ONCE, dlq={})
    await send(transport, "work", b"1", b"2")
    await reject_all(transport, "work")
    assert kept(transport, "work") == [b"1", b"2"]
    assert bodies(transport, "work") == []
    await declare(bindings=[("work", "dlq")])
    assert kept(transport, "work") == []
    assert bodies(transport, "dlq") == [b"1", b"2"]
    (death,) = transport.broker.messages("dlq")[0].headers["x-death"]
    assert death["count"] == 1


async def test_at_least_once_waits_for_room(transport, declare):
    """A full dead-letter queue that refuses accepts the rest when a message is taken out."""
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    await declare(bindings=[("work", "dlq")], work=AT_LEAST_ONCE, dlq=full)
    await send(transport, "work", b"1", b"2", b"3")
    await reject_all(transport, "work")
    assert bodies(transport, "dlq") == [b"1"]
    inbox = []
    await transport.consume("dlq", inbox.append, prefetch=1, tag="c1")
    for expected in (b"1", b"2", b"3"):
        await eventually_delivered(inbox, expected)
        await inbox.pop().ack()
    assert kept(transport, "work") == []


async def eventually_delivered(inbox, body):
    """Run the event loop until a message has arrived."""
    for _ in range(20):
        if inbox:
            break
        await asyncio.sleep(0)
    assert [delivery.body for delivery in inbox] == [body]


async def test_kept_dead_letters_go_with_their_queue(transport, declare):
    """Deleting a queue deletes its kept dead letters too."""
    await declare(work=AT_LEAST_ONCE, dlq={})
    await send(transport, "work", b"1")
    await reject_all(transport, "work")
    await transport.delete(Entities(queues=(Queue(name="work"),)))
    await declare(bindings=[("work", "dlq")])
    assert bodies(transport, "dlq") == []


async def test_kept_dead_letters_count_towards_the_length(transport, declare):
    """A queue that cannot move its dead letters on fills up and refuses."""
    await declare(work=AT_LEAST_ONCE | {"x-max-length": 2})
    await send(transport, "work", b"1", b"2")
    await reject_all(transport, "work")
    with pytest.raises(PublishRefusedError, match="work"):
        await send(transport, "work", b"3")


@pytest.mark.parametrize(
    "broken",
    [
        {"x-queue-type": "classic"},
        {"x-overflow": "drop-head"},
        {"x-dead-letter-strategy": "at-most-once"},
    ],
)
async def test_at_most_once_loses_what_has_no_route(transport, declare, broken, caplog):
    """If a condition of at-least-once is not met, the loss is logged."""
    await declare(work=AT_LEAST_ONCE | broken)
    await send(transport, "work", b"1")
    with caplog.at_level(logging.WARNING, "stem_amqp.transport.memory"):
        await reject_all(transport, "work")
    assert kept(transport, "work") == []
    assert "lost a dead letter" in caplog.text


def loop_of(first, second, **arguments):
    """Return arguments for two queues that dead-letter into each other."""
    there = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": second}
    back = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": first}
    return {first: there | arguments, second: back | {"x-message-ttl": 1000}}


async def test_a_cycle_without_a_rejection_ends(transport, declare, clock):
    """Two queues whose messages expire into each other drop the message."""
    await declare(**loop_of("work", "retry", **{"x-message-ttl": 1000}))
    await send(transport, "work", b"1")
    clock.advance(1)
    assert bodies(transport, "retry") == [b"1"]
    clock.advance(1)
    assert bodies(transport, "work") == bodies(transport, "retry") == []


async def test_a_cycle_with_a_rejection_continues(transport, declare, clock):
    """A consumer's rejection keeps the message in the cycle, and deaths are counted."""
    await declare(**loop_of("work", "retry"))
    await send(transport, "work", b"1")
    for _ in range(3):
        await reject_all(transport, "work")
        clock.advance(1)
    (message,) = transport.broker.messages("work")
    deaths = {
        (death["queue"], death["reason"]): death["count"] for death in message.headers["x-death"]
    }
    assert deaths == {("retry", "expired"): 3, ("work", "rejected"): 3}
    assert message.headers["x-first-death-queue"] == "work"
    assert message.headers["x-last-death-queue"] == "retry"


async def test_an_at_least_once_cycle_is_kept(transport, declare, clock):
    """The message of such a cycle stays blocked in its queue, as on RabbitMQ."""
    arguments = AT_LEAST_ONCE | {"x-message-ttl": 1000}
    await declare(bindings=[("work", "work")], work=arguments)
    await send(transport, "work", b"1")
    clock.advance(1)
    assert kept(transport, "work") == [b"1"]


async def test_death_records_from_a_client_count_as_the_brokers_own(transport, declare, clock):
    """As before RabbitMQ 4.0, a message with a republished x-death is dropped as a cycle."""
    await declare(
        retry={
            "x-message-ttl": 1000,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": "work",
        },
        work={},
    )
    forged = {"x-death": [{"queue": "work", "reason": "expired", "count": 1}]}
    await send(transport, "retry", b"1", headers=forged)
    clock.advance(1)
    assert bodies(transport, "work") == []


async def test_garbage_in_death_records_is_ignored(transport, declare, clock):
    """Malformed records of a client cause no error."""
    ttl = {"x-message-ttl": 1000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dlq"}
    await declare(work=ttl, dlq={})
    await send(transport, "work", b"1", headers={"x-death": "nonsense"})
    await send(transport, "work", b"2", headers={"x-death": [1, {"queue": "work"}]})
    clock.advance(1)
    assert bodies(transport, "dlq") == [b"1", b"2"]


async def test_a_nack_counts_towards_the_delivery_limit(transport, declare):
    """As before RabbitMQ 4.3, nack with requeue counts like any other return."""
    limited = {"x-dead-letter-exchange": "dead", "x-delivery-limit": 1}
    await declare(bindings=[("work", "dlq")], work=limited, dlq={})
    await send(transport, "work", b"1")
    for _ in range(2):
        async with transport.browse("work") as deliveries:
            await (await anext(deliveries)).nack(requeue=True)
    assert bodies(transport, "dlq") == [b"1"]


async def test_a_returned_message_that_is_overdue_expires(transport, declare, clock):
    """The time with a consumer counts; the message expires without waiting for those behind it."""
    ttl = {"x-message-ttl": 1000, "x-dead-letter-exchange": "dead"}
    await declare(bindings=[("work", "dlq")], work=ttl, dlq={})
    await send(transport, "work", b"1")
    async with transport.browse("work") as deliveries:
        await anext(deliveries)
        clock.advance(0.5)
        await send(transport, "work", b"2")
        clock.advance(0.9)
        assert bodies(transport, "dlq") == []
    clock.advance(0)
    assert bodies(transport, "dlq") == [b"1"]
    clock.advance(0.1)
    assert bodies(transport, "dlq") == [b"1", b"2"]


async def test_what_has_expired_is_never_delivered():
    """This holds even if the event loop was too busy to run the timer in time."""
    transport = MemoryTransport(MemoryBroker())
    await transport.connect()
    arguments = {"x-message-ttl": 10}
    await transport.declare(Entities(queues=(Queue(name="work", arguments=arguments),)))
    await send(transport, "work", b"1")
    inbox = []
    await transport.consume("work", inbox.append, prefetch=1, tag="c1")
    time.sleep(0.02)  # noqa: ASYNC251 - the loop must be blocked here
    for _ in range(5):
        await asyncio.sleep(0)
    assert inbox == []
    assert bodies(transport, "work") == []
    await transport.close()


async def test_a_returned_message_expires_before_those_behind_it(transport, declare, clock):
    """The timer of a later message does not delay an earlier one that was requeued."""
    ttl = {"x-message-ttl": 1000, "x-dead-letter-exchange": "dead"}
    await declare(bindings=[("work", "dlq")], work=ttl, dlq={})
    await send(transport, "work", b"1")
    async with transport.browse("work") as deliveries:
        await anext(deliveries)
        clock.advance(0.9)
        await send(transport, "work", b"2")
    clock.advance(0.1)
    assert bodies(transport, "dlq") == [b"1"]
    clock.advance(0.9)
    assert bodies(transport, "dlq") == [b"1", b"2"]
