"""Tests of limits across workers without a broker: which apply, and when a task may start."""

import asyncio
import heapq
from collections import Counter
from dataclasses import replace

import pytest
from worker_fakes import QUEUE, FakeTransport, Rig, body, job, make_blueprint

from stem_amqp import Limit
from stem_amqp.context.context import TaskContext
from stem_amqp.durations import Rate
from stem_amqp.errors import BackendUnavailableError, ConfigurationError
from stem_amqp.limits.base import Lease, limit_key
from stem_amqp.messages.message import PLACE, copied_headers
from stem_amqp.observability import Telemetry
from stem_amqp.outcome import Dead, Postponed, Retried, Revoked, Succeeded
from stem_amqp.states import Reason
from stem_amqp.tasks.definition import TaskDefinition
from stem_amqp.tasks.options import TaskOptions
from stem_amqp.topology.names import Names
from stem_amqp.worker.gates.limits.broker_places import MOST_PLACES, place_names
from stem_amqp.worker.gates.limits.gate import AWAY, GRACE, LimitGate
from stem_amqp.worker.gates.limits.leases import Leases
from stem_amqp.worker.gates.limits.place import Place
from stem_amqp.worker.gates.limits.plan import check_plans, plan_of
from stem_amqp.worker.gates.limits.store_time import WINDOW, StoreTime
from stem_amqp.worker.gates.limits.window import MOST, window_of
from stem_amqp.worker.slots import Slot, Slots

STRIPE = (
    "limits: {stripe: {rate: 100/s, concurrency: 20, by: meta.tenant, on_store_failure: open}}\n"
)


def task(name="work", **options):
    """Return a task with an argument ``tenant``."""

    def function(tenant: str = ""):
        pass

    return TaskDefinition.build(name, function, TaskOptions.build(options), TaskContext)


def blueprint(text="", *tasks):
    """Return a blueprint with a topology and tasks."""
    made = make_blueprint(text)
    for one in tasks:
        made.registry.add(one)
    return made


def names(plan):
    """Return the names of a plan's limits over all workers."""
    return [counter.name for counter in plan.shared]


# Which limits apply


def test_a_task_without_limits_has_no_plan():
    """Neither the task nor its queue has one."""
    assert plan_of(task(), QUEUE, make_blueprint().topology) is None


def test_the_limits_of_a_task_its_queue_and_named_ones_apply_together():
    """Each is counted under a name of its own; a rate per worker is counted there."""
    topology = make_blueprint(
        f"{STRIPE}queues: {{{QUEUE}: {{limits: [50/s, stripe, {{concurrency: 2}}]}}}}"
    ).topology
    own = Limit("1/s", per="worker")
    limited = task(rate_limit="10/s", concurrency_limit=5, limits=[own, "stripe", "600/m"])
    plan = plan_of(limited, QUEUE, topology)
    assert sorted(names(plan)) == sorted(
        [
            "task:work /s", "task:work at once", "task:work /m", "limit:stripe",
            f"queue:{QUEUE} /s", f"queue:{QUEUE} at once",
        ]
    )  # fmt: skip
    assert [counter.limit for counter in plan.own] == [own]


def test_a_changed_rate_keeps_its_counter_and_changes_the_revision():
    """A start that was reserved under the former rate is then reserved anew."""
    topology = make_blueprint().topology
    slow, fast = (plan_of(task(rate_limit=rate), QUEUE, topology) for rate in ("1/s", "9/s"))
    assert names(slow) == names(fast)
    assert slow.revision != fast.revision


def test_limits_that_count_by_different_keys_have_different_counters():
    """Two functions are told apart by their order."""
    limits = [
        Limit("1/s", by="args.tenant"),
        Limit("1/s", by="meta.tenant"),
        Limit("1/s", by=lambda call: call.id),
        Limit("1/s", by=lambda call: call.task),
        Limit("1/s"),
    ]
    plan = plan_of(task(limits=limits), QUEUE, make_blueprint().topology)
    assert len(set(names(plan))) == len(limits)


def test_two_limits_that_count_the_same_are_refused():
    """The error names both."""
    with pytest.raises(ConfigurationError, match=r"count the same: 10/s and 5/s"):
        plan_of(task(limits=["10/s", "5/s"]), QUEUE, make_blueprint().topology)


