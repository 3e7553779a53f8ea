"""Breakers: open after failures, try one run, close when it succeeds."""

import asyncio
import json
import uuid

import pytest
from support import eventually

from stem_amqp import Reject
from stem_amqp.errors import ConfigurationError, TaskFailedError
from stem_amqp.observability import Exporter
from stem_amqp.topology.file.load import parse_topology

TOPOLOGY = """
version: 1
queues:
  orders:
    concurrency: 1
    breaker: {failures: 3, of: 5, within: 10m, pause: 200ms}
"""
BREAKER = {"failures": 3, "of": 5, "within": "10m", "pause": "200ms"}


class Changes(Exporter):
    """Notes what is reported about breakers."""

    def __init__(self):
        self.own = []
        self.seen = []

    def breaker_changed(self, change):
        """Note a change."""
        self.seen.append((change.kind, change.name, change.state))
        if change.own:
            self.own.append(change.state)


class Downstream:
    """Something that tasks need, which is down until it is up."""

    def __init__(self):
        self.up = False
        self.asked = 0
        self.now = self.most = 0

    async def ask(self):
        """Answer, or raise while it is down."""
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        if not self.up:
            raise ConnectionError("the downstream is down")


@pytest.fixture
def changes():
    return Changes()


@pytest.fixture
def downstream():
    return Downstream()


async def test_a_queue_pauses_tries_one_run_at_a_time_and_goes_on(make_stem, changes, downstream):
    """While the downstream is down, three runs and the tried ones fail; then everything succeeds."""
    stem = make_stem(
        backend_url=f"memory://{uuid.uuid4().hex}",
        topology=parse_topology(TOPOLOGY),
        exporters=[changes],
    )

    @stem.task("charge", queue="orders", max_retries=50, retry={"base": "100ms", "max": "100ms"})
    async def charge(number: int) -> int:
        await downstream.ask()
        return number

    async with stem, stem.worker().running():
        handles = [await charge.enqueue(number) for number in range(10)]
        await eventually(lambda: changes.own.count("open") == 3)
        assert downstream.asked == 5
        assert changes.own == ["open", "half-open", "open", "half-open", "open"]
        downstream.up = True
        assert [await handle.result(timeout=60) for handle in handles] == list(range(10))
        assert changes.own[-2:] == ["half-open", "closed"]
        assert ("queue", "orders", "open") in changes.seen


async def test_a_task_pauses_and_the_others_of_its_queue_go_on(stem, changes, downstream):
    """Its messages wait in a queue of their own; one of them is tried."""
    stem.add_exporter(changes)
    mails = []

    @stem.task("charge", queue="orders", breaker=BREAKER, max_retries=0)
    async def charge(number: int) -> int:
        await downstream.ask()
        return number

    @stem.task("mail", queue="orders")
    async def mail(number: int) -> None:
        mails.append(number)

    async with stem, stem.worker(concurrency=1).running():
        for number in range(20):
            await charge.enqueue(number)
        await eventually(lambda: changes.own.count("open") == 2)
        for number in range(20):
            await (await mail.enqueue(number)).result(timeout=60)
        # three open it, then one is tried for each opening, and one may be tried now
        assert downstream.asked <= changes.own.count("open") + 3
        downstream.up = True
        # all others may have been tried while the mails were sent
        await charge.enqueue(20)
        await eventually(lambda: changes.own and changes.own[-1] == "closed")
        await eventually(lambda: downstream.asked == 21)
    assert sorted(mails) == list(range(20))


async def test_only_one_of_several_workers_tries_a_run(make_stem, broker_url, downstream):
    """All workers pause, and no two runs happen at once until the breaker is closed."""
    results = f"memory://{uuid.uuid4().hex}"
    changes = [Changes() for _ in range(3)]
    stems = [
        make_stem(backend_url=results, topology=parse_topology(TOPOLOGY), exporters=[one])
        for one in changes
    ]
    for stem in stems:

        @stem.task("charge", queue="orders", max_retries=0)
        async def charge(number: int) -> int:
            await downstream.ask()
            return number

    async with (
        stems[0],
        stems[1],
        stems[2],
        stems[0].worker().running() as first,
        stems[1].worker().running() as second,
        stems[2].worker().running() as third,
    ):
        for number in range(40):
            await stems[0].enqueue("charge", args={"number": number})
        opened = lambda: sum(one.own.count("open") for one in changes)  # noqa: E731

        def all_pause():
            # a worker that has not heard of the opening yet goes on
            workers = (first, second, third)
            pause = all(one.statistics().paused == ("orders",) for one in workers)
            return pause and not any(one._gauges.unsettled for one in workers)

        await eventually(all_pause)
        assert downstream.now == 0
        before, downstream.most = downstream.asked, 0
        tries = opened()
        await eventually(lambda: opened() >= tries + 2)
        assert downstream.most <= 1
        assert downstream.asked - before <= opened() - tries + 1
        downstream.up = True
        await eventually(lambda: downstream.asked == 40)


