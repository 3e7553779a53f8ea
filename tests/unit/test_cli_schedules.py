"""``stem-amqp schedules``: lists and next ticks, in local time."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cli_support import command_line

from stem_amqp.cli.output import show
from stem_amqp.cli.schedules.steering import view
from stem_amqp.clock import SystemClock
from stem_amqp.results.base import TaskRecord, Transition
from stem_amqp.results.sqlite.backend import SqliteBackend
from stem_amqp.schedule_store.base import ScheduleRecord
from stem_amqp.scheduler.definition import encode
from stem_amqp.scheduler.operated import PastTick
from stem_amqp.scheduler.state import Published, ScheduleState
from stem_amqp.schedules import Every, Schedule, tick_id
from stem_amqp.states import TaskState

SHOP = """
    from stem_amqp import Stem
    stem = Stem(broker_url="memory://shop", topology="topology.yaml")

    @stem.cron("30 2 * * *", tz="Europe/Berlin")
    @stem.every("8h", name="orders.sync", jitter="10m", args={"pages": 2})
    @stem.task("orders.report")
    async def report(pages: int = 1) -> None: ...
"""
TOPOLOGY = """
    version: 1
    schedules:
      orders.sale: {task: orders.report, at: 2026-10-25T03:00:00Z}
      orders.off: {task: orders.report, every: 1s, enabled: false}
"""
BEFORE = "2026-10-24T22:00:00Z"


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Yield a command line in a directory with an application that has schedules."""
    monkeypatch.setenv("COLUMNS", "80")
    with command_line(capsys, monkeypatch, tmp_path) as cli:
        cli.write("shop.py", SHOP)
        cli.write("topology.yaml", TOPOLOGY)
        yield cli


def test_next_shows_the_times_of_all_schedules_in_order(cli):
    """Each time has its zone: that of the cron line, UTC for the others."""
    ran = cli("schedules", "next", "shop:stem", "--count", 5, "--after", BEFORE)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].split() == ["TIME", "SCHEDULE", "TASK"]
    assert [line.split("  ")[0].split(" +")[0] for line in lines[1:]] == [
        "Sun 2026-10-25 00:00 UTC",
        "Sun 2026-10-25 02:30 CEST",
        "Sun 2026-10-25 03:00 UTC",
        "Sun 2026-10-25 08:00 UTC",
        "Sun 2026-10-25 16:00 UTC",
    ]
    assert all(len(line) <= 80 for line in lines)


def test_next_in_another_zone_and_of_one_schedule(cli):
    """For an operator who lives elsewhere."""
    words = ("--count", 2, "--after", BEFORE, "--tz", "Asia/Kathmandu")
    ran = cli("schedules", "next", "shop:stem", "orders.report", *words)
    assert ran.out.splitlines()[1:] == [
        "Sun 2026-10-25 06:15 +0545  orders.report  orders.report",
        "Mon 2026-10-26 07:15 +0545  orders.report  orders.report",
    ]


def test_next_as_json(cli):
    """Programs get both times and the id of the task."""
    ran = cli("schedules", "next", "shop:stem", "--count", 2, "--after", BEFORE, "--json")
    sync, report = ran.json["ticks"]
    assert report == {
        "schedule": "orders.report",
        "task": "orders.report",
        "at": "2026-10-25T00:30:00.000Z",
        "due": "2026-10-25T00:30:00.000Z",
        "local": "2026-10-25T02:30:00+02:00",
        "tz": "Europe/Berlin",
        "id": "orders.report@2026-10-25T00:30:00.000Z",
    }
    assert sync["at"] < sync["due"] < "2026-10-25T00:10:00.001Z"


def test_list_cuts_no_time_zone(cli):
    """Where a column for the last runs leaves little room."""
    cli.write(
        "longshop.py",
        """
        from stem_amqp import Stem
        stem = Stem(broker_url="memory://shop", backend_url="sqlite:///results.db")

        @stem.cron("0 9 * * mon-fri", tz="Europe/Berlin", name="orders.report.berlin")
        @stem.cron("0 9 * * mon-fri", tz="America/New_York", name="orders.report.us")
        @stem.task("orders.report")
        async def report() -> None: ...
        """,
    )
    ran = cli("schedules", "list", "longshop:stem")
    assert (ran.code, max(map(len, ran.out.splitlines())) <= 80) == (0, True)
    assert "(America/New_York)" in ran.out


