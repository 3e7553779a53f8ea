"""Schedules that are added, changed, removed, paused and run while the scheduler runs."""

import time
from dataclasses import replace

import orjson
import pytest
from support import eventually

from stem_amqp import TaskContext, TaskState
from stem_amqp.clock import timestamp
from stem_amqp.errors import ArgumentsError, ConfigurationError
from stem_amqp.health.examination import check_health
from stem_amqp.health.ticks import SILENT
from stem_amqp.scheduler import term
from stem_amqp.scheduler.lead import LEADER
from stem_amqp.scheduler.process import Scheduler, shared_store
from stem_amqp.scheduler.state import ScheduleState
from stem_amqp.scheduler.term import Term
from stem_amqp.schedules import Every, Misfire, Schedule, next_ticks


@pytest.fixture
def runs():
    """Return the ids and words of the runs."""
    return []


@pytest.fixture
def shop(make_stem, tmp_path, runs):
    """Return an application with a store that keeps schedules."""
    stem = make_stem(backend_url=f"sqlite:///{tmp_path}/results.db")

    @stem.task("tick", queue="orders", max_retries=0)
    async def tick(ctx: TaskContext, word: str = "") -> None:
        runs.append((ctx.id, word))

    return stem


def scheduler(stem):
    """Return a scheduler that looks often."""
    return Scheduler(stem.blueprint, stem.connected, period=0.05)


async def test_a_schedule_is_added_changed_and_removed_while_the_scheduler_runs(shop, runs):
    """Each change takes effect within seconds; no tick runs twice, and none of the removed schedule."""
    async with shop, shop.worker(["orders"]).running(), scheduler(shop).running():
        added = await shop.schedules.add("mine", "tick", every="1s", args={"word": "a"})
        assert await shop.schedules.get("mine") == added
        await eventually(lambda: "a" in {word for _, word in runs}, "a tick")
        changed = await shop.schedules.change("mine", args={"word": "b"})
        assert (changed.timing, changed.args) == (added.timing, {"word": "b"})
        await eventually(lambda: runs[-1][1] == "b", "a tick of the changed schedule")
        assert [one.name for one in await shop.schedules.list()] == ["mine"]
        assert [one.name async for one in shop.schedules] == ["mine"]
        assert await shop.schedules.list(matching="mi*") == await shop.schedules.list()
        assert await shop.schedules.list(matching="other*") == []

        async def in_history():
            past = {one.tick.id for one in await shop.schedules.history("mine")}
            return past & {name for name, word in runs if word == "b"}

        await eventually(in_history, "the history of a tick that may run before it is stored")
        await shop.schedules.remove("mine")
        assert await shop.schedules.get("mine") is None
        again = await shop.schedules.add("mine", "tick", every="1s", args={"word": "c"})
        await eventually(lambda: runs[-1][1] == "c", "a tick of the schedule that was added again")
        assert again.args == {"word": "c"}
        end = time.time() + 3
        await eventually(lambda: time.time() > end, "ticks that must not run are due")
    times = [name.partition("~")[0] for name, _ in runs]
    assert len(times) == len(set(times))
    # By their times: two runs may change places if both are late
    words = [word for _, word in sorted(runs)]
    assert words == sorted(words)


@pytest.mark.parametrize("broker_url", ["memory"], indirect=True)
async def test_more_schedules_are_due_than_one_look_takes(shop, runs, monkeypatch):
    """The leader looks again at once, and not after its period."""
    monkeypatch.setattr(term, "BATCH", 2)
    names = {f"mine.{number:02}" for number in range(40)}
    async with shop, shop.worker(["orders"]).running():
        await shop.schedules.add("mine", "tick", at=timestamp(time.time() + 1))
        store = shared_store(shop.blueprint, shop.connected)
        record = await stored(store, "mine")
        now = time.time()
        # all are due, also if the machine paused between the lines above
        state = replace(ScheduleState.decode(record.state), last=now - 3600).encode()
        record = replace(record, state=state, due=now)
        copies = [replace(record, name=name, revision="") for name in sorted(names)]
        await store.save([record, *copies])
        async with Scheduler(shop.blueprint, shop.connected, period=3600.0).running():

            def schedules():
                return {name.partition("@")[0] for name, _ in runs}

            await eventually(lambda: schedules() == names | {"mine"}, "a run of each")
    assert len(runs) == len(names) + 1


