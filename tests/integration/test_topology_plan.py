"""Test plan, apply, prune and verify on a broker with a management API."""

import asyncio
import logging
import sys
import uuid

import pytest
from support import eventually

from stem_amqp import Stem
from stem_amqp.assembly import create_transport
from stem_amqp.errors import ManagementError, TopologyMismatchError
from stem_amqp.management.client import Management
from stem_amqp.provision.change import apply_plan, prune
from stem_amqp.provision.inventory import ask_by_amqp, find_queue, take_inventory
from stem_amqp.provision.migrate import Migrator
from stem_amqp.provision.migration import differences, find_migrations
from stem_amqp.provision.plan import make_plan
from stem_amqp.topology.entities import Binding, Entities, Exchange, Policy, Queue
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.transport.publication import Publication


class Site:
    """An application's topology, and the broker for it."""

    def __init__(self, url, management_url):
        self.app = Stem(broker_url=url, namespace=f"t-{uuid.uuid4().hex[:8]}")
        self.app.reconfigure(management_url=management_url)
        self.management = Management.of(self.app.settings)
        self.transport = create_transport(self.app.settings)
        self.extra = Entities()

    def write(self, text):
        """Write the topology file."""
        self.app.reconfigure(topology=parse_topology("version: 1\n" + text))

    async def plan(self):
        """Return the plan."""
        inventory = await take_inventory(self.management)
        return make_plan(self.entities, inventory, self.app.names)

    async def apply(self):
        """Apply the topology."""
        await apply_plan(await self.plan(), self.entities, self.transport, self.management)

    @property
    def entities(self):
        """The entities of the topology."""
        own = self.app.blueprint.entities
        return Entities(
            exchanges=own.exchanges,
            queues=own.queues,
            bindings=own.bindings,
            policies=(*own.policies, *self.extra.policies),
        )


@pytest.fixture
async def site(managed):
    """Yield a namespace, and delete all of its entities afterwards."""
    site = Site(*managed)
    site.write("queues: {orders: }\n")
    await site.transport.connect()
    yield site
    inventory = await take_inventory(site.management, site.app.names.namespace + ".")
    await site.transport.delete(
        Entities(
            exchanges=tuple(Exchange(name=name, type="topic") for name in inventory.exchanges),
            queues=tuple(Queue(name=name) for name in inventory.queues),
        )
    )
    for policy in inventory.policies:
        if policy.name.startswith(site.app.names.namespace):
            kind = "operator-policies" if policy.operator else "policies"
            await site.management.delete(kind, "/", policy.name)
    await site.transport.close()


async def test_a_plan_is_empty_after_it_was_applied(site):
    """Before, the plan lists everything."""
    before = await site.plan()
    assert len(before.create) == 180
    await site.apply()

    async def applied():
        # RabbitMQ lists queues from a cache, which is older the longer it takes to make a list
        after = await site.plan()
        return after if after.nothing_to_do else None

    after = await eventually(applied, "all that was declared is listed", 60)
    assert (after.same, after.undeclared) == (180, ())
    assert (await ask_by_amqp(site.transport, site.entities)).mismatches == {}


async def test_both_ways_of_asking_see_the_difference(site):
    """The management API reports all arguments, AMQP only the first one."""
    await site.apply()
    site.write("queues: {orders: {max_length: 5, ttl: 1h}}\n")
    (step,) = (await site.plan()).blocked
    assert [one.key for one in step.details] == ["x-max-length", "x-message-ttl"]
    found = await ask_by_amqp(site.transport, site.entities)
    (mismatch,) = found.mismatches.values()
    assert mismatch.argument in {"x-max-length", "x-message-ttl"}
    with pytest.raises(TopologyMismatchError, match="topology migrate -Q orders"):
        await site.apply()


async def test_policies_are_set_and_changed(site):
    """Policies apply at once, and a second plan is empty."""
    name = site.app.names.work("orders")
    pattern = f"^{name.replace('.', '[.]')}$"
    for limit in (1000, 500):
        policy = Policy(name=name, pattern=pattern, definition={"max-length": limit})
        site.extra = Entities(policies=(policy,))
        assert not (await site.plan()).nothing_to_do
        await site.apply()
        assert (await site.plan()).nothing_to_do

        async def in_force(limit=limit):
            found = (await take_inventory(site.management, name)).queues[name]
            return found.effective.get("max-length") == limit

        await eventually(in_force, "the policy", 60)