def test_a_rate_that_is_set_at_run_time_replaces_that_of_the_task_or_of_a_named_limit():
    """A task without a rate gets one."""
    now = {"work": Rate.parse("3/s"), "stripe": Rate.parse("7/s")}
    topology = make_blueprint(STRIPE).topology
    plan = plan_of(task(rate_limit="10/s", limits=["stripe"]), QUEUE, topology, now.get)
    assert [str(counter.rate) for counter in plan.shared] == ["3/s", "7/s"]
    assert [str(one.rate) for one in plan_of(task(), QUEUE, topology, now.get).shared] == ["3/s"]


def test_a_worker_checks_the_limits_of_all_tasks_at_its_start():
    """All mistakes are in one message, each with what was meant."""
    made = blueprint(
        f"{STRIPE}queues: {{{QUEUE}: {{limits: [{{rate: 1/s, by: args.tennant}}]}}}}",
        task("a", queue="other", limits=["strip"]),
        task("b", queue=QUEUE),
    )
    with pytest.raises(ConfigurationError) as caught:
        check_plans(made)
    assert "a names the limit strip, which does not exist; did you mean stripe?" in str(
        caught.value
    )
    assert "b cannot be limited by args.tennant; did you mean args.tenant?" in str(caught.value)


def test_an_argument_that_a_task_does_not_have_is_refused_at_its_decoration():
    """The error says which there are."""
    with pytest.raises(ConfigurationError, match=r"did you mean args\.tenant"):
        task(rate_limit=Limit("1/s", by="args.tenat"))


# The window of waiting tasks


@pytest.mark.parametrize(
    ("limit", "window"),
    [
        ({"rate_limit": "100/s"}, 100),
        ({"rate_limit": "1/h"}, 2),
        ({"rate_limit": "1000000/s"}, MOST),
        ({"rate_limit": Limit("4/s", by="args.tenant")}, 16),
        ({"concurrency_limit": 5}, 0),
        ({}, 0),
    ],
)
def test_a_second_of_starts_may_wait_in_a_worker(limit, window):
    """A queue without rates is consumed as before."""
    assert window_of(QUEUE, blueprint("", task(queue=QUEUE, **limit))) == window


async def test_a_task_waits_without_its_slot():
    """Meanwhile another one runs; then it waits for a free slot."""
    slots = Slots(1, window=1)
    first, second = Slot(slots), Slot(slots)
    await first.take()
    waiting = asyncio.create_task(first.wait(0.05))
    await second.take()
    await second.take()  # does nothing
    assert not second.may_wait
    assert not first.held
    await waiting
    assert second.may_wait
    taking = asyncio.create_task(first.take())
    await asyncio.sleep(0)
    assert not first.held
    second.give_back()
    second.give_back()  # does nothing
    await taking
    assert first.held
    assert slots.free.locked()


# The place in the wait


def test_a_place_travels_in_a_header():
    """Token, start and revision are read back."""
    place = Place(token="t", start=1.5, reserved=True, revision="r", waited=True)
    again = replace(place, reserved=False)
    soon = replace(again, start=None)
    values = ["t 1500 r", "t ~1500 r", "t - r"]
    for one, value in zip((place, again, soon), values, strict=True):
        assert one.headers() == {PLACE: value}
        assert Place.of(job(headers=one.headers()), "r") == one


@pytest.mark.parametrize("value", [None, 7, "", "x", "a b c d", " 1 r", "a " * 100])
def test_a_header_that_is_no_place_is_ignored(value):
    """The task gets a new token."""
    place = Place.of(job(headers={PLACE: value}), "r")
    assert (place.start, place.waited) == (None, False)
    assert len(place.token) == 36


def test_a_start_under_other_limits_is_not_valid():
    """The task keeps its token, and asks again."""
    place = Place.of(job(headers={PLACE: "t 1500 former"}), "now")
    assert place == Place(token="t", start=None, revision="now", waited=True)


def test_a_redelivered_message_gets_a_new_token():
    """An earlier delivery may still run with the other one."""
    place = Place.of(job(headers={PLACE: "t 1500 r"}, redelivered=True), "r")
    assert place.token != "t"
    assert (place.start, place.waited) == (None, True)


def test_a_place_is_never_copied():
    """A retry, a snooze, a dead letter and a replay wait anew."""
    assert copied_headers({PLACE: "t 1500 r", "kept": 1}) == {"kept": 1}


# The time of the store


def test_the_answer_with_the_shortest_way_is_the_most_exact_one():
    """A slow answer does not change the estimate; after some time a new one counts."""
    now = 100.0
    time = StoreTime(lambda: now)
    assert time.time() is None
    for late in (0.5, 0.1, 0.9):
        time.learn(1100.0 - late)
    assert time.time() == pytest.approx(1099.9)
    for _ in range(2):
        now += WINDOW + 1
        time.learn(now + 990.0)
    assert time.time() == pytest.approx(now + 990.0)


