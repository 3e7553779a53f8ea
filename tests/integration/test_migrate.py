"""A queue's migration, step by step, interrupted where it hurts most."""

import uuid

import pytest
from support import eventually

from stem_amqp.assembly import entities_of
from stem_amqp.dead_letter.browse import DeadLetterQueue
from stem_amqp.errors import ConfigurationError, MigrationTimeoutError, TopologyMissingError
from stem_amqp.management import Management
from stem_amqp.provision import apply
from stem_amqp.provision.migrate import Migrator
from stem_amqp.provision.migration import differences, find_migrations
from stem_amqp.topology.entities import Binding, Entities, Exchange, Queue
from stem_amqp.topology.model import Topology


class KilledError(Exception):
    """The tool ends here, as if it had been killed."""


def topology(version=1, kind="classic", **queue):
    """Return a topology whose queue q has a version."""
    return Topology.model_validate(
        {"version": 1, "queues": {"q": {"version": version, "type": kind, **queue}}}
    )


class Case:
    """The applications before and after the change, and the tool between them."""

    def __init__(self, old, new, management=None):
        self.old, self.new, self.management = old, new, management
        self.said = []

    @property
    def transport(self):
        """The connection of the tool."""
        return self.new.connected.transport

    async def migrations(self, *queues):
        """Find what there is to migrate."""
        return await find_migrations(self.transport, entities_of(self.new), queues)

    async def migrate(self, die_at=None, timeout=30, **options):
        """Run the tool, and let it end where it says something."""

        def tell(text):
            self.said.append(text)
            if die_at is not None and die_at in text:
                raise KilledError

        (migration,) = await self.migrations("q")
        tool = Migrator(
            self.transport,
            self.management,
            self.new.names,
            tell=tell,
            timeout=timeout,
            **{"without_consumers": True, **options},
        )
        return await tool.migrate(migration)

    async def ready(self, version):
        """Return how many tasks wait in a version; None if it is not there."""
        name = self.new.names.work("q", version)
        found = (await self.transport.status([name]))[name]
        return None if found is None else found.ready

    async def contents(self, version):
        """Return the bodies, ids and headers in a version."""
        async with self.transport.browse(self.new.names.work("q", version)) as deliveries:
            return [(d.body, d.correlation_id, dict(d.headers)) async for d in deliveries]


@pytest.fixture
async def applications(make_stem):
    """The application before and after the change; the earlier one has declared its topology."""
    backend = f"memory://{uuid.uuid4().hex}"

    def make(**values):
        stem = make_stem(topology=topology(**values), backend_url=backend)

        @stem.task("t", queue="q")
        async def t(number: int) -> int:
            return number

        return stem

    old, new = make(), make(version=2, kind="quorum")
    async with old:
        await apply(old.connected.transport, entities_of(old))
        new.settings = new.settings.replace(provision="none")
        async with new:
            yield old, new
            versions = tuple(Queue(name=name) for name in new.names.works("q", 1).values())
            await new.connected.transport.delete(Entities(queues=versions))


@pytest.fixture
async def case(applications):
    """Both applications, and a tool that knows no management API."""
    return Case(*applications)


@pytest.fixture
def management(stem_broker, stem_broker_url, broker_url, applications):
    """The management API of the broker."""
    if stem_broker.management_url is None:
        pytest.skip("the broker has no management API")
    _, new = applications
    url = stem_broker.management_url
    return Management.of(new.settings.replace(management_url=url))


@pytest.fixture
def managed(applications, management):
    """Both applications, and a tool that knows the management API."""
    return Case(*applications, management)


async def test_messages_that_nobody_consumes_are_moved_as_they_are(case):
    """Bodies, ids and headers stay, and nothing is left behind."""
    for number in range(5):
        await case.old.enqueue("t", {"number": number})
    before = await case.contents(1)
    account = await case.migrate()
    assert (account.moved, account.resumed) == (5, False)
    assert [body for body, _, _ in await case.contents(2)] == [body for body, _, _ in before]
    assert [task for _, task, _ in await case.contents(2)] == [task for _, task, _ in before]
    assert await case.ready(1) == 0


async def test_without_the_management_api_the_old_queue_is_left_and_the_account_says_so(case):
    """Nobody knows whether a worker still has tasks of it, and deleting it would lose them."""
    account = await case.migrate()
    assert "without the management API" in account.left
    assert await case.ready(1) == 0
    await case.old.enqueue("t", {"number": 1})
    assert (await case.ready(1), await case.ready(2)) == (0, 1)