async def test_a_policy_that_rabbitmq_refuses_says_why(site):
    """The error has the broker's own message."""
    name = site.app.names.work("orders")
    broken = Policy(name=name, pattern="^x$", definition={"no-such-setting": 1})
    site.extra = Entities(policies=(broken,))
    with pytest.raises(ManagementError, match="no-such-setting"):
        await site.apply()


async def test_prune_removes_what_is_empty_and_leaves_what_is_not(site):
    """A queue with a message stays; a stale binding and empty entities are deleted."""
    names = site.app.names
    site.write("queues: {orders: , old: , full: }\n")
    await site.apply()
    old_binding = Binding(source=names.tasks, destination=names.work("orders"), key="stale")
    await site.transport.declare(
        Entities(
            exchanges=(Exchange(name=f"{names.namespace}.side", type="fanout"),),
            bindings=(old_binding,),
        )
    )
    async with site.app as app:
        await app.enqueue("anything", args={}, queue="full")

        async def counted():
            found = (await take_inventory(site.management, names.namespace)).queues
            return all(queue.messages is not None for queue in found.values()) and (
                found[names.work("full")].messages == 1
            )

        await eventually(counted, "the statistics", 60)
    site.write("queues: {orders: }\n")

    async def known():
        found = await site.plan()
        listed = {step.name for step in found.undeclared}
        return found if {names.work("full"), names.work("old")} <= listed else None

    plan = await eventually(known, "all that was declared is listed", 60)
    assert old_binding in [step.entity for step in plan.undeclared]
    left = await prune(plan.undeclared, site.transport, site.management)
    assert [(step.name, why) for step, why in left] == [
        (names.work("full"), "it contains 1 message")
    ]
    after = await site.plan()
    kept = [step.name for step in after.undeclared]
    assert names.work("full") in kept
    assert names.work("old") not in kept
    assert f"{names.namespace}.side" not in kept
    assert old_binding not in [step.entity for step in after.undeclared]


@pytest.fixture
async def untagged(site):
    """Yield name and password of a user with all AMQP permissions and no management tag."""
    name, password = f"{site.app.names.namespace}-user", "pw"
    await site.management.put("users", name, content={"password": password, "tags": ""})
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    await site.management.put("permissions", "/", name, content=rights)
    yield f"{name}:{password}"
    await site.management.delete("users", name)


async def test_prune_by_a_user_whom_the_management_api_refuses(site, managed, untagged, tmp_path):
    """Nothing is applied, and the error says that the user needs a tag."""
    url, management_url = managed
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stem_amqp", "topology", "apply", "--prune", "--yes"),
        cwd=tmp_path,
        env={
            "STEM_BROKER_URL": url.replace("guest:guest", untagged),
            "STEM_MANAGEMENT_URL": management_url,
            "STEM_NAMESPACE": site.app.names.namespace,
            "PATH": "/usr/bin:/bin",
        },
        stderr=asyncio.subprocess.PIPE,
    )
    said = (await process.communicate())[1].decode()
    assert process.returncode == 5
    assert f"refused the user '{untagged.partition(':')[0]}' (401" in said
    assert "the tag 'management'" in said
    assert "does not answer" not in said
    site.write("queues: {}\n")
    assert (await site.plan()).same == 0


def verifying(site, url, text):
    """Return an application that must not declare, with a task and the given topology."""
    stem = Stem(broker_url=url, namespace=site.app.names.namespace)
    stem.reconfigure(
        management_url=site.management.url, provision="verify", backend_url="memory://"
    )
    stem.reconfigure(topology=parse_topology("version: 1\n" + text))

    @stem.task("work", queue="orders")
    async def work() -> None:
        pass

    return stem


