"""Migration of a queue that uses policies: they are set before the queue is declared."""

import uuid

import pytest

from stem_amqp.cli.topology.migrate import steps_of
from stem_amqp.errors import ManagementError
from stem_amqp.provision.migrate import Migrator
from stem_amqp.provision.migration import find_migrations
from stem_amqp.topology.compile import compile_topology
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.topology.names import Names
from stem_amqp.transport.memory import MemoryTransport

NAMES = Names("stem")


def compiled(text):
    """Return a compiled topology whose settings are policies."""
    return compile_topology(parse_topology("version: 1\nsettings: policies\n" + text), NAMES)


class Api:
    """A management API that stores policies and records the order of the calls."""

    virtual_host = "/"

    def __init__(self, done):
        self.done = done
        self.there = {}

    async def put(self, kind, host, name, content):
        """Set a policy."""
        self.done.append(f"set {name}")
        self.there[name] = {"name": name, **content}

    async def get(self, kind, *path):
        """Return the policies; no queue has bindings of others."""
        return list(self.there.values()) if kind == "policies" else []

    async def delete(self, kind, host, name):
        """Delete a policy."""
        self.done.append(f"delete the policy {name}")
        del self.there[name]


@pytest.fixture
async def transport():
    """Yield an in-memory broker with the first version of the topology."""
    transport = MemoryTransport.from_url(f"memory://{uuid.uuid4().hex}", publish_timeout=5)
    await transport.connect()
    await transport.declare(compiled("queues: {orders: {ttl: 1h}}"))
    yield transport
    await transport.close()


async def migration_of(transport):
    """Return the plan of the migration."""
    new = compiled("queues: {orders: {ttl: 2h, version: 2}}")
    (found,) = await find_migrations(transport, new)
    return found


async def test_the_policies_are_set_before_the_queue_is_declared(transport, monkeypatch):
    """Without them it would drop its failed messages, and keep those that are too old."""
    done = []
    declare = transport.declare

    async def told(entities):
        done.extend(f"declare {queue.name}" for queue in entities.queues)
        await declare(entities)

    monkeypatch.setattr(transport, "declare", told)
    found = await migration_of(transport)
    assert [policy.pattern for policy in found.policies] == [r"^stem\.orders\.v2$"]
    assert found.policies[0].definition["message-ttl"] == 7200_000
    assert found.policies[0].definition["dead-letter-exchange"] == "stem.dead"
    done.clear()
    tool = Migrator(transport, Api(done), NAMES, report=done.append, timeout=0)
    with pytest.raises(Exception, match="no worker consumes"):
        await tool.migrate(found)
    assert done[:3] == [
        "set stem.orders.v2",
        "the policies of stem.orders.v2 are set",
        "declare stem.orders.v2",
    ]


async def test_a_dry_run_says_that_the_policies_come_first(transport):
    """It also says that the old policy is deleted with its queue."""
    steps = steps_of(await migration_of(transport), idle=False)
    assert steps[0].startswith("set the policy stem.orders.v2, ")
    assert steps[1] == "declare stem.orders.v2"
    assert steps[-1] == "delete stem.orders and its policy stem.orders"


async def test_without_the_management_api_nothing_is_done(transport):
    """The policies cannot be set, so the queue is not declared either."""
    tool = Migrator(transport, None, NAMES, report=print, timeout=0)
    with pytest.raises(ManagementError, match="nothing was done"):
        await tool.migrate(await migration_of(transport))
    assert (await transport.status(["stem.orders.v2"]))["stem.orders.v2"] is None


async def test_a_queue_whose_settings_are_arguments_needs_no_policies(transport):
    """The queue's arguments are in force from its declaration on."""
    text = "version: 1\nqueues: {orders: {version: 2, dead_letter: {version: 2}}}"
    entities = compile_topology(parse_topology(text), NAMES)
    found = await find_migrations(transport, entities)
    assert [one.policies for one in found] == [(), ()]
    assert [one.own_policy("stem.orders") for one in found] == [None, None]
