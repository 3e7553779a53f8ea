"""Breakers: what their values mean, which runs open them, and the state that workers share."""

import pytest

from stem_amqp.breakers.breaker import Breaker
from stem_amqp.breakers.opening import FORGOTTEN_AFTER, Opening, State
from stem_amqp.breakers.window import Window
from stem_amqp.errors import ConfigurationError, TopologyError
from stem_amqp.tasks.options import TaskOptions
from stem_amqp.topology.file.load import parse_topology


@pytest.mark.parametrize(
    ("failures", "of", "needed"),
    [("50%", 20, 10), ("1%", 20, 1), ("100%", 3, 3), ("58%", 50, 29), ("33.4%", 3, 2), (7, 20, 7)],
)
def test_a_share_is_rounded_up_to_whole_runs(failures, of, needed):
    assert Breaker(failures=failures, of=of).needed == needed


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"failures": "half"},
            "percent sign or a number of runs, not 'half'\n  Write a share such",
        ),
        ({"failures": "150%"}, "at most 100%, not 150%"),
        ({"failures": "0%"}, "more than 0%"),
        ({"failures": 0.5}, "percent sign or a number of runs, not 0.5"),
        ({"failures": 0}, "at least 1"),
        ({"failures": True}, "not True"),
        ({"failures": 21}, "failures is 21, but only the last 20 runs count"),
        ({"of": 0}, "of must be a whole number of runs from 1 to 10000, not 0"),
        ({"of": "20"}, "of must be a whole number"),
        ({"within": "1 minute"}, "within: '1 minute' is not a valid duration"),
        ({"pause": 0}, "pause must be from 100ms to 1d"),
        ({"pause": "2d"}, "pause must be from 100ms to 1d"),
        ({"pause": "30s", "max_pause": "10s"}, "max_pause (10 s) is shorter than pause (30 s)"),
        ({"failure": "50%"}, "unknown key 'failure'; did you mean failures?"),
        ({"x": 1}, "unknown key 'x'\n  The keys are failures, of, within, pause, max_pause"),
        ("50%", "breaker must be a mapping of failures, of,"),
    ],
)
def test_a_wrong_value_is_refused_with_what_to_write(given, said):
    """The option of a task says what is wrong, and what to write instead."""
    with pytest.raises(ConfigurationError) as error:
        TaskOptions.build({"breaker": given})
    assert said in str(error.value)


def test_a_task_takes_a_breaker_or_its_keys():
    assert TaskOptions.build({"breaker": {"of": 5}}).breaker == Breaker(of=5)
    assert TaskOptions.build({"breaker": Breaker(of=5)}).breaker == Breaker(of=5)
    assert TaskOptions.build({}).breaker is None


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("{failures: 150%}", "queues.orders.breaker.failures", "at most 100%, not 150%"),
        ("{failures: 0.5}", "queues.orders.breaker.failures", "must be a share"),
        ("{of: 0}", "queues.orders.breaker.of", "from 1 to 10000, not 0"),
        ("{pause: 30x}", "queues.orders.breaker.pause", "not a valid duration"),
        ("{pause: 2d}", "queues.orders.breaker.pause", "from 100ms to 1d"),
        ("{failures: 30}", "queues.orders.breaker", "only the last 20 runs count"),
        ("{pauze: 30s}", "queues.orders.breaker.pauze", "did you mean pause?"),
        ("50%", "queues.orders.breaker", ""),
    ],
)
def test_a_topology_file_names_the_key_that_is_wrong(text, place, said):
    with pytest.raises(TopologyError) as error:
        parse_topology(f"version: 1\nqueues: {{orders: {{breaker: {text}}}}}")
    assert place in str(error.value)
    assert said in str(error.value)


def test_a_queue_inherits_the_keys_that_it_does_not_set():
    """The number of failures fits the inherited number of runs."""
    topology = parse_topology(
        "version: 1\ndefaults: {breaker: {of: 100, pause: 1m}}\n"
        "queues: {orders: {breaker: {failures: 30}}, emails: {breaker: null}}"
    )
    assert topology.queue("orders").breaker.breaker() == Breaker(failures=30, of=100, pause=60)
    assert topology.queue("emails").breaker is None
    assert topology.queue("others").breaker.breaker().needed == 50


def opened_by(breaker, runs):
    """Return the number of the run that opens a breaker; None if none does."""
    window = Window(breaker)
    return next(
        (n for n, (at, failed) in enumerate(runs, 1) if window.add(at, failed=failed)), None
    )


def test_it_opens_at_the_share_of_the_latest_runs():
    """Nine failures of twenty are too few; the tenth opens it, also before twenty runs have ended."""
    breaker = Breaker(failures="50%", of=20)
    half = [(0.0, n % 2 == 0) for n in range(19)]
    assert opened_by(breaker, half) == 19
    assert opened_by(breaker, [(0.0, False)] * 20 + [(0.0, True)] * 10) == 30
    assert opened_by(breaker, [(0.0, True)] * 9 + [(0.0, False)] * 12 + [(0.0, True)] * 9) is None
    assert opened_by(breaker, [(0.0, True)] * 10) == 10


def test_runs_that_ended_too_long_ago_do_not_count():
    breaker = Breaker(failures=3, of=20, within=10)
    assert opened_by(breaker, [(0, True), (5, True), (11, True)]) is None
    assert opened_by(breaker, [(0, True), (5, True), (11, True), (12, True)]) == 4


def test_a_success_does_not_open_it():
    """A breaker whose window was cleared starts anew."""
    window = Window(Breaker(failures=1, of=2))
    assert window.add(0, failed=True)
    assert window.summary == "1 of the last 1 runs failed"
    assert not window.add(0, failed=False)
    window.clear()
    assert not window.add(0, failed=False)


def test_a_pause_doubles_up_to_the_longest_one():
    breaker = Breaker(pause="30s", max_pause="3m")
    assert [breaker.pause_after(trips) for trips in (1, 2, 3, 4, 5000)] == [30, 60, 120, 180, 180]
    assert Breaker(pause="30s").pause_after(9) == 300
    assert Breaker(pause="5h").pause_after(9) == 86_400


def test_an_opening_is_shared_as_json():
    """Each failed run after a pause makes the next pause longer."""
    breaker = Breaker(pause=10)
    first = Opening.begin(breaker, 100.0)
    assert (first.state, first.until, first.trips) == (State.OPEN, 110.0, 1)
    second = Opening.begin(breaker, 120.0, first.tried())
    assert (second.state, second.until, second.trips) == (State.OPEN, 140.0, 2)
    assert second.expires == 140.0 + FORGOTTEN_AFTER
    assert Opening.read(second.tried().fields()) == second.tried()
    assert second.tried().state is State.HALF_OPEN


@pytest.mark.parametrize(
    "value",
    [
        None,
        "open",
        {},
        {"state": "closed", "until": 1, "trips": 1},
        {"state": "open", "until": "1", "trips": 1},
        {"state": "open", "until": 1.0, "trips": 0},
        {"state": "open", "until": 1.0, "trips": True},
    ],
)
def test_what_is_no_opening_is_not_read(value):
    assert Opening.read(value) is None
