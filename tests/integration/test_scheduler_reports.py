"""What schedulers report to metrics, on both brokers."""

import math
import time
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from support import eventually

from stem_amqp.health.examination import check_health
from stem_amqp.observability.metrics import PrometheusExporter
from stem_amqp.scheduler import lead, routable, term
from stem_amqp.scheduler.decide import HORIZON
from stem_amqp.scheduler.process import Scheduler, shared_store
from stem_amqp.scheduler.state import ScheduleState
from stem_amqp.schedules import Every, Misfire, Schedule

SECOND = Schedule(name="second", task="tick", timing=Every(1.0))


def hourly():
    """Return a schedule that has its next tick in half an hour."""
    return Schedule(name="hourly", task="tick", timing=Every(3600.0, anchor=time.time() - 1800))


class Metrics:
    """The metrics of one process."""

    def __init__(self):
        self.exporter = PrometheusExporter(CollectorRegistry())

    def __call__(self, name, **labels):
        self.exporter.flush()
        return self.exporter.registry.get_sample_value(f"stem_{name}", labels)

    def count(self, name, **labels):
        """Return a counter; 0 if nothing was counted."""
        return self(name, **labels) or 0


@pytest.fixture
def metrics():
    """Return the metrics of the only process."""
    return Metrics()


@pytest.fixture
def store_url(tmp_path):
    """Return the URL of a store that all applications of a test share."""
    return f"sqlite:///{tmp_path}/results.db"


def scheduler(stem, metrics, *schedules):
    """Return a scheduler of some schedules, which reports to metrics and looks often."""
    for schedule in schedules:
        stem.blueprint.defined_schedules.add(schedule)
    stem.add_exporter(metrics.exporter)
    return Scheduler(stem.blueprint, stem.connected, period=0.05)


async def test_ticks_and_the_leader_are_counted(make_stem, store_url, metrics):
    """They are published ahead, so none is late, and the next one is beyond the horizon."""
    stem = make_stem(backend_url=store_url)
    async with stem:
        begun = time.time()
        async with scheduler(stem, metrics, SECOND, hourly()).running():
            await eventually(lambda: metrics.count("schedule_ticks_total", schedule="second") >= 11)
            assert metrics("scheduler_leads") == 1
            assert metrics("scheduler_schedules") == 2
            assert metrics("scheduler_next_tick_timestamp_seconds") > begun + HORIZON
            assert metrics("scheduler_last_look_timestamp_seconds") >= begun
        ticks = metrics("schedule_ticks_total", schedule="second")
    # A tick that was due before its publish was confirmed may be late: on a slow machine that takes seconds
    passed = math.ceil(time.time() - begun) + 1
    assert metrics("schedule_lateness_seconds_count") == ticks
    assert metrics("schedule_lateness_seconds_bucket", le="0.01") >= ticks - passed
    assert metrics("scheduler_leads") == 0
    assert metrics("scheduler_next_tick_timestamp_seconds") == 0
    assert metrics("scheduler_last_look_timestamp_seconds") == 0
    assert not metrics("scheduler_failures_total")
    assert metrics("schedule_missed_ticks_total", schedule="second") is None


async def test_one_of_two_schedulers_leads(make_stem, store_url, metrics):
    """The sum over all processes is 1."""
    other = Metrics()
    first, second = (make_stem(backend_url=store_url) for _ in range(2))
    async with first, second, scheduler(first, metrics, hourly()).running():
        await eventually(lambda: metrics("scheduler_leads") == 1)
        async with scheduler(second, other, hourly()).running():
            await eventually(lambda: other("scheduler_schedules") == 1)
            assert metrics("scheduler_leads") == 1
            assert other("scheduler_leads") == 0


@pytest.mark.parametrize(("policy", "missed", "ticks"), [("skip", 59, 0), ("once", 58, 1)])
async def test_missed_ticks_are_counted(make_stem, store_url, metrics, policy, missed, ticks):
    """A scheduler that was away for an hour; what runs by the misfire policy is late, and not missed."""
    stem = make_stem(backend_url=store_url)
    minutely = Schedule(
        name="minutely",
        task="tick",
        timing=Every(60.0, anchor=time.time() - 30),
        misfire=Misfire(policy),
    )
    labels = {"schedule": "minutely"}
    async with stem:
        async with scheduler(stem, Metrics(), minutely).running():
            store = shared_store(stem.blueprint, stem.connected)
            await store.open()

            async def known():
                return (await store.get(["minutely"]))[0]

            await eventually(known, "it is known")
        record = await known()
        state = replace(ScheduleState.decode(record.state), last=time.time() - 3600)
        await store.save([replace(record, state=state.encode())])
        async with scheduler(stem, metrics).running():
            await eventually(
                lambda: metrics("schedule_missed_ticks_total", **labels) is not None, "missed ticks"
            )
    assert abs(metrics("schedule_missed_ticks_total", **labels) - missed) <= 1
    # a tick of the last minute is within the grace
    assert metrics("schedule_ticks_total", **labels) in {ticks, ticks + 1}
    assert metrics("schedule_lateness_seconds_bucket", le="0.01") == 0


