"""Graphs: members that wait for others."""

import asyncio
from itertools import pairwise

import pytest

from stem_amqp import (
    ArgumentsError,
    ConfigurationError,
    FailedMember,
    FailedTask,
    Stem,
    TaskFailedError,
    TaskState,
    graph,
    group,
)


class Shop:
    """Tasks that write down in which order they ran."""

    def __init__(self, stem):
        self.stem = stem
        self.runs = []
        self.broken = set()
        self.alarms = []

        @stem.task("step", max_retries=0)
        async def step(name: str, weight: int = 1) -> int:
            self.runs.append(name)
            if name in self.broken:
                raise ValueError(f"no {name}")
            return weight

        @stem.task("total")
        async def total(weights: list[int]) -> int:
            self.runs.append(f"total {weights}")
            return sum(weights)

        @stem.task("judge")
        async def judge(results: list[int | FailedMember]) -> list[str]:
            return ["bad" if isinstance(one, dict) else "good" for one in results]

        @stem.task("alarm")
        async def alarm(failed: FailedTask) -> None:
            self.alarms.append(failed["reason"])

        self.step, self.total, self.judge, self.alarm = step, total, judge, alarm

    def order(self, **options):
        """Return a graph: a, b after a, c after a and b, d alone."""
        members = {name: self.step.si(name) for name in "abcd"}
        return graph(members, depends_on={"b": ["a"], "c": ["a", "b"]}, **options)


@pytest.fixture
def stem_app():
    return Stem(broker_url="amqp://nobody@nowhere.invalid/")


@pytest.fixture
def shop(stem_app):
    return Shop(stem_app)


async def test_a_member_runs_after_those_that_it_depends_on(shop, stem_memory):
    """And once; the result has the results of all members, in the order of the mapping."""
    handle = await shop.order().enqueue()
    await stem_memory.run_due()
    assert sorted(shop.runs) == ["a", "b", "c", "d"]
    assert shop.runs.index("a") < shop.runs.index("b") < shop.runs.index("c")
    assert await handle.result() == [1, 1, 1, 1]
    assert await handle.progress() == (4, 0, 4)
    assert [one.id for one in handle.members] == [
        f"{handle.id}.0.0",
        f"{handle.id}.0.1.1",
        f"{handle.id}.0.2.1",
        f"{handle.id}.0.3",
    ]


async def test_a_member_gets_the_results_of_those_that_it_depends_on(shop, stem_memory):
    """In the order in which they are named; a chain and a group may be members too."""
    members = {
        "sum": shop.total.s() | shop.step.si("after", 7),
        "one": shop.step.si("one", 1),
        "two": shop.step.si("before") | shop.step.si("two", 2),
        "many": group(shop.step.si("x", 3), shop.step.si("y", 4)),
        "none": group([]),
        "last": shop.total.s(),
    }
    needs = {"sum": ["two", "one"], "last": ["sum"], "many": ["one"]}
    handle = await (shop.step.s("first") | graph(members, depends_on=needs)).enqueue()
    await stem_memory.run_due()
    assert await handle.result() == [7, 1, 2, [3, 4], [], 7]
    assert "total [2, 1]" in shop.runs
    assert "total [7]" in shop.runs


async def test_a_member_may_depend_on_groups_and_be_one(shop, stem_memory):
    """Also on one without members, and on one that ends a chain."""
    members = {
        "none": group([]),
        "many": shop.step.s("m") | group(shop.step.si("x"), shop.step.si("y")),
        "then": group(shop.step.si("p", 5), shop.step.si("q", 6)),
    }
    composed = graph(members, depends_on={"then": ["none", "many"]}) | shop.judge.si([1])
    handle = await composed.enqueue()
    await stem_memory.run_due()
    assert await handle.result() == ["good"]
    assert {shop.runs.index("p"), shop.runs.index("q")} == {3, 4}


async def test_a_failed_dependency_stops_what_depends_on_it(shop, stem_memory):
    """It says why, as do those that depend on it in turn; the others run. A replay lets them go on."""
    shop.broken = {"a"}
    handle = await shop.order().on_failure(shop.alarm.s()).enqueue()
    await stem_memory.run_due()
    assert sorted(shop.runs) == ["a", "d"]
    for member in handle.members[1:3]:
        record = await member.status()
        assert (record.state, record.reason) == (TaskState.FAILED, "link-failed")
        assert "no a" in record.error
    assert sorted(shop.alarms) == ["link-failed", "link-failed", "retries-exhausted"]
    with pytest.raises(TaskFailedError, match="no a"):
        await handle.result()
    shop.broken = set()
    assert await handle.retry_failed() == 1
    await stem_memory.run_due()
    assert shop.runs[2:] == ["a", "b", "c"]
    assert await handle.result() == [1, 1, 1, 1]


async def test_policies_let_a_dependent_run_after_a_failure(shop, stem_memory):
    """With the failure in the place of the result, or without it."""
    shop.broken = {"bad"}
    members = {"good": shop.step.s("good"), "bad": shop.step.s("bad"), "judge": shop.judge.s()}
    needs = {"judge": ["good", "bad"]}
    collected = await graph(members, depends_on=needs, policy="collect").enqueue()
    ignored = await graph(members, depends_on=needs, policy="ignore").enqueue()
    await stem_memory.run_due()
    assert (await collected.result())[2] == ["good", "bad"]
    assert await ignored.result() == [1, ["good"]]