@pytest.mark.parametrize("step", ["is declared", "switched", ": 3 ready"])
async def test_a_tool_that_ends_at_any_step_goes_on_where_it_was(case, step):
    """What is on the broker is all it needs to know."""
    for number in range(3):
        await case.old.enqueue("t", {"number": number})
    with pytest.raises(KilledError):
        await case.migrate(die_at=step)
    await case.old.enqueue("t", {"number": 3})
    await case.migrate()
    assert await case.ready(1) == 0
    assert len({task for _, task, _ in await case.contents(2)}) == 4


async def test_nothing_is_switched_while_no_worker_consumes_the_new_version(case):
    """Tasks would wait there for nobody."""
    with pytest.raises(MigrationTimeoutError, match="--without-consumers"):
        await case.migrate(timeout=0, without_consumers=False)
    await case.old.enqueue("t", {"number": 1})
    assert (await case.ready(1), await case.ready(2)) == (1, 0)


async def test_workers_drain_the_old_queue_and_go_on_with_the_new_one(case):
    """The tool waits for them; no task is run twice or not at all."""
    tasks = [await case.old.enqueue("t", {"number": number}) for number in range(20)]
    await apply(case.transport, entities_of(case.new))
    async with case.new.worker(["q"]).running() as worker:
        account = await case.migrate(without_consumers=False)
        tasks.append(await case.old.enqueue("t", {"number": 20}))
        assert [await case.new.handle(task.id).result(timeout=10) for task in tasks] == [*range(21)]
        await eventually(lambda: worker.statistics().done == 21)
    assert account.moved == 0


async def test_a_queue_that_differs_without_a_new_version_is_an_error_with_the_line(case):
    """A changed argument alone cannot be migrated: the new queue needs a name."""
    case.new.topology = topology(kind="quorum")
    with pytest.raises(ConfigurationError, match=r" x-.*\n.*\{q: \{version: 2\}\}"):
        await case.migrations()


async def test_there_is_nothing_to_migrate_where_versions_agree(case):
    """It can be asked again and again."""
    case.new.topology = topology()
    assert await case.migrations() == []


async def test_a_queue_that_is_not_there_cannot_be_migrated(case):
    """The message says how to have it."""
    await case.transport.delete(Entities(queues=(Queue(name=case.new.names.work("q")),)))
    with pytest.raises(TopologyMissingError, match="topology apply"):
        await case.migrations("q")


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
async def test_differences_are_told_before_anything_is_done(managed):
    """Both values of each argument."""
    (migration,) = await managed.migrations("q")
    name = managed.new.names.work("q")
    found = await differences(managed.management, migration)
    assert f"{name} x-queue-type: classic → quorum" in found
    assert f"{name} x-delivery-limit: not set → 100" in found


@pytest.mark.parametrize("broker_url", ["rabbitmq"], indirect=True)
async def test_both_bound_is_finished_first_and_said(managed):
    """So a tool leaves it that is killed between binding and unbinding."""
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
    """Whoever publishes through it sees no change."""
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
async def test_a_process_that_binds_the_old_queue_late_is_put_right(managed):
    """It looked before the new version was there, and bound after the switch."""
    with pytest.raises(KilledError):
        await managed.migrate(die_at="switched")
    await managed.transport.declare(entities_of(managed.old))
    with pytest.raises(KilledError):
        await managed.migrate(die_at="switched")
    await managed.old.enqueue("t", {"number": 1})
    assert (await managed.ready(1), await managed.ready(2)) == (0, 1)


async def test_dead_letters_are_moved_with_their_reasons(make_stem):
    """RabbitMQ's own records say why, and are kept: nothing dead-letters them again."""
    limits = [{"max_length": 50}, {"max_length": 60, "version": 2}]
    backend = f"memory://{uuid.uuid4().hex}"
    old, new = (
        make_stem(topology=topology(dead_letter=one), backend_url=backend) for one in limits
    )
    new.settings = new.settings.replace(provision="none")
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
        (migration,) = await find_migrations(new.connected.transport, entities_of(new), ["q"])
        assert migration.new.title == "dead-letter queue q"
        tool = Migrator(
            new.connected.transport, None, new.names, tell=lambda text: None, timeout=30
        )
        account = await tool.migrate(migration)
        assert account.moved == 3
        assert [letter.reason async for letter in letters(new)] == before == ["rejected"] * 3
        await new.connected.transport.delete(
            Entities(queues=tuple(Queue(name=old.names.dlq("q", one)) for one in (1, 2)))
        )


async def letters(stem):
    """Look through the dead letters of a queue."""
    async with DeadLetterQueue(stem, "q").look() as look:
        async for _, letter in look:
            yield letter
