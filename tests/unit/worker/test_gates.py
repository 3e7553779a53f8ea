"""Tests of two gates alone: rate limits, and whether a task is due."""

import pytest
from worker_fakes import NOW, job

from stem_amqp.clock import timestamp
from stem_amqp.durations import Rate
from stem_amqp.messages.message import NOT_BEFORE, TaskMessage
from stem_amqp.worker.gates import rate
from stem_amqp.worker.gates.due import has_expired, seconds_early
from stem_amqp.worker.gates.rate import TokenBucket, WorkerRates


def message(**fields):
    """Return a message."""
    return TaskMessage(id="t1", task="work", args={}, **fields)


# Rate limits


def test_starts_of_a_tenth_of_a_second_may_happen_at_once_and_the_others_are_spread_evenly():
    """At 100/s ten starts need not wait, and each further one waits for 10 ms more."""
    bucket = TokenBucket(Rate(count=100, period=1.0))
    waits = [bucket.take(50.0) for _ in range(13)]
    assert waits == pytest.approx([0.0] * 10 + [0.01, 0.02, 0.03])


def test_a_low_rate_allows_one_start_at_a_time():
    """At 1/m the second start waits for a whole minute, and the third for two."""
    bucket = TokenBucket(Rate(count=1, period=60.0))
    assert [bucket.take(50.0) for _ in range(3)] == pytest.approx([0.0, 60.0, 120.0])


def test_an_idle_time_saves_up_no_starts():
    """After an hour without a start, as many happen at once as at the beginning; no wait is negative."""
    bucket = TokenBucket(Rate(count=1, period=1.0))
    bucket.take(0.0)
    assert bucket.wait(3600.0) == 0.0
    assert [bucket.take(3600.0) for _ in range(2)] == pytest.approx([0.0, 1.0])


def test_each_key_has_a_rate_of_its_own():
    """A key whose rate is used up does not hold another one."""
    rates, once = WorkerRates(), Rate(count=1, period=1.0)
    assert [rates.take([(key, once)], 8.0) for key in ("a", "a", "b")] == [0.0, 1.0, 0.0]


def test_a_long_wait_takes_no_start():
    """The limit itself is still held in the worker; beyond it, each ask returns the same wait."""
    rates, slow = WorkerRates(), [("a", Rate(count=1, period=rate.MAX_HELD))]
    assert [rates.take(slow, 64.0) for _ in range(4)] == [0.0, 5.0, 10.0, 10.0]


def test_of_several_rates_the_longest_wait_counts():
    """A start is taken from all of them, or from none."""
    rates = WorkerRates()
    fast, slow = ("fast", Rate(count=1, period=1.0)), ("slow", Rate(count=1, period=60.0))
    assert rates.take([fast, slow], 8.0) == 0.0
    assert rates.take([fast, slow], 8.0) == 60.0
    assert rates.take([fast], 8.0) == 1.0


def test_a_changed_rate_counts_anew():
    """The bucket of the former rate is replaced."""
    rates = WorkerRates()
    rates.take([("a", Rate(count=1, period=86400.0))], 8.0)
    assert rates.take([("a", Rate(count=1, period=1.0))], 8.0) == 0.0


def test_the_keys_that_were_not_used_for_the_longest_time_are_forgotten(monkeypatch):
    """The number of remembered keys is bounded."""
    monkeypatch.setattr(rate, "MOST_KEYS", 2)
    rates, once = WorkerRates(), Rate(count=1, period=1.0)
    waits = [rates.take([(key, once)], 8.0) for key in ("a", "b", "a", "c", "a", "b")]
    assert waits == [0.0, 0.0, 1.0, 0.0, 2.0, 0.0]


# Due times


@pytest.mark.parametrize(
    ("expires", "expired"),
    [
        (None, False),
        (timestamp(NOW - 1), True),
        (timestamp(NOW), True),
        (timestamp(NOW + 1), False),
        ("soon", False),
    ],
)
def test_a_task_expires_at_its_time(expires, expired):
    """At that time it may no longer start; without one, or with a malformed one, it may."""
    assert has_expired(message(expires=expires), NOW) is expired


@pytest.mark.parametrize(
    ("early", "seconds"), [(-60.0, 0.0), (0.9, 0.0), (1.0, 0.0), (1.5, 1.5), (60.0, 60.0)]
)
def test_a_message_may_be_a_second_early(early, seconds):
    """Clocks of machines differ by less; beyond that the whole time is returned."""
    one = job(headers={NOT_BEFORE: timestamp(NOW + early)})
    assert seconds_early(one, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["later", 7, b"x", None])
def test_a_malformed_time_makes_no_task_early(value, caplog):
    """It is logged and ignored, also if another client wrote a number."""
    assert seconds_early(job(headers={NOT_BEFORE: value}), NOW) == 0.0
    assert ("is not a valid time" in caplog.text) is (value is not None)
