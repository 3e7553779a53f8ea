"""Selection of dead letters."""

from datetime import UTC, datetime

import pytest

from stem_amqp.dead_letter import ALL, UNKNOWN, DeadLetter, Selection
from stem_amqp.errors import ConfigurationError
from stem_amqp.states import Reason

NOW = 1_800_000_000.0


def letter(task_id="a", task="orders.sync", reason="retries-exhausted", age=60.0):
    """Return a dead letter that failed a number of seconds ago."""
    failed_at = None if age is None else datetime.fromtimestamp(NOW - age, UTC)
    return DeadLetter(position=1, id=task_id, task=task, reason=reason, failed_at=failed_at)


def test_nothing_given_means_every_letter():
    """`ALL` also matches dead letters without id, task and time."""
    assert ALL.matches(letter(), NOW)
    assert ALL.matches(letter(None, None, UNKNOWN, None), NOW)
    assert not ALL.names(letter())


@pytest.mark.parametrize(
    ("selection", "matches"),
    [
        (Selection(ids=frozenset({"a", "b"})), True),
        (Selection(ids=frozenset({"b"})), False),
        (Selection(ids=frozenset()), False),
        (Selection(tasks="orders.*"), True),
        (Selection(tasks="Orders.*"), False),
        (Selection(tasks="emails.*"), False),
        (Selection(reasons=frozenset({"retries-exhausted", "expired"})), True),
        (Selection(reasons=frozenset({Reason.RETRIES_EXHAUSTED})), True),
        (Selection(reasons=frozenset({"expired"})), False),
        (Selection(older_than=60), True),
        (Selection(older_than=61), False),
        (Selection(newer_than=60), True),
        (Selection(newer_than=59), False),
        (Selection(older_than=30, newer_than=90), True),
        (Selection(tasks="orders.*", reasons=frozenset({"expired"})), False),
    ],
)
def test_everything_that_is_given_must_fit(selection, matches):
    """Ids, task, reason and age each narrow the selection."""
    assert selection.matches(letter(), NOW) is matches


def test_a_letter_without_a_time_has_no_age_to_fit():
    """A selection by age never includes a dead letter of unknown age."""
    assert not Selection(older_than=0).matches(letter(age=None), NOW)
    assert not Selection(newer_than=1e9).matches(letter(age=None), NOW)


def test_a_letter_without_a_task_name_matches_only_every_task():
    """Only the glob that matches every name matches a dead letter without a task name."""
    assert not Selection(tasks="orders.*").matches(letter(task=None), NOW)
    assert Selection(tasks="*").matches(letter(task=None), NOW)


def test_only_ids_choose_a_letter_by_name():
    """A dead letter can match without its id in the selection."""
    assert Selection(ids=frozenset({"a"})).names(letter())
    assert not Selection(tasks="*").names(letter())
    assert not Selection(ids=frozenset({"a"})).names(letter(task_id=None))


def test_a_misspelt_reason_is_refused_with_the_right_one():
    """A typo must not look like an empty queue."""
    with pytest.raises(ConfigurationError, match="did you mean 'retries-exhausted'"):
        Selection(reasons=frozenset({"retry-exhausted"}))


@pytest.mark.parametrize("name", ["older_than", "newer_than"])
@pytest.mark.parametrize("age", [-1.0, float("nan")])
def test_an_age_is_not_negative(name, age):
    """Ages count backwards from now."""
    with pytest.raises(ConfigurationError, match=name):
        Selection(**{name: age})