async def test_a_paused_schedule_does_not_run_until_it_is_resumed(shop, runs):
    """By its name or a glob, until the pause ends; what passed meanwhile does not run."""
    async with shop, shop.worker(["orders"]).running(), scheduler(shop).running():
        await shop.schedules.add("mine", "tick", every="1s")
        await eventually(lambda: runs, "a tick")
        await shop.schedules.pause("mi*", reason="inventory")
        store = shared_store(shop.blueprint, shop.connected)

        async def paused():
            state = ScheduleState.decode((await stored(store, "mine")).state)
            return state if state.paused else None

        state = await eventually(paused, "the pause is stored, and ticks are withdrawn")
        due = {tick.id for tick in state.ticks if not tick.withdrawn}
        await eventually(lambda: {name for name, _ in runs} == due, "those within 2 s have run")
        later = [tick for tick in state.ticks if tick.withdrawn]
        await eventually(lambda: time.time() > later[0].due + 3, "withdrawn ticks pass")
        assert {name for name, _ in runs} == due
        count = len(runs)
        with pytest.raises(ConfigurationError, match=r"those in force: name mi\*"):
            await shop.schedules.resume("other")
        await shop.schedules.resume("mi*")
        await eventually(lambda: len(runs) > count, "a tick after the pause")
    times = [name.partition("~")[0] for name, _ in runs]
    assert len(times) == len(set(times))


@pytest.mark.parametrize("broker_url", ["memory"], indirect=True)
async def test_a_schedule_runs_now_whatever_its_timing(shop, runs):
    """With its arguments, and under an id of its own."""
    shop.schedule("nightly", "tick", cron="0 3 * * *", args={"word": "now"})
    async with shop, shop.worker(["orders"]).running():
        handle = await shop.schedules.run("nightly")
        await handle.result()
        assert handle.id.startswith("nightly@")
        (past,) = await shop.schedules.history("nightly")
        assert (past.tick.id, past.by_hand) == (handle.id, True)
        assert past.record.state is TaskState.SUCCEEDED
    assert runs == [(handle.id, "now")]


@pytest.mark.parametrize("broker_url", ["memory"], indirect=True)
async def test_wrong_use_is_an_error_that_says_what_to_do(shop, make_stem):
    """Before anything is stored."""
    shop.schedule("nightly", "tick", cron="0 3 * * *")
    async with shop:
        schedules = shop.schedules
        await schedules.add("mine", "tick", every="5m")
        for wrong, text in (
            (schedules.add("mine", "tick", every="5m"), "there is a schedule mine already"),
            (schedules.add("nightly", "tick", every="5m"), "defines the schedule nightly"),
            (schedules.add("a", "tack", every="5m"), "did you mean tick"),
            (schedules.add("a", "tick"), "one of every, cron and at"),
            (schedules.add("a b", "tick", every="5m"), "not a valid name"),
            (schedules.change("mien", every="5m"), "did you mean mine"),
            (schedules.change("nightly", every="5m"), "defines the schedule nightly"),
            (schedules.change("mine", every="1ms"), "an interval must be"),
            (schedules.remove("none"), "there is no schedule 'none'"),
            (schedules.pause("mien"), "did you mean mine"),
            (schedules.run("none"), "there is no schedule 'none'"),
            (schedules.history("none"), "there is no schedule 'none'"),
        ):
            with pytest.raises(ConfigurationError, match=text):
                await wrong
        with pytest.raises(ArgumentsError, match="schedule a: the arguments do not fit"):
            await schedules.add("a", "tick", every="5m", args={"wrong": 1})
        changed = await schedules.change("mine", cron="0 9 * * *", tz="Europe/Berlin")
        assert str(changed.timing) == "0 9 * * * (Europe/Berlin)"
        changed = await schedules.change("mine", cron="0 10 * * *")
        assert str(changed.timing) == "0 10 * * * (Europe/Berlin)"
        changed = await schedules.change("mine", every="1h", anchor="2027-01-01T00:02Z")
        changed = await schedules.change("mine", every="2h")
        assert changed.tick(1798761720.0) in next_ticks(changed, 1798761719.0)  # the anchor
        await schedules.change("mine", cron="0 9 * * *")
        await schedules.change("mine", every="2h", start="2027-01-01T00:00Z")
        changed = await schedules.change("mine", start="2027-01-01T01:00Z")
        assert changed.tick(1798765200.0) in next_ticks(changed, 0)  # the start
        assert str((await schedules.change("mine", cron="0 9 * * *")).timing) == "0 9 * * * (UTC)"
        await assert_none_is_the_default(schedules)
    without = make_stem(backend_url="rpc://")
    async with without:
        with pytest.raises(ConfigurationError, match="STEM_BACKEND_URL to redis://"):
            await without.schedules.add("a", "tick", every="5m")


async def assert_none_is_the_default(schedules):
    """Assert that None removes an option, and that one which is not given stays."""
    bare = await schedules.add("bare", "tick", every="5m")
    given = {
        "start": "2027-01-01T00:01Z",
        "end": "2028-01-01T00:00Z",
        "jitter": "10s",
        "args": {"word": "a"},
        "options": {"priority": 3},
        "misfire": "all",
        "description": "why",
        "enabled": False,
    }
    full = await schedules.change("bare", **given)
    assert full.end.year == 2028
    for key in given:
        former = full
        full = await schedules.change("bare", **{key: None})
        assert getattr(full, key) == getattr(bare, key)
        for other in given.keys() - {key}:
            assert getattr(full, other) == getattr(former, other), (key, other)
    assert full == bare
    await schedules.change("bare", cron="0 9 * * *", tz="Europe/Berlin", every=None)
    assert str((await schedules.change("bare", tz=None)).timing) == "0 9 * * * (UTC)"
    with pytest.raises(ConfigurationError, match="one of every, cron and at"):
        await schedules.change("bare", cron=None)
    with pytest.raises(ConfigurationError, match="no option jiter"):
        await schedules.change("bare", jiter=None)


