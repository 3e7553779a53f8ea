"""Error texts of the broker become typed errors with the object, the event and the remedy."""

import asyncio

import pytest
from aiormq import exceptions

from stem_amqp.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    TopologyMismatchError,
    TopologyMissingError,
)
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.transport.amqp.failures import (
    InterruptedCallError,
    aiormq_call,
    entity_error,
    is_lost,
    reason,
)
from stem_amqp.transport.amqp.single_flight import SingleFlight

NODE_DOWN = (
    "NOT_FOUND - home node 'rabbit@a' of durable queue 'q' in vhost '/' is down or inaccessible"
)
INEQUIVALENT = (
    "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'orders' in vhost '/':"
    " received the value '2000' of type 'signedint' but current is the value '1000' of type 'long'"
)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (
            exceptions.ChannelPreconditionFailed(INEQUIVALENT),
            TopologyMismatchError,
            "queue 'orders'.*x-message-ttl is 1000 on the broker and 2000 in the topology",
        ),
        (
            exceptions.ChannelPreconditionFailed(
                "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'e' in vhost '/':"
                " received 'topic' but current is 'direct'"
            ),
            TopologyMismatchError,
            "exchange 'e'.*type is direct on the broker and topic in the topology",
        ),
        (
            exceptions.ChannelPreconditionFailed(
                "PRECONDITION_FAILED - inequivalent arg 'x-expires' for queue 'q' in vhost '/':"
                " received none but current is the value '9' of type 'long'"
            ),
            TopologyMismatchError,
            "x-expires is 9 on the broker and none in the topology",
        ),
        (
            exceptions.ChannelPreconditionFailed(
                "PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'q' in vhost '/'"
            ),
            TopologyMismatchError,
            "subject: .*invalid arg 'x-max-priority'",
        ),
        (
            exceptions.ChannelNotFoundEntity("NOT_FOUND - no queue 'q' in vhost '/'"),
            TopologyMissingError,
            "topology apply",
        ),
        (
            exceptions.ChannelNotFoundEntity(NODE_DOWN),
            InterruptedCallError,
            "node does not run .* cluster_status",
        ),
        (
            exceptions.ChannelAccessRefused("ACCESS_REFUSED - configure access to queue 'q' refu"),
            BrokerRefusedError,
            "set_permissions",
        ),
        (
            exceptions.ChannelAccessRefused("ACCESS_REFUSED - queue 'q' in exclusive use"),
            BrokerRefusedError,
            "stop that one",
        ),
        (
            exceptions.ChannelLockedResource("RESOURCE_LOCKED - cannot obtain exclusive access"),
            BrokerRefusedError,
            "Another connection",
        ),
        (TimeoutError(), BrokerUnavailableError, "did not answer"),
        (exceptions.ConnectionClosed(320, "CONNECTION_FORCED"), BrokerUnavailableError, "FORCED"),
    ],
)
def test_a_refusal_becomes_a_typed_error(error, kind, words):
    """It says what differs or is missing, and the remedy."""
    found = entity_error(error, "subject")
    with pytest.raises(kind, match=f"(?s){words}"):
        raise found


async def test_a_declaration_is_repeated_while_the_node_of_the_queue_is_down(scripted, connect):
    """RabbitMQ 4 answers so for a moment while another client declares the same queue."""
    scripted.down_for = 3
    transport = await connect()
    await transport.declare(Entities(queues=(Queue(name="q"),)))
    assert [queue for _, queue in scripted.asked] == ["q"] * 4


async def test_a_node_that_stays_down_is_named_as_the_cause(scripted, connect):
    """The attempts end with the time for an answer, and the remedy is not to declare the queue."""
    scripted.down_for = 1000
    transport = await connect(connect_timeout=0.3)
    with pytest.raises(
        BrokerUnavailableError, match=r"(?s)rabbit@a.*its node does not run"
    ) as raised:
        await transport.declare(Entities(queues=(Queue(name="q"),)))
    assert "topology apply" not in str(raised.value)
    assert len(scripted.asked) >= 2


def test_a_reason_is_one_line():
    """RabbitMQ's Erlang terms have line breaks and indentation."""
    text = "INTERNAL_ERROR - failed: {shutdown,\n              delete}"
    assert reason(exceptions.ConnectionInternalError(text)) == (
        "INTERNAL_ERROR - failed: {shutdown, delete}"
    )
    assert reason(None) == reason(asyncio.CancelledError()) == reason(Exception())


def test_a_bare_exception_is_a_lost_connection_and_a_bug_is_not():
    """aiormq raises the base class itself if it knows no reason."""
    assert is_lost(Exception())
    assert is_lost(exceptions.ChannelInvalidStateError())
    assert not is_lost(ValueError("bug"))


@pytest.mark.parametrize("error", [Exception(), asyncio.CancelledError()])
async def test_a_call_that_aiormq_gives_up_is_a_lost_connection(error):
    """A cancellation that no caller requested must not end the task."""
    with pytest.raises(ConnectionResetError), aiormq_call():
        raise error


async def test_a_call_that_the_caller_gives_up_is_cancelled():
    """The two are told apart by who requested the cancellation."""

    async def call():
        with aiormq_call():
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_in_single_flight_outlives_a_cancelled_caller():
    """It is done once, for the other callers too."""
    started, go = [], asyncio.Event()

    async def work():
        started.append(1)
        await go.wait()
        return 42

    flight = SingleFlight(work, name="t")
    first, second = asyncio.create_task(flight()), asyncio.create_task(flight())
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert await second == 42
    assert first.cancelled()
    assert len(started) == 1


async def test_work_in_single_flight_that_is_ended_is_an_error_for_the_waiters():
    """The waiting callers do not take it for their own cancellation."""
    flight = SingleFlight(asyncio.Event().wait, name="t")
    waiting = asyncio.create_task(flight())
    await asyncio.sleep(0)
    await flight.cancel()
    with pytest.raises(BrokerUnavailableError, match="closed"):
        await waiting
