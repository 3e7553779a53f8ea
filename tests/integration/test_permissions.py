"""Test the documented users: each can do its work, and nothing else."""

import asyncio
import base64
import json
import re
import secrets
import shlex
import urllib.request
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support import eventually

from stem_amqp import Stem
from stem_amqp.dead_letter import DeadLetters, Selection
from stem_amqp.errors import BrokerRefusedError
from stem_amqp.observability.registry.listing import list_workers
from stem_amqp.states import TaskState
from stem_amqp.topology.entities import Entities, Queue
from stem_amqp.topology.paused_tasks import paused_task
from stem_amqp.transport.publication import Publication
from stem_amqp.worker.follow_up import persist

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
FAST = {"base": "100ms", "jitter": 0, "max": "100ms"}


class Administration:
    """The management API of a broker, for the three documented commands.

    Args:
        url: the broker's AMQP URL, with the administrator's user and password.
        management_url: the URL of its management API.
    """

    def __init__(self, url, management_url):
        self.url = url
        self._api = f"{management_url}/api"
        where = urlsplit(url)
        login = base64.b64encode(f"{where.username}:{where.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}

    def _ask(self, method, path, document=None):
        body = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(
            f"{self._api}/{path}", data=body, headers=self._headers, method=method
        )
        with urllib.request.urlopen(request, timeout=60):
            pass

    def add_user(self, name, password):
        self._ask("PUT", f"users/{name}", {"password": password, "tags": ""})

    def delete_user(self, name):
        self._ask("DELETE", f"users/{name}")

    def set_permissions(self, name, configure, write, read):
        document = {"configure": configure, "write": write, "read": read}
        self._ask("PUT", f"permissions/%2F/{name}", document)

    def set_topic_permissions(self, name, exchange, write, read):
        # newer management APIs set topic permissions only for existing exchanges
        self._ask("PUT", f"exchanges/%2F/{exchange}", {"type": "topic", "durable": True})
        document = {"exchange": exchange, "write": write, "read": read}
        self._ask("PUT", f"topic-permissions/%2F/{name}", document)


@pytest.fixture(scope="module")
def administration(managed):
    """Return the administration of a broker on which users may be created."""
    return Administration(*managed)


@pytest.fixture(scope="module")
def documented():
    """Return the documentation's lines that set permissions: command, user and arguments."""
    lines = re.findall(r"^rabbitmqctl (set\w+) -p / (.+)$", PAGE.read_text(), re.MULTILINE)
    return [(command, *shlex.split(rest)) for command, rest in lines]


@pytest.fixture(scope="module")
def users(documented, administration):
    """Yield the documented users, created for a namespace of this module, and delete them."""
    mark = uuid.uuid4().hex[:8]
    made = {}
    try:
        for command, user, *patterns in documented:
            name = f"{user}-{mark}"
            if user not in made:
                made[user] = (name, secrets.token_urlsafe())
                administration.add_user(*made[user])
            own = [pattern.replace("stem", f"p-{mark}") for pattern in patterns]
            getattr(administration, command)(name, *own)
        yield mark, made
    finally:
        for name, _ in made.values():
            administration.delete_user(name)


def define_tasks(stem):
    """Add tasks to an application: one fails, retries and enqueues, one is in another queue."""

    @stem.task("work", queue="orders", max_retries=1, retry=FAST)
    async def work(number: int = 0) -> int:
        if number < 0:
            raise ValueError("no")
        if number:
            await work.options(ignore_result=True).enqueue(0)
        return number

    @stem.task("mail", queue="emails")
    async def mail() -> None:
        """Do nothing."""


@pytest.fixture(scope="module")
def as_user(users, administration):
    """Yield a function that makes applications that log in as a documented user.

    The user ``provisioner`` deploys the users' namespace, the administrator another one.
    """
    mark, made = users
    where = urlsplit(administration.url)

    def make(user=None, *, namespace=f"p-{mark}", backend_url="memory://p", provision="none"):
        url = administration.url
        if user is not None:
            name, password = made[user]
            url = where._replace(netloc=f"{name}:{password}@{where.hostname}:{where.port or 5672}")
            url = url.geturl()
        stem = Stem(broker_url=url, namespace=namespace, backend_url=backend_url)
        stem.reconfigure(provision=provision)

        define_tasks(stem)
        return stem

    deployed = [
        make("provisioner", provision="apply"),
        make(namespace=f"other-{mark}", provision="apply"),
    ]

    async def deploy():
        for stem in deployed:
            async with stem:
                pass

    async def remove():
        for stem in deployed:
            async with stem:
                await stem.connected.transport.delete(stem.blueprint.entities)

    asyncio.run(deploy())
    yield make
    asyncio.run(remove())


async def dead(letters, task_id):
    """Wait for the dead letter of a task, and return it."""

    async def look():
        return await letters.list(Selection(ids=frozenset({task_id})))

    (letter,) = await eventually(look)
    return letter


async def test_every_role_can_do_its_work(as_user):
    """Deploy, enqueue, run, retry, dead-letter, list, replay, purge and revoke work."""
    producer = as_user("producer", backend_url="rpc://")
    worker = as_user("rpc-worker", backend_url="rpc://")
    operator = as_user("operator")
    async with worker, producer, operator, worker.worker().running():
        handle = await producer.enqueue("work", {"number": 1})
        assert await handle.result(timeout=60) == 1
        later = await producer.enqueue("work", {"number": 2}, delay=0.2)
        assert await later.result(timeout=60) == 2
        failing = await producer.enqueue("work", {"number": -1})
        letters, chosen = DeadLetters(operator, "orders"), Selection(ids=frozenset({failing.id}))
        assert (await dead(letters, failing.id)).attempt == 1
        assert (await letters.replay(chosen)).replayed == 1
        assert (await dead(letters, failing.id)).replays == 1
        assert await letters.purge(chosen) == 1
        assert (await operator.revoke(failing.id)).heard
        assert (await operator.revoke_all(task="w*", queue="emails")).heard


async def test_a_worker_with_another_backend_needs_no_default_exchange(as_user):
    """The stricter of the two patterns for workers suffices."""
    producer, worker, operator = as_user("producer"), as_user("worker"), as_user("operator")
    async with worker, producer, operator, worker.worker().running():
        await producer.enqueue("work", {"number": 1})
        failing = await producer.enqueue("work", {"number": -1})
        letter = await dead(DeadLetters(operator, "orders"), failing.id)
        assert (letter.reason, letter.attempt) == ("retries-exhausted", 1)


@pytest.mark.parametrize("role", ["worker", "rpc-worker"])
async def test_an_operator_lists_workers_and_follows_events(as_user, role, caplog):
    """A worker that may not use the default exchange answers with a heartbeat."""
    worker, operator, seen = as_user(role), as_user("operator"), []
    names, versions = operator.names, {"orders": 1}
    async with worker, operator, worker.worker(name=f"w-{role}").running():

        async def follow():
            async for event in operator.events(event="succeeded"):
                seen.extend([event.task])

        following = asyncio.create_task(follow())
        listing = await list_workers(
            operator.connected.transport, names, versions, seal=None, wait=60.0
        )
        assert [one.heartbeat.name for one in listing.workers] == [f"w-{role}"]

        async def received():
            await worker.enqueue("work")
            return seen

        await eventually(received)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert "refuses events" not in caplog.text


@pytest.mark.parametrize("role", ["worker", "rpc-worker"])
async def test_an_operator_commands_workers(as_user, role):
    """A worker that may not use the default exchange answers through the events exchange."""
    worker, operator = as_user(role), as_user("operator")
    async with worker, operator, worker.worker(name=f"w-{role}").running():
        answers = await operator.control.ping(queues="orders", timeout="20s")
        assert set(answers.values) == {f"w-{role}"}
        assert answers.complete


@pytest.mark.parametrize("role", ["commander", "operator"])
async def test_commands_that_last_need_the_documented_permissions(as_user, role):
    """Pauses and revocations are stored, obeyed by a restricted worker, and withdrawn."""
    worker, operator = as_user("worker"), as_user(role)
    async with worker, operator, worker.worker(name="w").running():
        control = operator.control
        for pause in ({"queue": "emails"}, {"task": "mail"}):
            paused = await control.pause(**pause, timeout="60s")
            assert (set(paused.values), paused.stored) == ({"w"}, "rabbitmq")
            assert (await control.resume(**pause, timeout="60s")).complete
        revoked = await control.revoke(uuid.uuid4().hex, lifetime="1s", timeout="60s")
        assert set(revoked.values) == {"w"}
        many = await control.revoke_all(queue="emails", lifetime="1s", timeout="60s")
        assert set(many.values) == {"w"}
        did = [one.kind for one in (await control.history())[-6:]]
        assert did == ["pause"] * 4 + ["revoke"] * 2


async def test_who_may_not_write_to_the_control_exchange_commands_nobody(as_user, users):
    """A producer's user cannot even declare the queue for answers, and stores nothing."""
    worker, producer = as_user("worker"), as_user("producer")
    administrator = as_user(namespace=f"p-{users[0]}")
    async with worker, producer, administrator, worker.worker().running() as running:
        before = await administrator.control.history()
        for command in (
            producer.control.shutdown(),
            producer.control.pause(queue="orders"),
            producer.control.resume(queue="orders"),
            producer.control.revoke(uuid.uuid4().hex),
            producer.revoke(uuid.uuid4().hex),
            producer.revoke_all(queue="orders"),
        ):
            with pytest.raises(BrokerRefusedError):
                await command
        assert not running.shut_down_by_command
        assert await administrator.control.history() == before


async def test_who_may_only_ask_changes_nothing_that_lasts(as_user, users, administration):
    """Without the permissions on the directives, a ping is answered, and a pause is refused."""
    mark, made = users
    made["asker"] = (f"asker-{mark}", secrets.token_urlsafe())
    administration.add_user(*made["asker"])
    administration.set_permissions(
        f"asker-{mark}",
        rf"^p-{mark}\.control\.ask-",
        rf"^p-{mark}\.control(\.ask-.+)?$",
        rf"^p-{mark}\.(events|control\.ask-.+)$",
    )
    worker, asker = as_user("worker"), as_user("asker")
    async with worker, asker, worker.worker(name="w").running():
        assert set((await asker.control.ping(timeout="60s")).values) == {"w"}
        with pytest.raises(BrokerRefusedError, match=r"control\.directives"):
            await asker.control.pause(queue="orders")


async def test_what_a_worker_may_not_publish_is_dead_lettered_by_rabbitmq(
    as_user, users, administration, monkeypatch, caplog
):
    """A worker that may neither retry nor dead-letter loses no task, and continues."""
    mark, made = users
    made["narrow"] = (f"narrow-{mark}", secrets.token_urlsafe())
    administration.add_user(*made["narrow"])
    own = rf"^p-{mark}\."
    administration.set_permissions(
        f"narrow-{mark}",
        rf"{own}control\.",
        rf"{own}(tasks|control\..+)$",
        rf"{own}(orders|emails|control|control\..+)$",
    )
    monkeypatch.setattr(persist, "REFUSED_FOR", 1.0)
    producer, worker, operator = as_user("producer"), as_user("narrow"), as_user("operator")
    async with worker, producer, operator:
        narrow = worker.worker(["orders"], concurrency=1)
        async with narrow.running():
            failing = await producer.enqueue("work", {"number": -1})
            good = await producer.enqueue("work", {"number": 0})
            letters, chosen = (
                DeadLetters(operator, "orders"),
                Selection(ids=frozenset({failing.id})),
            )
            letter = await dead(letters, failing.id)
            assert letter.reason == "rejected"
            assert "ACCESS_REFUSED" in caplog.text
            assert "stem-amqp dlq replay orders" in caplog.text
            await eventually(lambda: narrow.statistics().done == 2, "the next task, too")
            assert narrow.statistics().settle_refused == 1
            assert (await worker.connected.backend.get(good.id)).state is TaskState.SUCCEEDED
        assert await letters.purge(chosen) == 1


def publication(stem, exchange, key="orders"):
    """Return a message that must not arrive."""
    return Publication(exchange=exchange, routing_key=key, body=b"{}", app_id=stem.names.namespace)


async def consume(stem, queue):
    """Try to consume a queue."""
    consumer = await stem.connected.transport.consume(queue, print, prefetch=1, tag="t")
    await consumer.close()


async def browse(stem, queue):
    """Try to browse a queue."""
    async with stem.connected.transport.browse(queue) as deliveries:
        await anext(deliveries, None)


def declared(stem, name):
    """Try to declare a queue."""
    return stem.connected.transport.declare(Entities(exchanges=(), queues=(Queue(name=name),)))


def deleted(stem, name):
    """Try to delete a queue."""
    return stem.connected.transport.delete(Entities(exchanges=(), queues=(Queue(name=name),)))


DEEDS = {
    "consume": lambda stem, names: consume(stem, names.work("orders")),
    "look at dead letters": lambda stem, names: browse(stem, names.dlq("orders")),
    "purge dead letters": lambda stem, names: stem.connected.transport.purge(names.dlq("orders")),
    "purge tasks": lambda stem, names: stem.connected.transport.purge(names.work("orders")),
    "declare": lambda stem, names: declared(stem, names.work("new")),
    "delete": lambda stem, names: deleted(stem, names.work("orders")),
    "enqueue": lambda stem, names: stem.connected.transport.publish(publication(stem, names.tasks)),
    "enqueue for emails": lambda stem, names: stem.connected.transport.publish(
        publication(stem, names.tasks, "emails")
    ),
    "dead-letter": lambda stem, names: stem.connected.transport.publish(
        publication(stem, names.dead)
    ),
    "command": lambda stem, names: stem.connected.transport.publish(
        publication(stem, names.control, "")
    ),
    "write to any queue": lambda stem, names: stem.connected.transport.publish(
        publication(stem, "", names.work("orders"))
    ),
}
ALLOWED = {
    "producer": {"enqueue"},
    "worker": {"consume", "purge tasks", "enqueue", "enqueue for emails", "dead-letter"},
    "operator": {
        "look at dead letters",
        "purge dead letters",
        "enqueue",
        "enqueue for emails",
        "command",
    },
    "commander": {"command"},
    "scheduler": {"enqueue", "enqueue for emails"},
}


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("user", ALLOWED)
async def test_no_role_can_do_what_is_not_its_work(as_user, user, deed):
    """The broker refuses it, and refuses every action in another namespace."""
    stem = as_user(user)
    admin = as_user(namespace=stem.names.namespace.replace("p-", "other-"))
    async with admin, stem:
        for names in (stem.names, admin.names):
            # The permission is checked only if the queue has a message
            await admin.connected.transport.publish(letter_for(names))
        if deed not in ALLOWED[user]:
            with pytest.raises(BrokerRefusedError):
                await DEEDS[deed](stem, stem.names)
        elif deed != "command":  # without a worker no queue receives it
            await DEEDS[deed](stem, stem.names)
        with pytest.raises(BrokerRefusedError):
            await DEEDS[deed](stem, admin.names)


def letter_for(names):
    """Return a dead letter."""
    return Publication(exchange=names.dead, routing_key="orders", body=b"{}")


async def test_topic_permissions_hold_a_producer_to_its_queues(as_user):
    """The documented alternative for producers refuses a publish to another queue."""
    producer = as_user("producer")
    async with producer:
        await producer.enqueue("work")
        with pytest.raises(BrokerRefusedError):
            await producer.enqueue("mail")


def test_the_documented_users_are_the_ones_that_are_tested(documented):
    """Every role of the documentation has a test."""
    assert {user for _, user, *_ in documented} == {*ALLOWED, "rpc-worker", "provisioner"}


async def test_a_worker_may_hold_the_messages_of_a_paused_task(as_user, users):
    """It declares their queue, moves them there, and consumes them after the resume."""
    worker, administrator = as_user("worker"), as_user(namespace=f"p-{users[0]}")
    entities = paused_task(administrator.names, "emails", "mail")
    held = entities.queues[0].name

    async def ready():
        found = (await administrator.connected.transport.status([held]))[held]
        return None if found is None else found.ready

    async def is_ready(number):
        return await ready() == number

    async with administrator, worker, worker.worker(["emails"]).running():
        assert (await administrator.control.pause(task="mail", timeout="60s")).complete
        await administrator.enqueue("mail", queue="emails")
        await eventually(lambda: is_ready(1))
        await administrator.control.resume(task="mail")
        await eventually(lambda: is_ready(0))
    async with administrator:
        await administrator.connected.transport.delete(entities)
