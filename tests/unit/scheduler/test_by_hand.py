"""Runs of schedules by hand: they are in the history, and get in the way of no publish."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from stem_amqp import Stem
from stem_amqp.errors import BackendUnavailableError
from stem_amqp.messages.message import new_id
from stem_amqp.schedule_store.base import ScheduleRecord
from stem_amqp.schedule_store.memory import MemorySchedules
from stem_amqp.scheduler.by_hand import PREFIX, note_run, runs_in
from stem_amqp.scheduler.lead import LEADER
from stem_amqp.scheduler.process import shared_store
from stem_amqp.scheduler.state import KEPT
from stem_amqp.scheduler.term import Term


@pytest.fixture
def store():
    """Return a store in memory."""
    return MemorySchedules({})


@pytest.fixture
def stem():
    """Return an application with a schedule that does not tick during the test."""
    url = f"memory://{new_id()}"
    stem = Stem(broker_url=url, backend_url=url)

    @stem.at("2100-01-01T00:00Z", name="later")
    @stem.task("tick")
    async def tick() -> None: ...

    return stem


async def noted(store, name="nightly"):
    """Return the runs that are stored of a schedule."""
    (record,) = await store.get([f"{PREFIX}{name}"])
    return runs_in(record)


async def test_the_last_runs_are_kept_and_each_once(store):
    """As many as ticks."""
    for number in [0, *range(30), 29]:
        await note_run(store, "nightly", f"id-{number}", float(number))
    assert [one.id for one in await noted(store)] == [f"id-{n}" for n in range(30 - KEPT, 30)]


async def test_runs_at_the_same_time_are_all_noted(store):
    """One that another process has overtaken is written again."""

    class Slow(MemorySchedules):
        async def save(self, records):
            await asyncio.sleep(0)
            return await super().save(records)

    slow = Slow({})
    await asyncio.gather(*(note_run(slow, "nightly", f"id-{n}", float(n)) for n in range(5)))
    assert {one.id for one in await noted(slow)} == {f"id-{n}" for n in range(5)}


async def test_a_store_that_is_away_does_not_fail_the_run(caplog):
    """The task is enqueued already; the log says that the history lacks it."""

    class Away(MemorySchedules):
        async def open(self):
            raise BackendUnavailableError("away")

    await note_run(Away({}), "nightly", "id", 1.0)
    assert "the run of schedule nightly by hand is not in its history: away" in caplog.text


@pytest.mark.parametrize("state", [b"", b"[]", b"{}", b'{"runs": [1]}', b'{"runs": [["a", "b"]]}'])
def test_what_cannot_be_read_has_no_runs(state):
    """Such as a record of another release."""
    assert runs_in(ScheduleRecord(name="a", state=state)) == ()


async def test_runs_are_between_the_ticks_in_the_history(stem):
    """Also of a schedule that no scheduler has looked at; its leader then begins as with any new one."""
    async with stem:
        first = await stem.schedules.run("later")
        store = shared_store(stem.blueprint, stem.connected)
        assert (await store.get(["later"]))[0] is None
        term = Term(stem.blueprint, stem.connected, store, stem.blueprint.schedules)
        await term.begin()
        await term.look()
        second = await stem.schedules.run("later")
        found = await stem.schedules.history("later")
        assert {past.tick.id for past in found} == {first.id, second.id}
        assert all(past.by_hand for past in found)
        (record,) = await store.get(["later"])
        state = orjson.loads(record.state) | {"ticks": [["tick-1", 1.0, 1.0, 1.0, False]]}
        await store.save([replace(record, state=orjson.dumps(state))])
        (oldest, *_) = await stem.schedules.history("later")
        assert (oldest.tick.id, oldest.by_hand) == ("tick-1", False)


async def test_a_leader_forgets_the_runs_of_schedules_that_are_gone(stem):
    """Those of code and of the store are kept."""
    async with stem:
        store = shared_store(stem.blueprint, stem.connected)
        await stem.schedules.add("made", "tick", every="1h")
        await stem.schedules.add("unmade", "tick", every="1h")
        for name in ("later", "made", "unmade", "elsewhere"):
            await note_run(store, name, f"{name}@1", 1.0)
        await stem.schedules.remove("unmade")
        await Term(stem.blueprint, stem.connected, store, stem.blueprint.schedules).begin()
        names = {one.name for one in await store.page(dynamic=False)}
        assert names - {LEADER} == {f"{PREFIX}later", f"{PREFIX}made"}
