"""How long a plan takes on a broker that many others use too."""

import time
import uuid

from stem_amqp import Stem
from stem_amqp.assembly import create_transport, entities_of
from stem_amqp.management import Management
from stem_amqp.provision.inventory import take_inventory
from stem_amqp.provision.plan import make_plan
from stem_amqp.topology.entities import Entities, Queue

QUEUES = 200
LIMIT = 2.0
"""Seconds in which a plan is to be there."""


async def test_a_plan_on_a_broker_with_many_queues_is_there_soon(managed):
    """Beside a namespace stand the queues of others, which are no business of the plan."""
    url, management_url = managed
    app = Stem(broker_url=url, namespace=f"t-{uuid.uuid4().hex[:8]}")
    app.settings = app.settings.replace(management_url=management_url)
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
    entities = entities_of(app)
    try:
        await transport.declare(others)
        await transport.declare(entities)
        started = time.monotonic()
        inventory = await take_inventory(Management.of(app.settings))
        plan = make_plan(entities, inventory, app.names)
        took = time.monotonic() - started
        assert len(inventory.queues) >= QUEUES + len(entities.queues)
        assert plan.nothing_to_do
        assert plan.undeclared == ()
        assert took < LIMIT
    finally:
        await transport.delete(others)
        await transport.delete(entities)
        await transport.close()
