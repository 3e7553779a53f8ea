"""The scheduler on both brokers: elections, ticks, changes, pauses and outages."""

import asyncio
import logging
import time
from dataclasses import replace
from datetime import datetime

import pytest
from support import eventually

from stem_amqp import TaskContext
from stem_amqp.scheduler import leadership
from stem_amqp.scheduler.leadership import publish
from stem_amqp.scheduler.process import Scheduler, shared_store
from stem_amqp.scheduler.state import ScheduleState
from stem_amqp.scheduler.term import Term
from stem_amqp.schedules import Every, Schedule
from stem_amqp.topology.entities import Entities, Queue

SECOND = Schedule(name="second", task="tick", timing=Every(1.0))
LATER = replace(SECOND, name="later", timing=Every(4.0))


def shop(make_stem, url, runs):
    """Return an application with one task, which notes its runs."""
    stem = make_stem(backend_url=url)

    @stem.task("tick", queue="orders", max_retries=0)
    async def tick(ctx: TaskContext, word: str = "") -> None:
        runs.append((ctx.id, word, time.time()))

    return stem


def scheduler(stem, *schedules):
    """Return a scheduler of some schedules, which looks often."""
    for schedule in schedules:
        stem.blueprint.defined_schedules.add(schedule)
    return Scheduler(stem.blueprint, stem.connected, period=0.05)


def ids(runs):
    """Return the ids of the runs."""
    return [name for name, _, _ in runs]


async def stored(stem, name):
    """Return the stored state of a schedule."""
    store = shared_store(stem.blueprint, stem.connected)
    await store.open()
    (record,) = await store.get([name])
    return None if record is None else ScheduleState.decode(record.state)


@pytest.fixture
def store_url(tmp_path):
    """Return the URL of a store that all applications of a test share."""
    return f"sqlite:///{tmp_path}/results.db"


async def test_ticks_run_once_and_when_they_are_due(make_stem, store_url):
    """They are published ahead, under ids that say schedule and time; the result is found by it."""
    runs = []
    stem = shop(make_stem, store_url, runs)
    async with stem, stem.worker(["orders"]).running(), scheduler(stem, SECOND).running():
        await eventually(lambda: len(runs) >= 3, "three ticks")
        assert len(set(ids(runs))) == len(runs)

        async def ahead():
            return (await stored(stem, "second")).ahead(time.time())

        await eventually(ahead, "published ticks that are not due yet")
        for name, _, at in runs:
            schedule, _, moment = name.partition("@")
            assert schedule == "second"
            assert (await stem.record(name)).task == "tick"
            assert at >= datetime.fromisoformat(moment).timestamp() - 1


async def test_one_of_several_schedulers_leads_and_the_next_takes_over(make_stem, store_url):
    """When the leader stops, another one leads at once, and goes on where it ended: no beat twice."""
    runs = []
    first, second = (shop(make_stem, store_url, runs) for _ in range(2))
    async with first, second, first.worker(["orders"]).running():
        one, other = scheduler(first, SECOND), scheduler(second, SECOND)
        async with one.running():
            await eventually(lambda: one.leads, "the first leads")
            async with other.running():
                await eventually(lambda: len(runs) >= 2, "two ticks")
                assert not other.leads
                one.stop()
                await eventually(lambda: other.leads, "the second leads")
                count = len(runs)
                await eventually(lambda: len(runs) >= count + 2, "two more ticks")
    assert len(set(ids(runs))) == len(runs)
    ticks = sorted(ids(runs))
    assert ticks == sorted({*ticks})


async def test_a_tick_that_two_leaders_publish_is_one_task(make_stem, store_url):
    """A leader that could not store what it had published: its successor publishes it again."""
    runs = []
    stem = shop(make_stem, store_url, runs)
    async with stem:
        async with scheduler(stem, SECOND).running():
            await eventually(lambda: stored(stem, "second"), "the ticks")
        store = shared_store(stem.blueprint, stem.connected)
        (record,) = await store.get(["second"])
        state = ScheduleState.decode(record.state)
        back = replace(state, last=state.ticks[0].at - 1, ticks=())
        await store.save([replace(record, state=back.encode())])
        again = Scheduler(stem.blueprint, stem.connected, period=0.05)
        async with again.running(), stem.worker(["orders"]).running():
            wanted = {tick.id for tick in state.ticks}
            await eventually(lambda: wanted <= {*ids(runs)}, "all ticks")
            last = len(runs)
            await eventually(lambda: len(runs) > last, "one more tick")
    assert len(set(ids(runs))) == len(runs)


async def test_a_look_that_goes_on_at_the_stop_is_stored(make_stem, store_url, monkeypatch):
    """The next scheduler knows all that was published, and withdraws it if the schedule is another one."""
    publish, save = asyncio.Event(), asyncio.Event()
    save_all = Term._save

    async def save_late(self, changed):
        changed = list(changed)
        if changed:
            publish.set()
            await save.wait()
        await save_all(self, changed)

    monkeypatch.setattr(Term, "_save", save_late)
    stem = shop(make_stem, store_url, [])
    async with stem:
        one = scheduler(stem, SECOND)
        async with one.running():
            await asyncio.wait_for(publish.wait(), 60)
            one.stop()
            asyncio.get_running_loop().call_later(0.05, save.set)
        assert (await stored(stem, "second")).ticks


