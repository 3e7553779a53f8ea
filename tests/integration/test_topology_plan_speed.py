"""Test the cost of a plan on a broker that many other applications use."""

import uuid

from support import eventually

from stem_amqp import Stem
from stem_amqp.assembly import create_transport
from stem_amqp.management.client import Management
from stem_amqp.management.http import exchange
from stem_amqp.provision.inventory import take_inventory
from stem_amqp.provision.plan import make_plan
from stem_amqp.topology.entities import Entities, Queue

QUEUES = 200
REQUESTS = 12
"""Maximum requests to the management API for a plan."""


async def test_a_plan_on_a_broker_with_many_queues_asks_few_times(managed, monkeypatch):
    """The plan ignores the queues of other namespaces, and asks for none one by one."""
    asked = []

    def noted(*args, **options):
        asked.append(args)
        return exchange(*args, **options)

    monkeypatch.setattr("stem_amqp.management.client.exchange", noted)
    url, management_url = managed
    app = Stem(broker_url=url, namespace=f"t-{uuid.uuid4().hex[:8]}")
    app.reconfigure(management_url=management_url)
    others = Entities(
        queues=tuple(
            Queue(
                name=f"{app.names.namespace}-other.{number}",
                arguments={"x-queue-type": "classic"},
            )
            for number in range(QUEUES)
        )
    )
    transport = create_transport(app.settings)
    await transport.connect()
    entities = app.blueprint.entities
    try:
        await transport.declare(others)
        await transport.declare(entities)

        async def listed():
            # RabbitMQ lists queues from a cache, which is older the longer it takes to make a list
            asked.clear()
            found = await take_inventory(Management.of(app.settings))
            complete = make_plan(entities, found, app.names).nothing_to_do
            return found if complete and len(found.queues) >= total else None

        total = QUEUES + len(entities.queues)
        inventory = await eventually(listed, "all that was declared is listed")
        plan = make_plan(entities, inventory, app.names)
        assert plan.nothing_to_do
        assert plan.undeclared == ()
        assert 0 < len(asked) <= REQUESTS
    finally:
        await transport.delete(others)
        await transport.delete(entities)
        await transport.close()