# When a task may start


async def test_a_start_at_once_runs_and_the_next_one_waits_in_the_broker():
    """The first of two tasks at 1/m runs; the other has its place in a header."""
    rig = Rig()
    rig.task(lambda: None, rate_limit="1/m")
    assert isinstance(await rig.executor.execute(job()), Succeeded)
    waits = await rig.executor.execute(job())
    assert isinstance(waits, Postponed)
    assert waits.delay == pytest.approx(60.0)
    assert PLACE in waits.headers


async def test_a_task_that_comes_back_in_time_starts_without_an_ask():
    """Its place has the reserved start; a second delivery of another message still waits."""
    rig = Rig()
    rig.task(lambda: None, rate_limit="6/m")
    await rig.executor.execute(job())
    waits = await rig.executor.execute(job())
    rig.clock.at += waits.delay
    store = rig.executor.limits._store
    asked = []
    store.ask = lambda *_, **__: asked.append(1)
    assert isinstance(await rig.executor.execute(job(headers=waits.headers)), Succeeded)
    assert asked == []


async def test_a_task_that_comes_back_too_late_asks_anew():
    """Then the limit also holds after an outage: of three late tasks one starts."""
    rig = Rig()
    rig.task(lambda: None, rate_limit="6/m")
    await rig.executor.execute(job())
    late = [await rig.executor.execute(job()) for _ in range(3)]
    rig.clock.at += 60 + GRACE
    outcomes = [await rig.executor.execute(job(headers=one.headers)) for one in late]
    assert [type(one) for one in outcomes].count(Succeeded) == 1


async def test_each_key_has_a_limit_of_its_own_and_calls_without_one_share_one():
    """Tenants do not wait for each other."""
    rig = Rig()
    rig.task(lambda: None, rate_limit=Limit("1/m", by="meta.tenant"))
    metas = [{"tenant": "a"}, {"tenant": "b"}, {"tenant": "a"}, {}, {"tenant": None}]
    kinds = [type(await rig.executor.execute(job(body(meta=meta)))) for meta in metas]
    assert kinds == [Succeeded, Succeeded, Postponed, Succeeded, Postponed]


async def test_a_function_of_a_key_that_raises_is_a_failure_of_the_task():
    """It is retried as one."""
    rig = Rig()
    rig.task(lambda: None, rate_limit=Limit("1/m", by=lambda call: call.meta["tenant"]))
    outcome = await rig.executor.execute(job())
    assert isinstance(outcome, Retried)
    assert "KeyError" in outcome.failure.error


async def test_a_task_holds_its_lease_until_it_is_settled():
    """Then the next one gets it."""
    rig = Rig()
    rig.task(lambda: None, concurrency_limit=1)
    first = job()
    assert isinstance(await rig.executor.execute(first), Succeeded)
    waits = await rig.executor.execute(job())
    assert isinstance(waits, Postponed)
    first.give_back()
    await rig.executor.limits.close()
    rig.clock.at += waits.delay
    assert isinstance(await rig.executor.execute(job(headers=waits.headers)), Succeeded)
    await rig.executor.limits.close()


async def test_a_task_that_was_revoked_while_it_waited_does_not_run():
    """It is checked again after the wait."""
    rig = Rig()
    rig.task(lambda: pytest.fail("the task ran"), rate_limit=Limit("10/s", per="worker"))
    rig.executor.limits._rates.take([("t/task:work /s", Rate.parse("10/s"))], 0.0)

    async def hold(job, plan):
        rig.clock.at += 1
        rig.watcher.revocations["t1"] = "enough"

    rig.executor.limits.hold = hold
    assert isinstance(await rig.executor.execute(job()), Revoked)


async def test_a_task_that_waits_too_long_for_its_limit_is_a_dead_letter():
    """Its max_age counts, as for a retry."""
    rig = Rig()
    rig.task(lambda: None, rate_limit="1/d", max_age="1s")
    await rig.executor.execute(job())
    rig.clock.at += 3600
    outcome = await rig.executor.execute(job())
    assert isinstance(outcome, Dead)
    assert outcome.reason is Reason.TOO_OLD


async def test_a_wait_is_reported():
    """The exporters get its seconds."""
    rig, waits = Rig(), []
    rig.executor.limits._telemetry.rate_limited = (lambda _, wait: waits.append(wait),)
    rig.task(lambda: None, rate_limit="1/m")
    for _ in range(2):
        await rig.executor.execute(job())
    assert waits == pytest.approx([60.0])