async def test_a_downtime_over_a_tick_loses_nothing(make_stem, store_url):
    """The scheduler was down over the time of a tick, as a beat over midnight: it runs when a scheduler is back."""
    runs = []
    stem = shop(make_stem, store_url, runs)
    nightly = replace(SECOND, name="nightly", timing=Every(86_400.0, anchor=time.time() - 600))
    async with stem:
        async with scheduler(stem, nightly).running():
            await eventually(lambda: stored(stem, "nightly"), "it is known")
        store = shared_store(stem.blueprint, stem.connected)
        (record,) = await store.get(["nightly"])
        state = replace(ScheduleState.decode(record.state), last=time.time() - 3600)
        await store.save([replace(record, state=state.encode())])
        again = Scheduler(stem.blueprint, stem.connected, period=0.05)
        async with again.running(), stem.worker(["orders"]).running():
            await eventually(lambda: runs, "the tick of ten minutes ago")
    assert len(runs) == 1


async def test_a_removed_schedule_withdraws_what_is_published(make_stem, store_url, caplog):
    """Its ticks that are in the broker do not run; only that it is gone stays stored for a while."""
    caplog.set_level(logging.INFO)
    runs = []
    stem, without = (shop(make_stem, store_url, runs) for _ in range(2))
    # Its last tick within the horizon is far enough ahead to be withdrawn on a slow machine too
    gone = replace(LATER, name="gone", timing=Every(4.0, anchor=time.time() + 9))
    async with stem, without:
        async with scheduler(stem, gone).running():
            await eventually(lambda: stored(stem, "gone"), "its ticks")
        async with scheduler(without, SECOND).running():

            async def is_gone():
                state = await stored(stem, "gone")
                return state if state.gone else None

            state = await eventually(is_gone, "its ticks are withdrawn")
            withdrawn = [tick for tick in state.ticks if tick.withdrawn]
            assert withdrawn
            async with without.worker(["orders"]).running():
                await eventually(
                    lambda: any(at > withdrawn[0].due + 1 for _, _, at in runs),
                    "a later tick of the other schedule",
                )
    assert not {tick.id for tick in withdrawn} & {*ids(runs)}
    assert "schedule gone is no longer defined" in caplog.text


async def test_changed_arguments_hold_for_the_next_tick(make_stem, store_url):
    """A changed schedule is not lost: published ticks are withdrawn and published anew, once for each time."""
    runs = []
    before, after = (shop(make_stem, store_url, runs) for _ in range(2))
    async with before, after:
        async with scheduler(before, replace(SECOND, args={"word": "old"})).running():
            await eventually(lambda: stored(before, "second"), "its ticks")
        # A tick that is due by now is among them: it is in the queue already, and runs as it was published.
        old = (await stored(before, "second")).ticks
        changed = replace(SECOND, args={"word": "new"})
        async with scheduler(after, changed).running():

            async def withdrawn():
                state = await stored(after, "second")
                return {tick.id for tick in state.ticks if tick.withdrawn}

            former = await eventually(withdrawn, "former ticks are withdrawn")
            async with after.worker(["orders"]).running():
                await eventually(
                    lambda: runs and runs[-1][2] > old[-1].due + 1, "all former times have passed"
                )
    times = [name.partition("~")[0] for name in ids(runs)]
    assert len(times) == len(set(times))
    assert not former & {*ids(runs)}
    assert {word for name, word, _ in runs if name not in {tick.id for tick in old}} == {"new"}
    assert former <= {*times}


async def test_the_queue_may_be_purged_and_deleted(make_stem, store_url):
    """Somebody deletes all messages of the election: the next message chooses a leader again."""
    stem = shop(make_stem, store_url, [])
    async with stem:
        transport, name = stem.connected.transport, stem.names.schedules
        chosen = scheduler(stem, LATER)
        async with chosen.running():
            await eventually(lambda: chosen.leads, "it leads")
            await transport.delete(Entities(queues=(Queue(name=name),)))

            async def leads_again():
                status = (await transport.status([name]))[name]
                if status is not None and status.consumers:
                    await publish(transport, stem.names)
                return status is not None and chosen.leads and bool(status.consumers)

            await eventually(leads_again, "it leads again")


async def test_more_changes_than_the_leader_may_hold_messages_of(make_stem, store_url, monkeypatch):
    """It acknowledges them, so that it receives all of them and its own messages, and leads on."""
    monkeypatch.setattr(leadership, "PREFETCH", 20)
    monkeypatch.setattr(leadership, "MANY", 5)
    stem = shop(make_stem, store_url, [])
    async with stem:
        transport, name = stem.connected.transport, stem.names.schedules
        chosen = scheduler(stem, LATER)
        async with chosen.running():
            await eventually(lambda: chosen.leads, "it leads")
            for _ in range(100):
                await publish(transport, stem.names)

            async def received():
                status = (await transport.status([name]))[name]
                return status is not None and status.ready == 0 and chosen.leads

            await eventually(received, "all messages are delivered")


async def test_without_a_store_the_broker_keeps_the_states(make_stem):
    """With rpc:// the leader holds them in its message: a successor goes on where it ended."""
    runs = []
    stem = shop(make_stem, "rpc://", runs)
    async with stem, stem.worker(["orders"]).running():
        async with scheduler(stem, SECOND).running():
            await eventually(lambda: len(runs) >= 2, "two ticks")
        again = Scheduler(stem.blueprint, stem.connected, period=0.05)
        async with again.running():
            before = len(runs)
            await eventually(lambda: len(runs) >= before + 3, "three more ticks")
    assert len(set(ids(runs))) == len(runs)