async def test_a_schedule_that_cannot_be_published_is_counted_and_its_tick_is_in_the_past(
    make_stem, store_url, metrics
):
    """A message that is too large; the other schedule goes on."""
    stem = make_stem(backend_url=store_url)
    broken = replace(SECOND, name="broken", args={"word": "x" * 2_000_000})
    async with stem, scheduler(stem, metrics, SECOND, broken).running():
        await eventually(
            lambda: metrics.count("schedule_publish_failures_total", schedule="broken") >= 1
        )
        await eventually(
            lambda: 0 < metrics("scheduler_next_tick_timestamp_seconds") < time.time(),
            "its tick is late",
        )
        assert metrics.count("schedule_ticks_total", schedule="second") >= 1
        assert metrics("schedule_ticks_total", schedule="broken") is None
        assert not metrics("scheduler_failures_total")


async def test_a_tick_for_a_queue_that_does_not_exist_is_not_published(
    make_stem, store_url, metrics, monkeypatch, caplog
):
    """It is a failure that is logged once and that health names, until the queue exists."""
    for module, name in ((routable, "MISSING"), (lead, "INTERVAL"), (term, "RECHECK")):
        monkeypatch.setattr(module, name, 0.2)
    stem, other = (make_stem(backend_url=store_url) for _ in range(2))
    for app, queue in ((stem, "orders"), (other, "nowhere")):
        app.task("tick", queue=queue)(lambda: None)

    async def health():
        report = await check_health(stem)
        return "".join(one.detail for one in report.checks if one.name == "schedulers")

    async def warned():
        return "not published, and tried again: lost: task tick was not enqueued" in await health()

    async with stem, scheduler(stem, metrics, SECOND).running():
        await stem.schedules.add("lost", "tick", every="1s", options={"queue": "nowhere"})
        failed = {"schedule": "other"}
        await eventually(lambda: metrics.count("schedule_publish_failures_total", **failed) >= 2)
        await eventually(warned, "health names it")
        assert metrics("schedule_ticks_total", **failed) is None
        assert metrics.count("schedule_ticks_total", schedule="second") >= 1
        store = shared_store(stem.blueprint, stem.connected)
        (record,) = await store.get(["lost"])
        assert ScheduleState.decode(record.state).ticks == ()
        lines = [one.getMessage() for one in caplog.records if "schedule lost" in one.getMessage()]
        assert len(lines) == 1
        assert "there is no queue 'nowhere'" in lines[0]
        assert "stem-amqp topology apply" in lines[0]

        async with other:  # declares the queue
            await eventually(lambda: metrics.count("schedule_ticks_total", **failed) >= 1)

        async def well():
            return not await warned()

        await eventually(well, "health is content")


async def test_schedules_made_at_run_time_are_counted_together(make_stem, store_url, metrics):
    """There may be 100,000 of them: their names are no labels."""
    stem = make_stem(backend_url=store_url)

    @stem.task("tick", queue="orders")
    async def tick() -> None: ...

    async with stem, scheduler(stem, metrics, hourly()).running():
        await stem.schedules.add("reminder-1", "tick", every="1s")
        await eventually(
            lambda: metrics.count("schedule_ticks_total", schedule="other") >= 2, "two ticks"
        )
    assert metrics("schedule_ticks_total", schedule="reminder-1") is None


async def test_a_store_that_is_away_is_a_failed_look(make_stem, store_url, metrics, monkeypatch):
    """The time of the last look stands still meanwhile."""
    from stem_amqp.errors import BackendUnavailableError

    stem = make_stem(backend_url=store_url)
    async with stem, scheduler(stem, metrics, hourly()).running():
        await eventually(lambda: metrics("scheduler_last_look_timestamp_seconds") > 0)

        async def refuse(self, now):
            raise BackendUnavailableError("no answer")

        monkeypatch.setattr(term.Term, "_due_of_store", refuse)
        await eventually(lambda: metrics.count("scheduler_failures_total") >= 1, "a failed look")
        stands = metrics("scheduler_last_look_timestamp_seconds")
        assert metrics("scheduler_leads") == 1
        monkeypatch.undo()
        await eventually(
            lambda: metrics("scheduler_last_look_timestamp_seconds") > stands, "it looks again"
        )