def test_list_shows_when_each_ticks(cli):
    """Also those that do not tick any more, and why."""
    ran = cli("schedules", "list", "shop:stem")
    assert ran.code == 0
    assert all(len(line) <= 80 for line in ran.out.splitlines())
    text = " ".join(ran.out.split())
    assert "every 8 h" in text
    found = {
        one["name"]: one
        for one in cli("schedules", "list", "shop:stem", "--json").json["schedules"]
    }
    assert list(found) == ["orders.off", "orders.report", "orders.sale", "orders.sync"]
    assert found["orders.off"]["next"] is None
    assert not found["orders.off"]["enabled"]
    assert found["orders.report"]["when"] == "30 2 * * * (Europe/Berlin)"
    assert found["orders.sync"]["args"] == {"pages": 2}
    assert found["orders.sync"]["misfire"] == {"policy": "once", "limit": 100, "grace": 60.0}
    assert found["orders.sync"]["jitter"] == 600


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ("next", "shop:stem", "orders.snc"),
            "there is no schedule 'orders.snc'; did you mean orders.sync?",
        ),
        (("next", "shop:stem", "--tz", "Berlin"), "did you mean Europe/Berlin?"),
        (("next", "shop:stem", "--after", "tomorrow"), "not a valid time"),
    ],
)
def test_wrong_use(cli, words, text):
    """The error names what was meant."""
    ran = cli("schedules", *words)
    assert ran.code == 2
    assert text in " ".join(ran.err.replace("│", " ").split())


def test_an_application_without_schedules(cli):
    """The note says how to define one."""
    cli.write("bare.py", "from stem_amqp import Stem\nstem = Stem(broker_url='memory://')\n")
    ran = cli("schedules", "list", "bare:stem")
    assert (ran.code, ran.out) == (0, "")
    assert "bare:stem has no schedules" in ran.err
    ran = cli("schedules", "list", "bare:stem", "report*", "x?")
    assert (ran.code, ran.out) == (0, "")
    assert "no schedule of bare:stem matches 'report*' or 'x?'" in ran.err
    ran = cli("schedules", "next", "bare:stem")
    assert "no schedule of bare:stem ticks after that time" in ran.err


def test_a_schedule_that_does_not_fit_its_task(cli):
    """The command finds what a scheduler would find at its start."""
    cli.write("topology.yaml", "version: 1\nschedules: {a: {task: orders.reprt, every: 1h}}\n")
    ran = cli("schedules", "list", "shop:stem")
    assert ran.code == 2
    assert "there is no task orders.reprt; did you mean orders.report?" in ran.err


@pytest.fixture
def stored(cli, tmp_path):
    """Yield the command line, with a store in which a scheduler has left its traces."""
    cli.write("shop.py", SHOP.replace("topology=", 'backend_url="sqlite:///results.db", topology='))
    at = float(int(time.time()) - 300)

    def published(name, **options):
        return Published(tick_id(name, at), at, at + 60, **({"published": at} | options))

    def record(name, *, definition=None, **options):
        state = ScheduleState(last=at, **options)
        return ScheduleRecord(name=name, definition=definition, state=state.encode())

    async def fill():
        backend = SqliteBackend(tmp_path / "results.db", SystemClock(), "stem")
        await backend.open()
        store = backend.schedules()
        await store.open()
        made = Schedule(name="made", task="orders.report", timing=Every(60.0))
        await store.save(
            [
                record("orders.sync", ticks=(published("orders.sync"),), missed=3, missed_at=at),
                record(
                    "orders.report",
                    ticks=(published("orders.report"), published("orders.report", withdrawn=True)),
                    paused=True,
                ),
                record("made", definition=encode(made)),
                record("broken", definition=b"[]"),
                record("removed", definition=b"{}"),
            ]
        )
        failed = Transition(
            task_id=tick_id("orders.sync", at),
            task="orders.report",
            queue="default",
            state=TaskState.FAILED,
            at=at + 61,
            error="ValueError: no report",
        )
        await backend.transition([failed])
        await backend.close()

    asyncio.run(fill())
    return cli


