"""Schedules that code defines: decorators above a task, names, and clear errors for wrong ones."""

import json
from datetime import UTC, datetime

import pytest

from stem_amqp import Stem, group
from stem_amqp.errors import ArgumentsError, StemError
from stem_amqp.schedules import At, Cron, Every, Misfire, from_document, to_document
from stem_amqp.tasks.unique import Unique


@pytest.fixture
def stem():
    return Stem(broker_url="memory://")


@pytest.fixture
def report(stem):
    @stem.task("orders.report")
    async def report(pages: int = 1, *, day: datetime | None = None) -> int:
        return pages

    return report


def refused(make):
    with pytest.raises(StemError) as error:
        make()
    return str(error.value)


def test_decorators_stack_above_a_task(stem):
    """Each defines a schedule, and returns the task."""

    @stem.every("5m", name="often", jitter="10s", args={"pages": 2})
    @stem.cron("0 9 * * mon-fri", tz="Europe/Berlin")
    @stem.at("2027-03-01T09:00:00+01:00", name="once", misfire="skip")
    @stem.task("orders.report")
    async def report(pages: int = 1) -> None: ...

    assert report.name == "orders.report"
    found = stem.blueprint.schedules
    assert {name: one.timing for name, one in found.items()} == {
        "once": At(datetime(2027, 3, 1, 8, tzinfo=UTC)),
        "orders.report": Cron("0 9 * * mon-fri", "Europe/Berlin"),
        "often": Every(300.0),
    }
    assert {one.task for one in found.values()} == {"orders.report"}
    assert (found["often"].jitter, dict(found["often"].args)) == (10.0, {"pages": 2})
    assert found["once"].misfire == Misfire("skip")


def test_a_schedule_by_name(stem, report):
    """Of a task, of a call, and of a name that is defined later."""
    stem.schedule("a", report, every="1h", options={"queue": "reports", "expires": "10m"})
    stem.schedule("b", report.options(unique=True).prepare(3), cron="0 0 * * *")
    stem.schedule("c", "orders.later", at=datetime(2027, 3, 1, tzinfo=UTC), args={"x": 1})

    @stem.task("orders.later")
    async def later(x: int) -> None: ...

    found = stem.blueprint.schedules
    assert (found["a"].options.queue, found["a"].options.expires) == ("reports", 600.0)
    assert (dict(found["b"].args), found["b"].options.unique) == (
        {"pages": 3},
        Unique(until="finished"),
    )
    assert dict(found["c"].args) == {"x": 1}


def test_a_link_is_a_call_and_a_composition_is_not(stem, report):
    """A schedule has no place for what follows; a task can enqueue it."""
    stem.schedule("a", report.s(4).options(queue="slow"), every="1h")
    found = stem.blueprint.schedules["a"]
    assert (found.task, dict(found.args), found.options.queue) == (
        "orders.report",
        {"pages": 4},
        "slow",
    )
    for composed in (
        report.s(4) | report.s(),
        group(report.s(1), report.s(2)),
        report.s(4).on_success(report.si(1)),
    ):
        text = refused(lambda: stem.schedule("b", composed, every="1h"))  # noqa: B023
        assert "schedule b: a schedule enqueues one call with all its arguments" in text


def test_an_interval_is_anchored_at_its_start(stem, report):
    """Or at a tick that is given."""
    start = "2026-01-01T00:02:30Z"
    at_start = stem.schedule("a", report, every="1h", start=start)
    anchored = stem.schedule("b", report, every="1h", start=start, anchor="2026-01-01T00:10Z")
    after = datetime(2026, 1, 1, 5, tzinfo=UTC).timestamp()
    assert at_start.timing.after(after) == after + 150
    assert anchored.timing.after(after) == after + 600


def test_schedules_stay_when_settings_change(stem, report):
    """A blueprint with other settings shares them."""
    stem.schedule("a", report, every="1h")
    assert list(stem.blueprint.replace(namespace="other").schedules) == ["a"]


