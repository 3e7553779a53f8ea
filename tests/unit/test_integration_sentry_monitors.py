"""Check-ins of scheduled tasks at Sentry's monitors, counted by a transport of the test."""

import contextlib
import time

import pytest
from sentry_support import Kept, application, set_up, torn_down

from stem_amqp import Reject, Retry, TaskFailedError
from stem_amqp.clock import timestamp
from stem_amqp.errors import ConfigurationError
from stem_amqp.integrations.sentry import StemIntegration
from stem_amqp.integrations.sentry.monitors import SLUG_LIMIT, slug_of
from stem_amqp.messages.message import SCHEDULE
from stem_amqp.scheduler.enqueue import call_of
from stem_amqp.scheduler.state import Published

FAST = {"base": "50ms", "max": "50ms", "jitter": 0}


class Memory(Kept):
    """Keeps check-ins."""

    kinds = frozenset({"check_in"})

    @property
    def statuses(self):
        return [one["status"] for one in self.sent]


@pytest.fixture
def sentry():
    """Return a function that sets up Sentry with options of the integration, and returns the check-ins."""

    def init(**options):
        own = [StemIntegration(**options)]
        return set_up(Memory(), default_integrations=False, integrations=own)

    with torn_down():
        yield init


@pytest.fixture
def stem():
    """Return an application that exists before Sentry is set up."""
    return application()


async def tick(stem, name, headers=None, ago=0):
    """Enqueue a tick of a schedule as the scheduler does, and wait until its task has ended."""
    now = time.time() - ago
    one = Published(id=f"{name}@{timestamp(now)}", at=now, due=now)
    call = call_of(stem.blueprint, stem.blueprint.schedules[name], one)
    if headers is not None:
        call.options.headers.update(headers)
    async with stem, stem.worker().running():
        handle = stem.connected.producer.handle(call, await stem.connected.producer.enqueue(call))
        with contextlib.suppress(TaskFailedError):
            await handle.result(timeout=60)


async def test_a_scheduled_task_checks_in_at_its_start_and_its_end(stem, sentry):
    """The monitor is made from the schedule; both check-ins have the same id."""
    sent = sentry()

    @stem.cron("0 9 * * mon-fri", tz="Europe/Berlin", name="Orders.report")
    @stem.task("orders.report", queue="orders")
    async def report() -> None: ...

    await tick(stem, "Orders.report")
    begun, end = sent.sent
    assert (begun["status"], end["status"]) == ("in_progress", "ok")
    assert begun["check_in_id"] == end["check_in_id"]
    assert begun["monitor_slug"] == end["monitor_slug"] == "orders-report"
    assert begun["monitor_config"] == {
        "schedule": {"type": "crontab", "value": "0 9 * * mon-fri"},
        "timezone": "Europe/Berlin",
        "checkin_margin": 5,
    }
    assert end["duration"] >= 0


@pytest.mark.parametrize(
    ("every", "jitter", "schedule", "margin"),
    [
        ("90m", None, {"type": "interval", "value": 90, "unit": "minute"}, 7),
        ("2h", "90s", {"type": "interval", "value": 2, "unit": "hour"}, 9),
        ("1d", None, {"type": "interval", "value": 1, "unit": "day"}, 7),
    ],
)
async def test_an_interval_is_one_of_whole_minutes_hours_or_days(
    stem, sentry, every, jitter, schedule, margin
):
    """The jitter adds to the margin."""
    sent = sentry(monitor_margin=7)

    @stem.every(every, **({"jitter": jitter} if jitter else {}))
    @stem.task("sync", queue="orders")
    async def sync() -> None: ...

    await tick(stem, "sync")
    assert sent.statuses == ["in_progress", "ok"]
    config = sent.sent[0]["monitor_config"]
    assert config == {"schedule": schedule, "checkin_margin": margin}


async def test_retries_are_one_check_in_and_an_error_is_the_last_attempt(stem, sentry):
    """The id of the check-in is that of the first run."""
    sent = sentry()
    runs = []

    @stem.every("1h")
    @stem.task("sync", queue="orders", max_retries=2, retry=FAST)
    async def sync() -> None:
        runs.append(sent.statuses)
        raise ValueError("no")

    await tick(stem, "sync")
    assert runs == [["in_progress"]] * 3
    assert sent.statuses == ["in_progress", "error"]
    assert len({one["check_in_id"] for one in sent.sent}) == 1
    assert sent.sent[1]["duration"] is None