@pytest.mark.parametrize("planned", ["reject", "expected"])
async def test_planned_ends_do_not_open_it(stem, changes, planned):
    """A rejected order says nothing about the downstream."""
    stem.add_exporter(changes)
    runs = []

    @stem.task("charge", queue="orders", breaker=BREAKER, max_retries=0, expected=KeyError)
    async def charge(number: int) -> None:
        runs.append(number)
        raise Reject("no such card") if planned == "reject" else KeyError("declined")

    async with stem, stem.worker().running():
        for number in range(20):
            await charge.enqueue(number)
        await eventually(lambda: len(runs) == 20)
    assert changes.own == []


@pytest.mark.parametrize("target", [{"queue": "orders"}, {"task": "charge"}], ids=["queue", "task"])
@pytest.mark.parametrize("paused", [False, True], ids=["open", "open-and-paused"])
async def test_an_operator_closes_it(make_stem, changes, downstream, target, paused):
    """A resume ends the breaker's pause, and an operator's own one, and it counts anew."""
    breaker = BREAKER | {"pause": "1h"}
    topology = {"version": 1, "queues": {"orders": {"concurrency": 1}}}
    if "queue" in target:
        topology["queues"]["orders"]["breaker"] = breaker
    stem = make_stem(
        backend_url=f"memory://{uuid.uuid4().hex}",
        topology=parse_topology(json.dumps(topology)),
        exporters=[changes],
    )
    option = {"breaker": breaker} if "task" in target else {}

    @stem.task("charge", queue="orders", max_retries=0, **option)
    async def charge(number: int) -> int:
        await downstream.ask()
        return number

    async with stem, stem.worker().running():
        handles = [await charge.enqueue(number) for number in range(5)]
        await eventually(lambda: changes.own == ["open"])
        if paused:
            # also while the breaker's own pause takes hold
            assert (await stem.control.pause(**target, timeout="60s")).complete
        # the opening is stored a moment after it is obeyed
        kinds = {"breaker", "pause"} if paused else {"breaker"}

        async def stored():
            return {one.kind for one in await stem.control.in_force()} == kinds

        await eventually(stored)
        with pytest.raises(
            ConfigurationError, match=r"there is no pause of task mail.*\n.*breaker"
        ):
            await stem.control.resume(task="mail")
        downstream.up = True
        assert (await stem.control.resume(**target, timeout="60s")).complete
        assert [await one.result(timeout=60) for one in handles[3:]] == [3, 4]
        assert changes.seen[-1][-1] == "closed"
        assert await stem.control.in_force() == ()
        downstream.up = False
        for number in range(3):
            await charge.enqueue(number)
        await eventually(lambda: changes.own == ["open", "open"])


async def test_a_run_that_is_tried_does_not_open_what_an_operator_has_closed(stem, changes):
    """Its failure is older than the operator's decision."""
    stem.add_exporter(changes)
    tried, go = asyncio.Event(), asyncio.Event()

    @stem.task("charge", queue="orders", breaker=BREAKER, max_retries=0)
    async def charge(number: int) -> int:
        if number == 3:
            tried.set()
            await go.wait()
        if number <= 3:
            raise ConnectionError("the downstream is down")
        return number

    async with stem, stem.worker(concurrency=1).running():
        for number in range(3):
            await charge.enqueue(number)
        await eventually(lambda: "open" in changes.own)
        failing = await charge.enqueue(3)
        await eventually(tried.is_set)
        await stem.control.resume(task="charge", timeout="60s")
        go.set()
        with pytest.raises(TaskFailedError):
            await failing.result(timeout=60)
        for number in range(4, 8):
            assert await (await charge.enqueue(number)).result(timeout=60) == number
        assert changes.seen[-1][-1] == "closed"
        assert changes.own == ["open", "half-open"]