async def test_a_cancelled_graph_goes_on_nowhere(shop, stem_memory):
    """Those that wait are revoked when their turn comes."""
    handle = await shop.order(policy="collect").enqueue()
    await handle.cancel(reason="not needed")
    await stem_memory.run_due()
    assert shop.runs == []
    assert await handle.progress() == (4, 4, 4)


async def test_a_graph_is_enqueued_by_blocking_code(shop, stem_memory):
    """From a synchronous task."""
    found = []

    @shop.stem.task("blocking")
    def blocking() -> None:
        found.append(shop.order().enqueue_blocking(id="blocking").id)

    await blocking.enqueue()
    await stem_memory.run_due()
    assert found == ["blocking"]
    assert sorted(shop.runs) == ["a", "b", "c", "d"]


async def test_the_tree_shows_for_what_a_member_waits(shop, stem_app, stem_memory):
    """With the number of those that have ended."""
    shop.broken = {"b"}
    handle = await shop.order().enqueue()
    await stem_memory.run_due()
    ((root,), own) = (await handle.tree()).nodes, f"{handle.id}.0"
    assert (root.size, root.omitted) == (4, 0)
    gates = {child.id: child for child in root.children if child.after}
    assert gates[f"{own}.1.0"].after == (f"{own}.0",)
    waits = gates[f"{own}.2.0"]
    assert waits.after == (f"{own}.0", f"{own}.1")
    assert (waits.group.done, waits.group.failed, waits.omitted) == (2, 1, 0)
    states = {child.id: child.record.state for child in root.children if not child.after}
    assert states[f"{own}.1.1"] == states[f"{own}.2.1"] == TaskState.FAILED


async def test_a_long_line_of_members_fails_and_runs(shop, stem_memory):
    """Deeper than Python's stack."""
    names = [f"n{number}" for number in range(1200)]
    members = {name: shop.step.si(name) for name in names}
    needs = {after: [before] for before, after in pairwise(names)}
    shop.broken = {"n0"}
    handle = await graph(members, depends_on=needs).enqueue()
    await stem_memory.run_due()
    assert await handle.progress() == (1200, 1200, 1200)
    with pytest.raises(ConfigurationError, match=r"'n0' depends on 'n1199', 'n1199' depends on"):
        graph(members, depends_on={**needs, "n0": ["n1199"]})


def test_a_circle_is_refused_and_named(shop):
    """When the graph is built."""
    members = {name: shop.step.si(name) for name in "abcde"}
    needs = {"b": ["a", "d"], "c": ["b"], "d": ["c"], "e": ["a"]}
    circle = r"'b' depends on 'd', 'd' depends on 'c', 'c' depends on 'b'\.\n.*Remove"
    with pytest.raises(ConfigurationError, match=circle):
        graph(members, depends_on=needs)
    with pytest.raises(ConfigurationError, match="'a' depends on 'a'"):
        graph(members, depends_on={"a": ["a"]})
    graph(members, depends_on={"e": ["a", "b", "c", "d"], "d": ["b", "c"], "c": ["a", "b"]})


@pytest.mark.parametrize(
    ("members", "options", "error", "text"),
    [
        ("ab", {"depends_on": {"b": ["x"]}}, ConfigurationError, "'x' is no member.*'a', 'b'"),
        ("ab", {"depends_on": {"x": ["a"]}}, ConfigurationError, "'x' is no member"),
        ("ab", {"depends_on": {"b": "a"}}, ConfigurationError, r"list of names.*\['a'\]"),
        (
            "ab",
            {"depends_on": {"b": [7]}},
            ConfigurationError,
            "enqueued with allow_dependents.*make it a member",
        ),
        ("ab", {"depends_on": {}, "policy": "no"}, ConfigurationError, "policy must be one of"),
        ("ab", {"depends_on": {}, "ttl": "0s"}, ConfigurationError, "longer than 0 s"),
    ],
)
def test_wrong_use_is_refused(shop, members, options, error, text):
    """With the remedy."""
    with pytest.raises(error, match=f"(?s){text}"):
        graph({name: shop.step.si(name) for name in members}, **options)


def test_arguments_must_fit_the_results_of_the_dependencies(shop):
    """As in a chain."""
    one = {"a": shop.step.s("a")}
    with pytest.raises(ArgumentsError, match=r"it would get .*int.* as 'name'"):
        graph({**one, "b": shop.step.s(weight=1)}, depends_on={"b": ["a"]})
    with pytest.raises(ArgumentsError, match=r"no place for the result.*\n.*si"):
        graph({**one, "b": shop.total.s([1])}, depends_on={"b": ["a"]})
    with pytest.raises(ConfigurationError, match=r"'b' depends on no member.*\n.*depends_on="):
        graph({**one, "b": shop.total.s()}, depends_on={})


async def test_graphs_in_graphs(shop, stem_memory):
    """A graph is a member like any other."""
    inner = graph({"p": shop.step.si("p"), "q": shop.step.si("q")}, depends_on={"q": ["p"]})
    outer = graph(
        {"a": shop.step.si("a"), "in": inner, "z": shop.step.si("z")},
        depends_on={"in": ["a"], "z": ["in"]},
    )
    results = await asyncio.gather(*(outer.enqueue() for _ in range(3)))
    await stem_memory.run_due()
    assert [await one.result() for one in results] == [[1, [1, 1], 1]] * 3
    assert [name for name in shop.runs if name == "z"] == ["z"] * 3
    assert max(n for n, one in enumerate(shop.runs) if one == "q") < len(shop.runs) - 1
