"""Equality of calls: the option `unique`, its short forms, and the key."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import PlainSerializer, SecretStr

from stem_amqp import ConfigurationError, Stem, Unique
from stem_amqp.errors import TaskDefinitionError
from stem_amqp.tasks.options import CallOptions, TaskOptions
from stem_amqp.tasks.unique import LONGEST_RUN, key_of


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("1h", Unique(window="1h")), (60, Unique(window=60)), (True, Unique(until="finished")),
        (timedelta(minutes=1), Unique(window=timedelta(minutes=1))),
        (Unique(by=["a"], window=5), Unique(by=("a",), window=5)), (False, None), (None, None),
    ],
)  # fmt: skip
def test_the_option_has_short_forms(short, long):
    """The option is a window, or True or False."""
    assert TaskOptions.build({"unique": short}).unique == long


def test_a_window_is_in_seconds_and_a_run_has_an_end():
    """A task that never ends does not block other calls for ever either."""
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
    """The error is raised where the option is written."""
    with pytest.raises(ConfigurationError):
        Unique(**values)


@pytest.mark.parametrize(
    "keywords", [{"unique": "soon"}, {"unique_key": ""}, {"unique_key": 7},
                 {"unique_key": "a", "unique": False}],
)  # fmt: skip
def test_a_call_option_that_makes_no_sense_is_refused(keywords):
    """Every option is checked in this way."""
    with pytest.raises(ConfigurationError):
        CallOptions.build(keywords)


def test_a_call_switches_it_off_or_overrides_it():
    """False differs from an omitted option."""
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
    """The error is raised at decoration, with the names of the parameters."""
    stem = Stem(broker_url="memory://unit")
    with pytest.raises(TaskDefinitionError, match=r"nme.*order, note"):

        @stem.task("sync", unique=Unique(by=("order", "nme"), window="1h"))
        def sync(order: str, note: str = "") -> None: ...


def test_calls_that_mean_the_same_have_the_same_key():
    """Arguments may be given by position, by name, in any order, with or without defaults."""
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


CALL = """
from stem_amqp import Stem
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from pydantic import BaseModel
from stem_amqp.tasks.unique import key_of

class Basket(BaseModel):
    tags: set[str]
    parts: dict[str, frozenset[str]] = {}

@dataclass
class Row:
    names: set[str] = field(default_factory=set)

stem = Stem(broker_url="memory://unit")

@stem.task("sync", unique="1h")
def sync(tags: set[str], basket: Basket, rows: list[Row], more: Any = None, also=frozenset("yx")): ...

letters = {chr(97 + number) for number in range(20)}
call = sync.prepare(
    letters, Basket(tags=letters, parts={"b": letters, "a": letters}), [Row(letters)], {"b": 1, "a": 2}
)
print(key_of("stem", call.task, call.same_by(call.unique)))
"""


def test_a_key_does_not_depend_on_the_order_in_which_a_process_keeps_sets():
    """Strings have another hash seed in each process."""
    keys = {
        subprocess.run(
            [sys.executable, "-c", CALL],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(keys) == 1


def test_equal_values_have_the_same_key():
    """This holds for numbers, times and different orders, and for arguments by name."""
    stem = Stem(broker_url="memory://unit")

    @stem.task("sync", unique="1h")
    def sync(price: Decimal, at: datetime, more: Any = None) -> None: ...

    def key(call):
        return key_of("stem", call.task, call.same_by(call.unique))

    here = datetime(2026, 1, 2, 12, tzinfo=UTC)
    there = here.astimezone(timezone(timedelta(hours=2)))
    same = [
        sync.prepare(Decimal("1.50"), here, {"a": 1, "b": [2.0]}),
        sync.prepare(Decimal("1.5"), there, {"b": [2], "a": 1.0}),
        stem.prepare("sync", {"price": 1.5, "at": there.isoformat(), "more": {"b": [2], "a": 1}}),
    ]
    assert len({key(call) for call in same}) == 1
    other = [
        sync.prepare(Decimal("1.51"), here, {"a": 1, "b": [2]}),
        sync.prepare(Decimal("1.5"), here, {"a": True, "b": [2]}),
        sync.prepare(Decimal("1.5"), here, {"a": "1", "b": [2]}),
        sync.prepare(Decimal("1.5"), here, {"a": 1, "b": [2.5]}),
    ]
    assert len({key(call) for call in [*other, same[0]]}) == 5


def test_secrets_that_are_sent_are_distinguished():
    """The key is made from their values, not from asterisks."""
    stem = Stem(broker_url="memory://unit")
    own = PlainSerializer(lambda secret: secret.get_secret_value(), when_used="json")

    @stem.task("sync", unique="1h")
    def sync(token: Annotated[SecretStr, own]) -> None: ...

    first, second = (sync.prepare(SecretStr(text)) for text in ("a", "b"))
    assert first.same_by(first.unique) != second.same_by(second.unique)


def test_keys_of_different_things_differ():
    """Namespace, task, arguments and a custom text each change the key."""
    keys = [
        key_of("a", "t", {"x": 1}), key_of("b", "t", {"x": 1}), key_of("a", "u", {"x": 1}),
        key_of("a", "t", {"x": 2}), key_of("a", "t", {"x": "1"}), key_of("a", "t", {}),
        key_of("a", "t", '{"x":1}'),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    with pytest.raises(ConfigurationError, match="JSON"):
        key_of("a", "t", {"x": object()})


def test_a_key_is_the_same_in_every_process_and_release():
    """Keys are stored: another key would let a second task through during an upgrade."""
    digest = "3d92f6368f93f3cb"
    key = key_of("stem", "orders.sync", {"b": [1, None], "a": "é"})
    program = (
        "from stem_amqp.tasks.unique import key_of;"
        "print(key_of('stem', 'orders.sync', {'a': 'é', 'b': [1, None]}))"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert other.stdout.decode().strip() == key
    assert key.startswith(f"unique:stem:orders.sync:{digest}")