@pytest.mark.parametrize("how", ["retried", "rejected"])
async def test_a_success_after_a_retry_and_an_expected_end_are_ok(stem, sentry, how):
    """Neither is an error anywhere else."""
    sent = sentry()
    runs = []

    @stem.every("1h")
    @stem.task("sync", queue="orders", retry=FAST)
    async def sync() -> None:
        runs.append(1)
        if how == "rejected":
            raise Reject("sold out")
        if len(runs) == 1:
            raise Retry(reason="later")

    await tick(stem, "sync")
    assert sent.statuses == ["in_progress", "ok"]


async def test_a_tick_that_cannot_run_is_an_error(stem, sentry):
    """It has expired before a worker received it."""
    sent = sentry()
    stem.schedule("old", "orders.sync", every="1h", options={"expires": "1s"})

    @stem.task("orders.sync", queue="default", max_retries=0)
    async def sync() -> None: ...

    await tick(stem, "old", ago=10)
    assert sent.statuses == ["error"]


@pytest.mark.parametrize(
    ("options", "slug"),
    [
        ({"monitors": False}, None),
        ({"monitors": lambda name: None}, None),
        ({"monitors": {"other": "shop-other"}.get}, None),
        ({"monitors": {"sync": "shop-sync"}.get}, "shop-sync"),
        ({"monitors": lambda name: f"shop-{name}"}, "shop-sync"),
        ({}, "sync"),
    ],
)
async def test_monitors_are_named_or_switched_off(stem, sentry, options, slug):
    sent = sentry(**options)

    @stem.every("1h")
    @stem.task("sync", queue="orders")
    async def sync() -> None: ...

    await tick(stem, "sync")
    assert [one["monitor_slug"] for one in sent.sent] == ([] if slug is None else [slug] * 2)


@pytest.mark.parametrize("timing", [{"every": "10s"}, {"every": "90s"}, {"cron": "5 * * * * *"}])
async def test_a_schedule_that_sentry_cannot_express_has_no_monitor(stem, sentry, timing):
    """It knows whole minutes only."""
    sent = sentry()
    stem.schedule("sync", "sync", **timing)

    @stem.task("sync", queue="default")
    async def sync() -> None: ...

    await tick(stem, "sync")
    assert sent.sent == []


async def test_other_tasks_check_in_nowhere(stem, sentry):
    sent = sentry()

    @stem.every("1h")
    @stem.task("sync", queue="orders")
    async def sync() -> None: ...

    async with stem, stem.worker().running():
        await (await sync.enqueue()).result(timeout=60)
    assert sent.sent == []


@pytest.mark.parametrize(
    "header",
    [
        7,
        "{",
        "[]",
        "{}",
        '{"name": 1, "every": 3600}',
        '{"name": "sync", "every": "x"}',
        '{"name": "sync", "cron": 5, "tz": "UTC"}',
        f'{{"name": "{"s" * 3000}", "every": 3600}}',
    ],
)
async def test_a_header_of_another_client_is_ignored(stem, sentry, header, caplog):
    """Any client may have written it."""
    sent = sentry()

    @stem.every("1h")
    @stem.task("sync", queue="orders")
    async def sync() -> None: ...

    await tick(stem, "sync", {SCHEDULE: header})
    assert sent.sent == []
    assert "an exporter failed" not in caplog.text


def test_a_slug_has_the_characters_and_the_length_that_sentry_takes():
    assert slug_of("Orders.Nightly_2") == "orders-nightly_2"
    assert slug_of("42") == "schedule-42"
    names = [f"{'orders.' * 10}{number}" for number in range(3)]
    slugs = {slug_of(name) for name in names}
    assert len(slugs) == 3
    assert {len(slug) for slug in slugs} == {SLUG_LIMIT}


@pytest.mark.parametrize("margin", [0, -1, 1.5, "5"])
def test_a_margin_is_whole_minutes(margin):
    with pytest.raises(ConfigurationError, match="whole number of minutes"):
        StemIntegration(monitor_margin=margin)