@pytest.mark.parametrize("broker_url", ["memory"], indirect=True)
def test_synchronous_code_has_the_same_methods(shop):
    """Without an event loop, through a blocking producer."""
    with shop.blocking() as producer:
        schedules = producer.schedules
        added = schedules.add("mine", "tick", every="5m")
        assert schedules.get("mine") == added
        changed = schedules.change("mine", every="10m")
        assert schedules.list() == [changed]
        assert schedules.history("mine") == []
        assert schedules.pause("mine").directive.target.name == "mine"
        assert schedules.resume("mine").directive.withdrawn
        schedules.remove("mine")
        assert schedules.get("mine") is None


@pytest.mark.parametrize("broker_url", ["memory"], indirect=True)
async def test_health_warns_while_no_scheduler_runs(shop):
    """Only an application with schedules needs one."""

    async def found():
        report = await check_health(shop)
        return [(one.warning, one.detail) for one in report.checks if one.name == "schedulers"]

    async with shop:
        assert await found() == []
        shop.schedule("nightly", "tick", cron="0 3 * * *")
        ((warning, detail),) = await found()
        assert warning
        assert detail.startswith("no scheduler runs: the ticks of 1 schedule are not enqueued")
        async with scheduler(shop).running():
            await eventually(lambda: consuming(shop), "the scheduler runs")
            assert await found() == [(False, "1 schedule, 1 scheduler, of which one leads")]


async def warnings(stem):
    """Return what health says of the schedulers if that is a warning, otherwise an empty text."""
    report = await check_health(stem)
    return "".join(one.detail for one in report.checks if one.name == "schedulers" and one.warning)


async def test_health_names_late_and_missed_ticks(shop, runs):
    """A single one too, of code and of the store, before a scheduler has run and after."""
    nightly = Every(86_400.0, anchor=time.time() - 600)
    missing = Schedule(name="nightly", task="tick", timing=nightly, misfire=Misfire("skip"))
    shop.blueprint.defined_schedules.add(missing)
    async with shop:
        await shop.schedules.add("mine", "tick", every="1h", misfire="skip")
        store = shared_store(shop.blueprint, shop.connected)
        async with scheduler(shop).running():
            await eventually(lambda: stored(store, "nightly"), "it is known")
            await eventually(lambda: stored(store, LEADER), "the leader is known")
            assert await warnings(shop) == ""
        await set_back(store, "nightly", 3600)
        (record,) = await store.get(["mine"])
        await store.save([replace(record, due=time.time() - 300)])
        text = await warnings(shop)
        assert "no scheduler runs" in text
        late = text.partition("late, not published yet: ")[2].partition("\n")[0]
        assert late.startswith(f"nightly of {timestamp(nightly.anchor)[:19]}")
        assert "; mine of " in late
        async with scheduler(shop).running():
            await eventually(lambda: missed(store, "nightly"), "the missed tick is noticed")
            text = await eventually(lambda: only_missed(shop), "mine is not late any more")
            assert "did not run: nightly, 1 tick since it exists\n" in text
    assert runs == []


async def only_missed(stem):
    """Return what health warns of, once that is missed ticks alone."""
    text = await warnings(stem)
    return text if text.startswith("missed") else ""


async def stored(store, name):
    """Return a record."""
    await store.open()
    return (await store.get([name]))[0]


async def missed(store, name):
    """Return how many ticks a schedule has missed."""
    return ScheduleState.decode((await stored(store, name)).state).missed


async def set_back(store, name, seconds):
    """Let a schedule be published only up to some time ago."""
    record = await stored(store, name)
    state = replace(ScheduleState.decode(record.state), last=time.time() - seconds)
    await store.save([replace(record, state=state.encode())])


async def test_health_warns_of_a_leader_that_stands_still(shop, monkeypatch):
    """It holds the lead, and does not look."""
    shop.schedule("nightly", "tick", cron="0 3 * * *")
    async with shop:
        store = shared_store(shop.blueprint, shop.connected)
        async with scheduler(shop).running() as running:
            record = await eventually(lambda: stored(store, LEADER), "the leader is known")
            assert await warnings(shop) == ""

            async def stand(self, *, poked=False):
                pass

            monkeypatch.setattr(Term, "look", stand)
            data = orjson.loads(record.state)
            data["alive"] -= SILENT + 5
            await store.save([replace(record, state=orjson.dumps(data))])
            text = await warnings(shop)
            assert text.startswith(
                f"the leader {running.name} has not looked at the schedules for "
            )
            assert "stop it: the next scheduler then leads" in text


async def consuming(stem):
    """Return whether a scheduler consumes its queue."""
    name = stem.names.schedules
    return (await stem.connected.transport.status([name]))[name].consumers