def test_list_shows_the_last_run_and_its_state(stored):
    """From the store of the scheduler: also schedules that are made at run time, and pauses."""
    ran = stored("schedules", "list", "shop:stem", "--json")
    found = {one["name"]: one for one in ran.json["schedules"]}
    assert list(found) == ["made", "orders.off", "orders.report", "orders.sale", "orders.sync"]
    assert ran.json["more"] == 0
    last = found["orders.sync"]["last"]
    assert (last["state"], last["error"]) == ("failed", "ValueError: no report")
    assert last["id"].startswith("orders.sync@")
    assert found["orders.sync"]["missed"] == 3
    assert (found["orders.report"]["paused"], found["orders.report"]["next"]) == (True, None)
    assert found["orders.report"]["last"]["state"] is None
    assert [name for name, one in found.items() if one["dynamic"]] == ["made"]
    assert found["orders.sale"]["last"] is None
    assert "schedule broken is not shown" in ran.err

    ran = stored("schedules", "list", "shop:stem")
    assert ran.out.split()[:5] == ["SCHEDULE", "TASK", "WHEN", "NEXT", "LAST"]
    assert all(len(line) <= 80 for line in ran.out.splitlines())
    text = " ".join(ran.out.split())
    assert "failed" in text
    assert "missed" in text
    assert "paused" in text
    assert stored("schedules", "list", "shop:stem", "made", "--json").json["schedules"][0][
        "dynamic"
    ]
    assert stored("schedules", "list", "shop:stem", "mode").code == 2


def test_list_shows_the_first_of_many_and_how_many_more(stored, tmp_path):
    """It reads the store in pages; names and globs select some of all."""

    async def fill():
        backend = SqliteBackend(tmp_path / "results.db", SystemClock(), "stem")
        await backend.open()
        one = encode(Schedule(name="many", task="orders.report", timing=Every(60.0)))
        await backend.schedules().save(
            [ScheduleRecord(name=f"many.{n:04}", definition=one) for n in range(2100)]
        )
        await backend.close()

    asyncio.run(fill())
    ran = stored("schedules", "list", "shop:stem", "--limit", "3", "--json")
    names = [one["name"] for one in ran.json["schedules"]]
    # "broken" is the first of the three
    assert [name for name in names if not name.startswith("orders.")] == ["made", "many.0000"]
    assert ran.json["more"] == 2099
    ran = stored("schedules", "list", "shop:stem", "--limit", "5", "many.*")
    assert "2,095 more made at run time" in ran.err
    ran = stored("schedules", "list", "shop:stem", "many.2*", "many.0007", "orders.s*", "--json")
    names = [one["name"] for one in ran.json["schedules"]]
    assert names == [
        "many.0007",
        *(f"many.20{n:02}" for n in range(100)),
        "orders.sale",
        "orders.sync",
    ]
    assert ran.json["more"] == 0
    assert stored("schedules", "list", "shop:stem", "none.*", "--json").json["schedules"] == []


def test_list_without_the_store(cli, tmp_path):
    """What code and file say is shown; the warning says what is missing."""
    cli.write(
        "shop.py", SHOP.replace("topology=", 'backend_url="sqlite:///none/results.db", topology=')
    )
    (tmp_path / "none").write_text("a file, not a folder")
    ran = cli("schedules", "list", "shop:stem", "--json")
    assert ran.code == 0
    assert "last runs and schedules made at run time are not shown" in ran.err
    assert len(ran.json["schedules"]) == 4


@pytest.mark.parametrize("width", [80, 160])
def test_the_history_fits_and_wraps_no_time(capsys, monkeypatch, width):
    """The worker is shown where there is room, and a long id is folded."""
    at = datetime(2027, 3, 1, 8, tzinfo=UTC).timestamp()
    name = "orders.report.of.the.whole.week"
    tick = Published(tick_id(name, at), at, at)
    record = TaskRecord(
        task_id=tick.id,
        task="orders.report",
        queue="orders",
        state=TaskState.SUCCEEDED,
        attempt=0,
        replay=0,
        created_at=at,
        updated_at=at,
        worker="a-long-host-name.example.org:12345",
    )
    monkeypatch.setenv("COLUMNS", str(width))
    withdrawn = PastTick(tick=replace(tick, withdrawn=True), record=None, by_hand=True)
    show(view([PastTick(tick=tick, record=record), withdrawn]))
    heading, first, *rest = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width for line in (heading, first, *rest))
    assert heading.split()[:4] == ["AT", "BY", "STATE", "ID"]
    assert first.startswith("2027-03-01 08:00:00 UTC  tick  succeeded  orders.report.of")
    assert [line.split()[3:5] for line in rest if "UTC" in line] == [["hand", "withdrawn"]]
    assert ("a-long-host-name.example.org:12345" in first) is (width == 160)
