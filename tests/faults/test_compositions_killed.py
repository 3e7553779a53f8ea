"""Test compositions while workers are killed at every step, and while broker and backends restart.

Each composition is a chain of a task, a group with a chain in it, its continuation, and a task after that.
"""

import asyncio
import os
import random
import signal
from dataclasses import replace

import pytest
from composing import group, linker_of
from faults.harness.crew import crew_on
from support import eventually, remove_keys

from stem_amqp import Stem
from stem_amqp.clock import timestamp
from stem_amqp.messages.links import GroupNode, LinkNode
from stem_amqp.producer.linking.place import Place

pytestmark = pytest.mark.timeout(300)
MEMBERS = 4
DEATHS = 3
CONCURRENCY = 8


def member(number, piped=None):
    """Return a link to a member."""
    return LinkNode(task="member", queue="members", args={"number": number}, piped=piped)


def nodes_of(number):
    """Return the nodes of a composition, and the sum that its continuation gets."""
    own = 10 * number
    members = [member(own + index) for index in range(MEMBERS - 1)]
    chain = (member(own + MEMBERS - 1), member(own + MEMBERS, "before"))
    callback = LinkNode(task="callback", queue="callbacks", args={"number": number}, piped="values")
    after = LinkNode(task="after", queue="callbacks", args={"number": number}, piped="value")
    total = sum(own + index for index in range(MEMBERS + 1))
    return (member(own + MEMBERS + 1), group(*members, chain), callback, after), total


def graph_of(number):
    """Return the node of a graph, and the sum that a member gets from the two that it depends on.

    A fourth member depends on a chain and on that member, and is the last one to run.
    """
    own = 10 * number
    chain = (member(own + 2), member(own + 3, "before"))
    callback = LinkNode(task="callback", queue="callbacks", args={"number": number}, piped="values")
    after = LinkNode(task="after", queue="callbacks", args={"number": number, "value": 2 * own + 1})
    waits = GroupNode(members=(), of=(0, 1))
    last = GroupNode(members=(), of=(2, 3))
    graph = group(member(own), member(own + 1), chain, (waits, callback), (last, after))
    return (graph,), 2 * own + 1


class Composed:
    """Compositions that a crew's workers run.

    Args:
        crew: the crew.
        url: its broker.
        backend_url: its result backend.
        count: the number of compositions.
    """

    nodes_of = staticmethod(nodes_of)
    end = "3"
    members = MEMBERS + 2

    def __init__(self, crew, url, backend_url, count):
        self.crew = crew
        self.count = count
        self.stem = Stem(broker_url=url, namespace=crew.namespace, backend_url=backend_url)
        for queue in ("members", "callbacks"):
            self.stem.task(queue, queue=queue)(lambda: None)
        self.numbers = range(1, count + 1)

    async def enqueue(self):
        """Enqueue the compositions."""
        async with asyncio.TaskGroup() as enqueues:
            for number in self.numbers:
                enqueues.create_task(self._enqueue(number))

    async def _enqueue(self, number):
        place = Place(
            composition=f"c{number}",
            enqueued_at=timestamp(self.stem.connected.transport.clock.time()),
            reply_to=await self.stem.connected.backend.reply_address(),
        )
        nodes, _ = self.nodes_of(number)
        await linker_of(self.stem).begin(nodes, place, None)

    def result_of(self, number):
        """Return the result of the last task of a composition."""
        return self.nodes_of(number)[1] + number

    async def ends(self):
        """Wait for the ends of all compositions, and check their results."""
        backend = self.stem.connected.backend
        for number in self.numbers:
            record = await backend.wait(f"c{number}.{self.end}", 120)
            assert record.state == "succeeded", record
            assert int(record.result) == self.result_of(number)

    def check(self, runs=None):
        """Check that each composition had its effect once.

        Args:
            runs: the runs of each continuation; None: any number.
        """
        ledger = self.crew.ledger
        assert ledger.read("effects") == dict.fromkeys(self.numbers, 1)
        called = ledger.read("called")
        assert set(called) == set(self.numbers)
        if runs is not None:
            assert set(called.values()) == {runs}, called
        expected = {10 * number + index for number in self.numbers for index in range(self.members)}
        assert set(ledger.read("ran")) == expected

    async def clean_up(self):
        """Delete the queues of the compositions."""
        self.stem.reconfigure(provision="none", backend_url="memory://")
        async with self.stem:
            await self.stem.connected.transport.delete(self.stem.blueprint.entities)


class Graphs(Composed):
    """Graphs instead of chains."""

    nodes_of = staticmethod(graph_of)
    end = "0.4.1"
    members = 4


class Dependent(Graphs):
    """Graphs that also wait for a link which was enqueued before."""

    members = 5

    def result_of(self, number):
        return graph_of(number)[1] + number

    def nodes_of(self, number):
        (graph,), total = graph_of(number)
        *others, (waits, callback), last = graph.members
        waits = replace(waits, on=(f"d{number}.0",))
        own = 10 * number + 4
        return (replace(graph, members=(*others, (waits, callback), last)),), total + own

    async def _enqueue(self, number):
        place = Place(
            composition=f"d{number}",
            enqueued_at=timestamp(self.stem.connected.transport.clock.time()),
        )
        before = replace(member(10 * number + 4), watched=True)
        await linker_of(self.stem).begin((before,), place, None)
        await super()._enqueue(number)


