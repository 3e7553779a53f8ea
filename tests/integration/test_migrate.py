"""Test the migration of a queue step by step, and its interruption at every step."""

import uuid

import pytest
from support import eventually

from stem_amqp.dead_letter.browse import DeadLetterQueue
from stem_amqp.errors import ConfigurationError, MigrationTimeoutError, TopologyMissingError
from stem_amqp.management.client import Management
from stem_amqp.provision.apply import apply
from stem_amqp.provision.migrate import Migrator
from stem_amqp.provision.migration import differences, find_migrations
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.topology.model import Topology


class KilledError(Exception):
    """Ends the tool as if it was killed."""


def topology(version=1, kind="classic", **queue):
    """Return a topology whose queue q has a version."""
    return Topology.model_validate(
        {"version": 1, "queues": {"q": {"version": version, "type": kind, **queue}}}
    )


class Case:
    """The applications before and after the change, and the tool."""

    def __init__(self, old, new, management=None):
        self.old, self.new, self.management = old, new, management
        self.said = []

    @property
    def transport(self):
        """The tool's connection."""
        return self.new.connected.transport

    async def migrations(self, *queues, topology=None):
        """Return the pending migrations to the application's topology, or to a given one."""
        blueprint = self.new.blueprint
        if topology is not None:
            blueprint = blueprint.replace(topology=topology)
        return await find_migrations(self.transport, blueprint.entities, queues)

    async def migrate(self, die_at=None, timeout=60, **options):
        """Run the tool, and end it at a message that contains a text."""

        def report(text):
            self.said.append(text)
            if die_at is not None and die_at in text:
                raise KilledError

        (migration,) = await self.migrations("q")
        tool = Migrator(
            self.transport,
            self.management,
            self.new.names,
            report=report,
            timeout=timeout,
            **{"without_consumers": True, **options},
        )
        return await tool.migrate(migration)

    async def ready(self, version):
        """Return the number of ready tasks in a version; None if its queue does not exist."""
        name = self.new.names.work("q", version)
        found = (await self.transport.status([name]))[name]
        return None if found is None else found.ready

    async def contents(self, version):
        """Return the bodies, ids and headers of the messages in a version."""
        async with self.transport.browse(self.new.names.work("q", version)) as deliveries:
            return [(d.body, d.correlation_id, dict(d.headers)) async for d in deliveries]


@pytest.fixture
async def applications(make_stem):
    """Yield the application before and after the change; the earlier topology is declared."""
    backend = f"memory://{uuid.uuid4().hex}"

    def make(**values):
        stem = make_stem(topology=topology(**values), backend_url=backend)

        @stem.task("t", queue="q")
        async def t(number: int) -> int:
            return number

        return stem

    old, new = make(), make(version=2, kind="quorum")
    async with old:
        await apply(old.connected.transport, old.blueprint.entities)
        new.reconfigure(provision="none")
        async with new:
            yield old, new
            versions = tuple(Queue(name=name) for name in new.names.works("q", 1).values())
            await new.connected.transport.delete(Entities(queues=versions))


@pytest.fixture
async def case(applications):
    """Return both applications, and a tool without the management API."""
    return Case(*applications)


@pytest.fixture
def management(stem_broker, stem_broker_url, broker_url, applications):
    """Return the management API of the broker."""
    if stem_broker.management_url is None:
        pytest.skip("the broker has no management API")
    _, new = applications
    url = stem_broker.management_url
    return Management.of(new.settings.replace(management_url=url))


@pytest.fixture
def managed(applications, management):
    """Return both applications, and a tool with the management API."""
    return Case(*applications, management)


async def test_messages_without_a_consumer_are_moved_unchanged(case):
    """Bodies, ids and headers do not change, and no message stays in the old queue."""
    for number in range(5):
        await case.old.enqueue("t", {"number": number})
    before = await case.contents(1)
    account = await case.migrate()
    assert (account.moved, account.resumed) == (5, False)
    assert [body for body, _, _ in await case.contents(2)] == [body for body, _, _ in before]
    assert [task for _, task, _ in await case.contents(2)] == [task for _, task, _ in before]
    assert await case.ready(1) == 0


async def test_looks_that_follow_each_other_at_once_see_the_same_messages(case):
    """The count of a quorum queue can lack messages that were just returned by browsing."""
    for number in range(150):
        await case.old.enqueue("t", {"number": number})
    await case.migrate()
    assert [len(await case.contents(2)) for _ in range(10)] == [150] * 10


async def test_without_the_management_api_the_old_queue_is_left_and_the_account_says_so(case):
    """The old queue is kept: a worker may still have its tasks, and deleting it would lose them."""
    account = await case.migrate()
    assert "without the management API" in account.left
    assert await case.ready(1) == 0
    await case.old.enqueue("t", {"number": 1})
    assert (await case.ready(1), await case.ready(2)) == (0, 1)


@pytest.mark.parametrize("step", ["is declared", "switched", ": 3 ready"])
async def test_a_tool_that_ends_at_any_step_continues_there(case, step):
    """The tool needs only the state of the broker."""
    for number in range(3):
        await case.old.enqueue("t", {"number": number})
    with pytest.raises(KilledError):
        await case.migrate(die_at=step)
    await case.old.enqueue("t", {"number": 3})
    await case.migrate()
    assert await case.ready(1) == 0
    assert len({task for _, task, _ in await case.contents(2)}) == 4


