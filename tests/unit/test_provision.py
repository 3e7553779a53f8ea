"""Provisioning without a broker: the time that it tries for, and its messages."""

import asyncio
import logging

import pytest

from stem_amqp.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    TopologyMismatchError,
    TopologyMissingError,
)
from stem_amqp.provision.apply import apply, ensure
from stem_amqp.provision.verify import verify
from stem_amqp.settings import Provision
from stem_amqp.topology.entities import Entities, Exchange, Queue

ENTITIES = Entities(
    exchanges=(Exchange(name="x.tasks", type="topic"), Exchange(name="x.dead", type="direct")),
    queues=(Queue(name="x.orders"), Queue(name="x.orders.dlq")),
)


class Script:
    """A transport that fails a given number of times, and records its calls."""

    def __init__(self, *errors, absent=()):
        self.errors = list(errors)
        self.absent = set(absent)
        self.asked = []
        self.was_asked = asyncio.Event()

    async def declare(self, entities):
        """Declare, or fail if this call has to fail."""
        self._ask("declare")

    async def missing(self, entities):
        """Return what is absent, or fail if this call has to fail."""
        self._ask("missing")
        return [e for e in (*entities.exchanges, *entities.queues) if e.name in self.absent]

    def _ask(self, what):
        self.asked.append(what)
        self.was_asked.set()
        if self.errors:
            raise self.errors.pop(0)


async def test_apply_tries_again_while_the_broker_is_unavailable(caplog):
    """Apply waits for a broker that is restarting, and the log says so."""
    transport = Script(BrokerUnavailableError("connection refused"))
    with caplog.at_level(logging.WARNING, "stem_amqp.provision"):
        await apply(transport, ENTITIES)
    assert transport.asked == ["declare", "declare"]
    assert "could not declare the topology: connection refused; trying again" in caplog.text


async def test_verify_tries_again_while_the_broker_is_unavailable():
    """Verify waits as long as apply."""
    transport = Script(BrokerUnavailableError("connection refused"))
    await verify(transport, ENTITIES)
    assert transport.asked == ["missing", "missing"]


@pytest.mark.parametrize("action", [apply, verify])
async def test_patience_ends_with_the_last_error(action):
    """After the time is over, the original error is raised."""
    transport = Script(*[BrokerUnavailableError("connection refused")] * 99)
    with pytest.raises(BrokerUnavailableError, match="connection refused"):
        await action(transport, ENTITIES, wait=0)
    assert len(transport.asked) == 1


@pytest.mark.parametrize("error", [TopologyMismatchError("differs"), BrokerRefusedError("denied")])
async def test_a_permanent_error_is_raised_at_once(error):
    """A mismatch or a missing permission is not solved by waiting."""
    transport = Script(error)
    with pytest.raises(type(error)):
        await apply(transport, ENTITIES)
    assert transport.asked == ["declare"]


async def test_a_cancelled_apply_ends_at_once():
    """A shutdown does not wait for the time to be over."""
    transport = Script(*[BrokerUnavailableError("connection refused")] * 99)
    task = asyncio.create_task(apply(transport, ENTITIES))
    async with asyncio.timeout(60):
        await transport.was_asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_verify_lists_everything_that_is_missing():
    """The message names each exchange and queue, and the command that declares them."""
    transport = Script(absent=["x.dead", "x.orders", "x.orders.dlq"])
    with pytest.raises(TopologyMissingError) as caught:
        await verify(transport, ENTITIES)
    assert str(caught.value) == (
        "the topology is not on the broker: 3 of 4 exchanges and queues are missing.\n"
        "  exchanges: x.dead\n"
        "  queues: x.orders, x.orders.dlq\n"
        "  Declare them with: stem-amqp topology apply (or set STEM_PROVISION=apply)."
    )


@pytest.mark.parametrize(
    ("mode", "asked"),
    [(Provision.APPLY, ["declare"]), (Provision.VERIFY, ["missing"]), (Provision.NONE, [])],
)
async def test_ensure_does_what_the_setting_says(mode, asked):
    """Apply declares, verify only checks, and none sends no request."""
    transport = Script()
    await ensure(mode, transport, ENTITIES)
    assert transport.asked == asked