def test_the_wrong_order_of_decorators(stem):
    """Below ``@stem.task`` there is no task yet."""

    def report() -> None: ...

    text = refused(lambda: stem.task("orders.report")(stem.every("5m")(report)))
    assert "report is not a task: a schedule needs one, and it is made first" in text
    assert "above @stem.task(…), not below it" in text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {},
            "schedule a: a schedule has one of every, cron and at; it has none of them\n  Write for",
        ),
        ({"every": "5m", "cron": "* * * * *"}, "it has every and cron"),
        (
            {"every": "5m", "tz": "UTC"},
            "tz belongs to cron, and this schedule has every; remove it",
        ),
        ({"cron": "* * * * *", "anchor": "2026-01-01T00:00Z"}, "anchor belongs to every"),
        ({"every": 0}, "schedule a: an interval must be from 100ms to ten years, not 0 s"),
        ({"every": "5x"}, "schedule a: '5x' is not a valid duration"),
        (
            {"every": "5m", "jiter": 1},
            "there is no option jiter; did you mean jitter?\n  The options",
        ),
        (
            {"every": "5m", "misfire": "never"},
            "misfire must be 'skip', 'once' or 'all', not 'never'",
        ),
        ({"every": "5m", "misfire": {"polic": "all"}}, "a mapping of policy, limit and grace"),
        ({"every": "5m", "options": {"quue": "a"}}, "unknown call option quue"),
        ({"every": "5m", "options": {"delay": 5}}, "the option delay is not possible"),
        ({"every": "5m", "enabled": 1}, "enabled must be True or False"),
        ({"every": "5m", "start": "2026-01-02"}, "start: 2026-01-02T00:00:00 has no time zone"),
        (
            {"every": "5m", "start": "2026-01-02T00:00Z", "end": "2026-01-01T00:00Z"},
            "schedule a: the end 2026-01-01T00:00:00.000Z is before the start",
        ),
        ({"cron": "0 9 * * mon-fry"}, "'fry' is not a day of the week; did you mean fri?"),
        ({"cron": "0 9 * * *", "tz": "Europe/Belrin"}, "did you mean Europe/Berlin?"),
        ({"every": "5m", "args": {"pages": "x"}}, "do not fit orders.report(pages: int = 1"),
        ({"every": "5m", "args": [1]}, "args must be a mapping"),
    ],
)
def test_wrong_options(stem, report, options, text):
    """The error names the schedule, the option and the remedy; nothing is defined."""
    assert text in refused(lambda: stem.schedule("a", report, **options))
    assert len(stem.blueprint.defined_schedules) == 0


def test_a_decorator_finds_a_mistake_in_its_own_line(stem):
    """Before there is a task; the error has no name that nobody wrote."""
    text = refused(lambda: stem.cron("0 25 * * *"))
    assert text.startswith("cron line '0 25 * * *': the hour must be from 0 to 23, not 25")


def test_two_schedules_with_one_name(stem, report):
    """The name of the task is the default, so the second one needs its own."""
    stem.every("5m")(report)
    text = refused(lambda: stem.cron("0 9 * * *")(report))
    assert (
        "two schedules have the name orders.report: every 5 min for orders.report, and 0 9" in text
    )
    assert 'name="orders.report.second"' in text


def test_a_call_has_its_arguments_already(stem, report):
    """Arguments in two places would contradict each other."""
    call = report.prepare(2)
    text = refused(lambda: stem.schedule("a", call, every="5m", args={"pages": 3}))
    assert "the call has its args already" in text


def test_a_task_of_another_application(stem):
    """Its schedule would be of an unknown task."""
    other = Stem(broker_url="memory://", namespace="other")

    @other.task("orders.report")
    async def report() -> None: ...

    assert "belongs to another application" in refused(lambda: stem.every("5m")(report))
    assert "5 is not a task" in refused(lambda: stem.schedule("a", 5, every="5m"))


def test_arguments_that_do_not_fit_are_an_error_of_arguments(stem, report):
    """As for a call."""
    with pytest.raises(ArgumentsError, match="schedule a: the arguments do not fit"):
        stem.schedule("a", report, every="5m", args={"page": 1})


def test_the_form_as_json(stem, report):
    """Schedules that change at run time are stored in it."""
    stem.schedule(
        "a",
        report,
        every="1h",
        anchor="2026-01-01T00:10Z",
        args={"day": datetime(2026, 1, 1, tzinfo=UTC)},
        options={
            "queue": "reports",
            "retry": {"base": "1s"},
            "unique": Unique(by=("day",), window="1h"),
            "meta": {"a": 1},
            "headers": {"x": "y"},
            "max_retries": 0,
        },
        jitter="10s",
        start="2026-01-01T00:00Z",
        end="2027-01-01T00:00Z",
        misfire={"policy": "all", "limit": 5, "grace": "5m"},
        enabled=False,
        description="a report",
    )
    stem.schedule("b", report.options(throttle="1/m").prepare(2), cron="0 9 * * *", tz="Asia/Tokyo")
    stem.schedule("c", report, at="2027-03-01T09:00:00.125+01:00")
    for name, one in stem.blueprint.schedules.items():
        document = to_document(one)
        read = from_document(name, json.loads(json.dumps(document)))
        assert to_document(read) == document
        assert (read.timing, read.misfire, read.args) == (one.timing, one.misfire, one.args)
    assert to_document(stem.blueprint.schedules["c"]) == {
        "task": "orders.report",
        "at": "2027-03-01T08:00:00.125Z",
    }


@pytest.mark.parametrize("document", [None, [], {}, {"task": 5, "every": 5}])
def test_what_is_not_a_document(document):
    """What another process stored is not trusted."""
    assert "schedule a: the stored document has no task" in refused(
        lambda: from_document("a", document)
    )
