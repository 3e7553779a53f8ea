"""Which calls are the same: the option, its short forms, and the key."""

import subprocess
import sys
from datetime import date, timedelta
from decimal import Decimal

import pytest

from stem_amqp import ConfigurationError, Stem, Unique
from stem_amqp.errors import TaskDefinitionError
from stem_amqp.options import CallOptions, TaskOptions
from stem_amqp.unique import LONGEST_RUN, key_of


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("1h", Unique(window="1h")), (60, Unique(window=60)), (True, Unique(until="finished")),
        (timedelta(minutes=1), Unique(window=timedelta(minutes=1))),
        (Unique(by=["a"], window=5), Unique(by=("a",), window=5)), (False, None), (None, None),
    ],
)  # fmt: skip
def test_the_option_has_short_forms(short, long):
    """A window, or yes or no."""
    assert TaskOptions.build({"unique": short}).unique == long


def test_a_window_is_in_seconds_and_a_run_has_an_end():
    """Also a task that never ends lets others come some day."""
    assert Unique(window="1h30m").ttl == 5400
    assert Unique(window="2h", until="finished").ttl == 7200
    assert Unique(until="finished").ttl == LONGEST_RUN


@pytest.mark.parametrize(
    "values",
    [
        {}, {"window": 0}, {"window": "soon"}, {"window": -1}, {"by": "order", "window": 1},
        {"by": (), "window": 1}, {"by": (1,), "window": 1}, {"until": "done", "window": 1},
        {"second": "drop", "window": 1},
    ],
)  # fmt: skip
def test_a_unique_that_makes_no_sense_is_refused(values):
    """The mistake is seen where it is written."""
    with pytest.raises(ConfigurationError):
        Unique(**values)


@pytest.mark.parametrize(
    "keywords", [{"unique": "soon"}, {"unique_key": ""}, {"unique_key": 7},
                 {"unique_key": "a", "unique": False}],
)  # fmt: skip
def test_a_call_option_that_makes_no_sense_is_refused(keywords):
    """As for every option."""
    with pytest.raises(ConfigurationError):
        CallOptions.build(keywords)


def test_a_call_switches_it_off_or_overrides_it():
    """False is not the same as not saying anything."""
    stem = Stem(broker_url="memory://unit")

    @stem.task("sync", unique="1h")
    def sync() -> None: ...

    assert sync.prepare().unique == Unique(window="1h")
    assert sync.options(unique=False).prepare().unique is None
    assert sync.options(unique="5m").prepare().unique == Unique(window="5m")
    assert stem.prepare("other").unique is None
    assert stem.prepare("other", unique_key="k").unique == Unique(until="finished")
    assert stem.prepare("other", unique_key="k", unique="1h").unique == Unique(window="1h")


def test_a_task_is_unique_by_parameters_that_it_has():
    """The mistake is seen at decoration, with the names that there are."""
    stem = Stem(broker_url="memory://unit")
    with pytest.raises(TaskDefinitionError, match=r"nme.*order, note"):

        @stem.task("sync", unique=Unique(by=("order", "nme"), window="1h"))
        def sync(order: str, note: str = "") -> None: ...


def test_calls_that_mean_the_same_have_the_same_key():
    """However they are written: by position, by name, in another order, with the default said."""
    stem = Stem(broker_url="memory://unit")

    @stem.task("sync", unique="1h")
    def sync(order: int, day: date = date(2026, 1, 2), price: Decimal = Decimal(3)) -> None: ...

    def key(call):
        return key_of("stem", call.task, call.same_by(call.unique))

    same = [
        sync.prepare(1),
        sync.prepare(order=1),
        sync.prepare(day=date(2026, 1, 2), order=1),
        sync.prepare(1, date(2026, 1, 2), Decimal(3)),
        stem.prepare("sync", {"price": "3", "order": "1"}),
    ]
    assert len({key(call) for call in same}) == 1
    assert key(sync.prepare(2)) != key(same[0])
    assert key(sync.prepare(1, date(2026, 1, 3))) != key(same[0])


def test_keys_of_different_things_differ():
    """Namespace, task, arguments and a text of one's own are told apart."""
    keys = [
        key_of("a", "t", {"x": 1}), key_of("b", "t", {"x": 1}), key_of("a", "u", {"x": 1}),
        key_of("a", "t", {"x": 2}), key_of("a", "t", {"x": "1"}), key_of("a", "t", {}),
        key_of("a", "t", '{"x":1}'),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    with pytest.raises(ConfigurationError, match="JSON"):
        key_of("a", "t", {"x": object()})


def test_a_key_is_the_same_in_every_process_and_release():
    """It stands in stores: another key would let a second task through at an upgrade."""
    digest = "3d92f6368f93f3cb"
    key = key_of("stem", "orders.sync", {"b": [1, None], "a": "é"})
    program = (
        "from stem_amqp.unique import key_of;"
        "print(key_of('stem', 'orders.sync', {'a': 'é', 'b': [1, None]}))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert other.stdout.decode().strip() == key
    assert key.startswith(f"unique:stem:orders.sync:{digest}")