async def test_a_worker_that_only_verifies_compares_arguments(site, managed, untagged, caplog):
    """Producers do not compare, nor does a worker whose user the API refuses; none declares."""
    url, _ = managed
    await site.apply()
    before = await take_inventory(site.management, site.app.names.namespace)
    other = "queues: {orders: {single_active_consumer: true}}\n"
    async with verifying(site, url, other) as stem:
        worker = stem.worker()
        with pytest.raises(TopologyMismatchError) as caught:
            async with worker.running():
                pass
    text = str(caught.value)
    name = site.app.names.work("orders")
    assert f"queue {name}: x-single-active-consumer is –, wanted true" in text  # noqa: RUF001
    assert "stem-amqp topology migrate -Q orders" in text
    same = verifying(site, url, "queues: {orders: }\n")
    lowly = verifying(site, url.replace("guest:guest", untagged), other)
    with caplog.at_level(logging.DEBUG, "stem_amqp.provision"):
        for stem in (same, lowly):
            async with stem, stem.worker().running() as worker:
                assert worker.statistics().consuming == ("orders",)
    told = [record.getMessage() for record in caplog.records if "not compared" in record.msg]
    assert len(told) == 1
    assert "refused the user" in told[0]
    after = await take_inventory(site.management, site.app.names.namespace)
    assert after.queues[site.app.names.work("orders")].arguments == (
        before.queues[site.app.names.work("orders")].arguments
    )
    assert after.exchanges.keys() == before.exchanges.keys()


async def test_ten_processes_apply_at_once(site, managed, tmp_path):
    """None of the processes fails, and every entity exists once."""
    (tmp_path / "topology.yaml").write_text("version: 1\nqueues: {orders: , emails: }\n")
    url, management_url = managed
    environment = {
        "STEM_BROKER_URL": url,
        "STEM_MANAGEMENT_URL": management_url,
        "STEM_NAMESPACE": site.app.names.namespace,
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-m", "stem_amqp", "topology", "apply", "topology.yaml"]
    processes = [
        await asyncio.create_subprocess_exec(
            *command,
            cwd=tmp_path,
            env=environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(10)
    ]
    said = [(await process.communicate())[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 10, "\n".join(said)
    site.write("queues: {orders: , emails: }\n")
    assert (await site.plan()).nothing_to_do


async def test_settings_that_are_policies_are_changed_without_a_migration(site):
    """Changing a time to live under ``work`` takes one call, and keeps the queue."""
    name = site.app.names.work("orders")
    for ttl in (3600, 1800):
        site.write(f"settings: policies\nqueues: {{orders: {{ttl: {ttl}s}}}}\n")
        plan = await site.plan()
        assert not plan.blocked
        assert any(
            step.kind == "policy" and step.name == name for step in plan.create + plan.change
        )
        await site.apply()
        assert (await site.plan()).nothing_to_do

        async def in_force(ttl=ttl):
            found = (await take_inventory(site.management, name)).queues[name]
            return (
                found.effective.get("message-ttl") == ttl * 1000
                and found.effective.get("dead-letter-exchange") == site.app.names.dead
            )

        await eventually(in_force, "the policy", 60)


class KilledError(Exception):
    """Ends the tool as if it was killed."""


async def test_a_migrated_queue_lives_by_its_policies_from_its_first_moment(site):
    """They are set before the queue is declared, and those of the old queue are deleted with it."""
    file = "settings: policies\nqueues: {{orders: {{ttl: {}, version: {}}}}}\n"
    names, said = site.app.names, []
    site.write(file.format("1h", 1))
    await site.apply()
    site.write(file.format("300ms", 2))

    async def migrate(die_at):
        def report(text):
            said.append(text)
            if die_at in text:
                raise KilledError

        (migration,) = await find_migrations(site.transport, site.entities)
        tool = Migrator(
            site.transport,
            site.management,
            names,
            report=report,
            timeout=60,
            without_consumers=True,
        )
        told = await differences(site.management, migration)
        assert told == [f"{names.work('orders')} x-message-ttl: 3600000 → 300"]
        await tool.migrate(migration)

    with pytest.raises(KilledError):
        await migrate("the policies of")
    assert await find_queue(site.management, names.work("orders", 2)) is None
    with pytest.raises(KilledError):
        await migrate("is declared")
    task = Publication(exchange="", routing_key=names.work("orders", 2), body=b"late")
    await site.transport.publish(task)

    async def dead_lettered():
        status = (await site.transport.status([names.dlq("orders")]))[names.dlq("orders")]
        return status.ready == 1

    await eventually(dead_lettered, "the new queue's dead letter")
    # the old queue has a policy that is not in the new file
    assert (await site.plan()).undeclared == ()