async def test_nothing_is_switched_while_no_worker_consumes_the_new_version(case):
    """The tasks would not be consumed."""
    with pytest.raises(MigrationTimeoutError, match="--without-consumers"):
        await case.migrate(timeout=0, without_consumers=False)
    await case.old.enqueue("t", {"number": 1})
    assert (await case.ready(1), await case.ready(2)) == (1, 0)


async def test_workers_drain_the_old_queue_and_go_on_with_the_new_one(case):
    """The tool waits for the workers; every task runs once."""
    tasks = [await case.old.enqueue("t", {"number": number}) for number in range(20)]
    await apply(case.transport, case.new.blueprint.entities)
    async with case.new.worker(["q"]).running() as worker:
        account = await case.migrate(without_consumers=False)
        tasks.append(await case.old.enqueue("t", {"number": 20}))
        assert [await case.new.handle(task.id).result(timeout=60) for task in tasks] == [*range(21)]
        await eventually(lambda: worker.statistics().done == 21)
    assert account.moved == 0


async def test_a_queue_that_differs_without_a_new_version_is_an_error_with_the_line(case):
    """A changed argument alone cannot be migrated: the new queue needs another name."""
    with pytest.raises(ConfigurationError, match=r" x-.*\n.*\{q: \{version: 2\}\}"):
        await case.migrations(topology=topology(kind="quorum"))


async def test_there_is_nothing_to_migrate_where_versions_agree(case):
    """The search for migrations can be repeated."""
    assert await case.migrations(topology=topology()) == []


async def test_a_queue_that_does_not_exist_cannot_be_migrated(case):
    """The error names the command that declares it."""
    await case.transport.delete(Entities(queues=(Queue(name=case.new.names.work("q")),)))
    with pytest.raises(TopologyMissingError, match="topology apply"):
        await case.migrations("q")


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
async def test_differences_are_shown_before_anything_is_done(managed):
    """The tool names both values of each argument."""
    (migration,) = await managed.migrations("q")
    name = managed.new.names.work("q")
    found = await differences(managed.management, migration)
    assert f"{name} x-queue-type: classic → quorum" in found
    assert f"{name} x-delivery-limit: not set → 100" in found


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
async def test_both_bound_is_finished_first_and_said(managed):
    """Both queues are bound if a tool is killed between binding and unbinding."""
    (migration,) = await managed.migrations("q")
    await managed.transport.declare(Entities(queues=(migration.new,), bindings=migration.bindings))
    await managed.old.enqueue("t", {"number": 1})
    assert (await managed.ready(1), await managed.ready(2)) == (1, 1)
    with pytest.raises(KilledError):
        await managed.migrate(die_at="switched", without_consumers=False)
    assert any("were both bound" in text for text in managed.said)
    await managed.old.enqueue("t", {"number": 2})
    assert (await managed.ready(1), await managed.ready(2)) == (1, 2)


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
async def test_a_binding_made_by_hand_comes_along(managed):
    """A publisher to that exchange notices no change."""
    source = Exchange(name=f"{managed.new.names.namespace}.shop", type="fanout")
    by_hand = Binding(source=source.name, destination=managed.new.names.work("q"))
    await managed.transport.declare(Entities(exchanges=(source,), bindings=(by_hand,)))
    try:
        with pytest.raises(KilledError):
            await managed.migrate(die_at="switched 3 bindings")
        found = await managed.management.get(
            "queues", "/", managed.new.names.work("q", 2), "bindings"
        )
        assert source.name in {one["source"] for one in found}
    finally:
        await managed.transport.delete(Entities(exchanges=(source,)))


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
async def test_a_late_binding_of_the_old_queue_is_corrected(managed):
    """The process started before the new version was declared, and bound after the switch."""
    with pytest.raises(KilledError):
        await managed.migrate(die_at="switched")
    await managed.transport.declare(managed.old.blueprint.entities)
    with pytest.raises(KilledError):
        await managed.migrate(die_at="switched")
    await managed.old.enqueue("t", {"number": 1})
    assert (await managed.ready(1), await managed.ready(2)) == (0, 1)


async def test_dead_letters_are_moved_with_their_reasons(make_stem):
    """RabbitMQ's records of the reasons are kept, since moving does not dead-letter again."""
    limits = [{"max_length": 50}, {"max_length": 60, "version": 2}]
    backend = f"memory://{uuid.uuid4().hex}"
    old, new = (
        make_stem(topology=topology(dead_letter=one), backend_url=backend) for one in limits
    )
    new.reconfigure(provision="none")
    async with old, new:
        for number in range(3):
            await old.enqueue("t", {"number": number}, queue="q")
        async with old.connected.transport.browse(old.names.work("q")) as deliveries:
            async for delivery in deliveries:
                await delivery.reject(requeue=False)

        async def dead():
            return await DeadLetterQueue(old, "q").count() == 3

        await eventually(dead)
        before = [letter.reason async for letter in letters(old)]
        (migration,) = await find_migrations(new.connected.transport, new.blueprint.entities, ["q"])
        assert migration.new.title == "dead-letter queue q"
        tool = Migrator(
            new.connected.transport, None, new.names, report=lambda text: None, timeout=60
        )
        account = await tool.migrate(migration)
        assert account.moved == 3
        assert [letter.reason async for letter in letters(new)] == before == ["rejected"] * 3
        await new.connected.transport.delete(
            Entities(queues=tuple(Queue(name=old.names.dlq("q", one)) for one in (1, 2)))
        )


async def letters(stem):
    """Return the dead letters of a queue."""
    async with DeadLetterQueue(stem, "q").browse() as look:
        async for _, letter in look:
            yield letter
