"""The section ``schedules`` of the topology file."""

from datetime import UTC, datetime

import pytest

from stem_amqp import Stem
from stem_amqp.errors import ConfigurationError, TopologyError
from stem_amqp.schedules import At, Cron, Every, Misfire
from stem_amqp.topology.file.load import parse_topology

FILE = """
version: 1
schedules:
  report:
    task: orders.report
    cron: "0 9 * * mon-fri"
    tz: Europe/Berlin
    args: {pages: 2}
    description: the report of the day
  sync: {task: orders.sync, every: 5m, jitter: 30s, options: {queue: sync, expires: 5m, retry: {base: 1s}}}
  sale: {task: orders.sale, at: 2027-03-01T09:00:00+01:00, enabled: false}
  stock:
    task: orders.stock
    every: 1h
    start: 2027-01-01T00:00:00Z
    end: "2027-12-31T23:59:59Z"
    misfire: {policy: all, limit: 10, grace: 1m}
  other: {task: orders.stock, every: 1d, misfire: skip, anchor: 2027-01-01T03:00:00Z}
"""


def schedules(text):
    topology = parse_topology(text)
    return {name: spec.schedule(name) for name, spec in topology.schedules.items()}


def test_every_key():
    """The same values as in code."""
    found = schedules(FILE)
    assert {name: one.timing for name, one in found.items()} == {
        "report": Cron("0 9 * * mon-fri", "Europe/Berlin"),
        "sync": Every(300.0),
        "sale": At(datetime(2027, 3, 1, 8, tzinfo=UTC)),
        "stock": Every(3600.0, datetime(2027, 1, 1, tzinfo=UTC).timestamp()),
        "other": Every(86400.0, datetime(2027, 1, 1, 3, tzinfo=UTC).timestamp()),
    }
    assert found["report"].description == "the report of the day"
    assert dict(found["report"].args) == {"pages": 2}
    assert (found["sync"].jitter, found["sync"].options.queue) == (30.0, "sync")
    assert found["sync"].options.expires == 300.0
    assert found["sync"].options.retry.short_form()["base"] == 1.0
    assert not found["sale"].enabled
    assert found["stock"].misfire == Misfire("all", limit=10, grace=60.0)
    assert found["stock"].end == datetime(2027, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert found["other"].misfire == Misfire("skip")


@pytest.mark.parametrize(
    ("keys", "key", "text"),
    [
        ("{task: x, every: 0}", "a.every", "must be from 100ms to ten years, not 0 seconds"),
        ("{task: x, every: 5x}", "a.every", "'5x' is not a valid duration"),
        ('{task: x, cron: "0 9 * * mon-frj"}', "a.cron", "did you mean fri?"),
        ("{task: x, cron: 5}", "a.cron", "a cron line must be a text"),
        ('{task: x, cron: "0 9 * * *", tz: Berlin}', "a.tz", "did you mean Europe/Berlin?"),
        ("{task: x, evry: 5m}", "a.evry", "unknown key; did you mean every?"),
        ("{task: x}", "a", "it has none of them"),
        ('{task: x, every: 5m, cron: "* * * * *"}', "a", "it has every and cron"),
        ("{task: x, every: 5m, tz: UTC}", "a", "tz belongs to cron"),
        (
            "{task: x, every: 5m, start: 2026-03-01T00:00:00Z, end: 2026-02-01T00:00:00Z}",
            "a",
            "the end 2026-02-01T00:00:00.000Z is before the start",
        ),
        ("{task: x, at: 2026-03-01T09:00:00}", "a.at", "has no time zone"),
        ("{task: x, at: tomorrow}", "a.at", "at must be a time such as"),
        ("{task: x, every: 5m, jitter: 10m}", "a", "the jitter of 10 min is longer"),
        ("{task: x, every: 5m, misfire: never}", "a.misfire", "must be skip, once or all"),
        ("{task: x, every: 5m, misfire: 5}", "a.misfire", "must be skip, once, all or a mapping"),
        ("{task: x, every: 5m, misfire: {policy: al}}", "a.misfire.policy", "did you mean all?"),
        ("{task: x, every: 5m, misfire: {limit: 0}}", "a.misfire.limit", "must be 1 or more"),
        ("{task: x, every: 5m, options: {quue: a}}", "a.options", "did you mean queue?"),
        ("{task: x, every: 5m, options: {delay: 5}}", "a.options", "there is no option delay"),
        ("{task: x, every: 5m, options: {queue: a b}}", "a.options", "not a valid queue name"),
        ("{task: x, every: 5m, options: 5}", "a.options", "must be a mapping of call options"),
        ("{task: x, every: 5m, args: [1]}", "a.args", "must be a mapping"),
        ("{task: x y, every: 5m}", "a.task", "'x y' is not a valid task name"),
        ("{every: 5m}", "a.task", "is missing"),
        ("5", "a", "must be a mapping"),
    ],
)
def test_a_mistake_has_its_line_and_is_the_only_one(keys, key, text):
    """What is only its consequence is not reported."""
    with pytest.raises(TopologyError) as error:
        parse_topology(f"version: 1\nschedules:\n  a: {keys}\n")
    assert (error.value.key, error.value.line) == (f"schedules.{key}", 3)
    assert text in error.value.problem
    assert error.value.remedy
    assert error.value.more == ()


def test_a_name_that_is_none():
    """It is part of the ids of tasks."""
    with pytest.raises(TopologyError, match="'a b' is not a valid name of a schedule"):
        parse_topology('version: 1\nschedules:\n  "a b": {task: x, every: 5m}\n')


def test_an_application_has_those_of_its_file_and_of_its_code(tmp_path):
    """They are checked against the tasks once these are defined."""
    path = tmp_path / "topology.yaml"
    path.write_text(
        "version: 1\nschedules:\n  report: {task: orders.report, every: 1h, args: {pages: 2}}\n"
    )
    stem = Stem(broker_url="memory://", topology=path)

    @stem.cron("0 9 * * *")
    @stem.task("orders.report")
    async def report(pages: int = 1) -> None: ...

    assert set(stem.blueprint.schedules) == {"orders.report", "report"}
    stem.every("5m", name="report")(report)
    with pytest.raises(ConfigurationError, match="two schedules have the name report"):
        _ = stem.blueprint.schedules


def test_a_task_of_the_file_that_no_code_defines(tmp_path):
    """The name of the task that was meant is in the error."""
    path = tmp_path / "topology.yaml"
    path.write_text("version: 1\nschedules: {a: {task: order.report, every: 1h}}\n")
    stem = Stem(broker_url="memory://", topology=path)
    stem.task("orders.report")(lambda: None)
    with pytest.raises(ConfigurationError, match=r"schedule a: .* did you mean orders.report\?"):
        _ = stem.blueprint.schedules


def test_the_queues_that_schedules_name_are_declared(tmp_path):
    """As those that tasks name: a tick would find no queue."""
    path = tmp_path / "topology.yaml"
    path.write_text(
        "version: 1\nschedules: {a: {task: orders.report, every: 1h, options: {queue: reports}}}\n"
    )
    stem = Stem(broker_url="memory://", topology=path)
    stem.task("orders.report")(lambda: None)
    stem.schedule("b", "orders.report", every="1h", options={"queue": "slow"})
    assert set(stem.queues) == {"default", "reports", "slow"}