@pytest.fixture
async def composed(tmp_path):
    """Yield a function that makes compositions and their crew, and clean up after it."""
    made = []

    def make(url, backend_url, count, kind=Composed):
        context = crew_on("compositions", tmp_path, url, backend_url=backend_url)
        crew = context.__enter__()
        made.append((context, crew, one := kind(crew, url, backend_url, count)))
        crew.environment |= {"STEM_QUARANTINE_AFTER": "0"}
        return one

    yield make
    for context, crew, one in made:
        print(crew.log()[-5000:])  # shown if the test fails
        await one.clean_up()
        await asyncio.to_thread(context.__exit__, None, None, None)


@pytest.fixture(params=["sqlite", "redis", "postgresql", "rpc"])
def backend_url(request, tmp_path):
    """Return the URL of each backend that counts members for several processes."""
    kind = request.param
    if kind == "redis":
        return request.getfixturevalue("stem_redis_url")
    if kind == "postgresql":
        return request.getfixturevalue("stem_postgres_url")
    return "rpc://" if kind == "rpc" else f"sqlite:///{tmp_path}/results.db"


STEPS = {
    "ran": ("sqlite", "redis"),
    "reported": ("redis", "postgresql", "rpc"),
    "begun": ("redis", "rpc"),
    "followed": ("sqlite", "redis", "postgresql"),
    "acknowledging": ("redis", "postgresql"),
}
"""The steps at which workers die, and the backends with which they do."""


@pytest.mark.parametrize(
    ("step", "backend_url"),
    [(step, kind) for step, kinds in STEPS.items() for kind in kinds],
    indirect=["backend_url"],
)
async def test_each_continuation_runs_once_although_workers_are_killed_at_a_step(
    composed, stem_broker_url, backend_url, step
):
    """Workers of the members die in turn; the worker of the continuations never does."""
    one = composed(stem_broker_url, backend_url, count=12)
    await killed_at(one, step)
    if backend_url.startswith("redis"):
        await remove_keys(backend_url, one.crew.namespace)


@pytest.mark.parametrize(
    ("step", "backend_url"),
    [(step, kinds[-1]) for step, kinds in STEPS.items()],
    indirect=["backend_url"],
)
async def test_each_member_of_a_graph_runs_once_after_those_that_it_depends_on(
    composed, stem_broker_url, backend_url, step
):
    """Workers die between the report to the group, the reports to those that wait, and their publishes."""
    one = composed(stem_broker_url, backend_url, count=12, kind=Graphs)
    await killed_at(one, step)
    if backend_url.startswith("redis"):
        await remove_keys(backend_url, one.crew.namespace)


@pytest.mark.parametrize(
    ("step", "backend_url"),
    [("ended", "redis"), ("told", "sqlite"), ("told", "postgresql")],
    indirect=["backend_url"],
)
async def test_no_end_of_a_link_that_was_enqueued_before_is_lost(
    composed, stem_broker_url, backend_url, step
):
    """Workers die after they have written down the end of a link, and after they have told it."""
    one = composed(stem_broker_url, backend_url, count=12, kind=Dependent)
    await killed_at(one, step)
    if backend_url.startswith("redis"):
        await remove_keys(backend_url, one.crew.namespace)


async def killed_at(one, step):
    """Run compositions while workers of their members die at a step."""
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(10_000))
    chance = random.Random(seed)
    print(f"FAULTS_SEED={seed} repeats it")
    crew, app = one.crew, "composed:stem"
    async with one.stem:
        await one.enqueue()
        crew.work(CONCURRENCY, app=app, queues=["callbacks"])
        for number in range(DEATHS):
            passes = chance.randrange(3)
            worker = crew.work(
                CONCURRENCY,
                app=app,
                queues=["members"],
                FAULTS_DIE_AT=step,
                FAULTS_PASSES=str(passes),
            )
            assert await asyncio.to_thread(worker.wait, 90) == -signal.SIGKILL, number
        crew.work(CONCURRENCY, app=app, queues=["members"])
        await one.ends()
        assert crew.ledger.deaths() == [step] * DEATHS
        assert not any(await asyncio.to_thread(crew.end, crew.workers[-1:]))
    one.check(runs=1 if one.stem.settings.backend_url != "rpc://" else None)


async def test_compositions_go_on_after_a_restart_of_the_broker(composed, node, stem_redis_url):
    """Effects come once, guarded by `ctx.once`: a continuation may be redelivered, as any task."""
    one = composed(node.url, stem_redis_url, count=60)
    async with one.stem:
        await one.enqueue()
        one.crew.work(CONCURRENCY, app="composed:stem", queues=["callbacks", "members"])
        await eventually(lambda: one.crew.ledger.read("called").total() >= 5, "continuations")
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.start)
        await one.ends()
    one.check()
    await remove_keys(stem_redis_url, one.crew.namespace)


async def test_compositions_go_on_after_a_restart_of_redis(
    composed, stem_broker_url, private_redis
):
    one = composed(stem_broker_url, private_redis.url, count=60)
    await restart_in_the_middle(one, private_redis)


async def test_compositions_go_on_after_a_restart_of_postgresql(
    composed, stem_broker_url, own_postgres
):
    one = composed(stem_broker_url, own_postgres.url, count=60)
    await restart_in_the_middle(one, own_postgres)


async def restart_in_the_middle(one, server):
    """Stop and start a backend while compositions run; each continuation runs once."""
    async with one.stem:
        await one.enqueue()
        one.crew.work(CONCURRENCY, app="composed:stem", queues=["callbacks", "members"])
        await eventually(lambda: one.crew.ledger.read("called").total() >= 5, "continuations")
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        await one.ends()
    one.check(runs=1)