# Without a store


class Away:
    """A store that cannot be reached."""

    def __init__(self):
        self.asks = 0

    async def ask(self, asks, *, lease_ttl):
        """Fail."""
        self.asks += 1
        raise BackendUnavailableError("no answer")

    async def release(self, leases):
        """Fail."""
        raise BackendUnavailableError("no answer")


def away(rig):
    """Replace the store of a rig by one that is away, and return it."""
    store = Away()
    old = rig.executor.limits
    rig.executor.limits = LimitGate(
        old._blueprint, store, transport=FakeTransport(), telemetry=Telemetry()
    )
    return store


async def test_while_the_store_is_away_a_task_waits_in_the_broker(caplog):
    """It is logged once, and asked once in a while."""
    rig = Rig()
    rig.task(lambda: None, rate_limit="1/m")
    store = away(rig)
    for _ in range(3):
        outcome = await rig.executor.execute(job())
        assert isinstance(outcome, Postponed)
        assert AWAY[0] <= outcome.delay <= AWAY[1]
    assert store.asks == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "the store of the limits is away, so tasks wait" in caplog.text


async def test_a_limit_that_is_open_lets_tasks_run_while_the_store_is_away(caplog):
    """They are counted and reported, and it is logged once; and again when the store answers."""
    rig, reports = Rig(), []
    rig.task(lambda: None, rate_limit=Limit("1/m", on_store_failure="open"))
    answers = rig.executor.limits._batcher
    away(rig)
    gate = rig.executor.limits
    gate._telemetry.not_limited = (reports.append,)
    for _ in range(3):
        assert isinstance(await rig.executor.execute(job()), Succeeded)
    assert gate.outage.unlimited == len(reports) == 3
    assert caplog.text.count("run without their limits") == 1
    gate._away_until, gate._batcher = float("-inf"), answers
    for _ in range(2):
        await rig.executor.execute(job())
    assert "3 tasks have started without their limits" in caplog.text
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


async def test_leases_are_renewed_together_and_a_lost_one_is_reported(caplog):
    """One call for all of a worker."""

    class Renews:
        calls = 0

        async def renew(self, leases, *, ttl):
            """Say that the first one was lost."""
            self.calls += 1
            self.tokens = [lease.token for lease in leases]
            done.set()
            return [False, True]

        async def release(self, leases):
            """Record them."""
            self.released = [lease.token for lease in leases]

    done, store = asyncio.Event(), Renews()
    leases = Leases(store, ttl=0.05)
    for token in ("a", "b"):
        leases.add(Lease(token=token, keys=("k",), at=0.0))
    await asyncio.wait_for(done.wait(), 20)
    await asyncio.sleep(0)
    assert store.tokens == ["a", "b"]
    assert "1 leases of limits had ended" in caplog.text
    await leases.close()
    assert sorted(store.released) == ["a", "b"]


def test_the_places_of_a_limit_have_names_that_operators_can_read():
    """The name begins with the limit, and different keys have different names."""
    names = Names("shop")
    first = place_names(names, "shop/task:work at once", 2)
    other = place_names(names, limit_key("shop/task:work at once args.tenant", "a/b"), 1)
    assert [name.rpartition(".")[0] for name in first] == [first[0].rpartition(".")[0]] * 2
    assert first[0].startswith("shop.zz-limit.task-work-at-once.")
    assert len(set(first + other)) == 3
    assert len(place_names(names, "k", 10**5)) == MOST_PLACES


async def test_ten_tenants_at_the_same_limit_have_the_same_number_of_starts():
    """One sends a hundred times more than each of the others: over a minute each starts as often."""
    rig, ran = Rig(), []

    def work(tenant: str):
        ran.append(tenant)

    rig.task(work, rate_limit=Limit("10/m", by="args.tenant"))
    tenants = ["flood"] * 1000 + [f"t{n % 9}" for n in range(90)]
    due = [(rig.clock.at, number, tenant, {}) for number, tenant in enumerate(tenants)]
    end = rig.clock.at + 60
    while due[0][0] < end:
        at, number, tenant, headers = heapq.heappop(due)
        rig.clock.at = max(rig.clock.at, at)
        outcome = await rig.executor.execute(job(body(args={"tenant": tenant}), headers=headers))
        if isinstance(outcome, Postponed):
            again = rig.clock.at + outcome.delay
            heapq.heappush(due, (again, number, tenant, outcome.headers))
    starts = Counter(ran)
    assert len(starts) == 10
    assert max(starts.values()) <= min(starts.values()) * 1.1
