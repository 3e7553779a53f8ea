"""The token bucket of a rate limit."""

from itertools import pairwise

import pytest

from stem_amqp.durations import Rate
from stem_amqp.worker.gates.rate import TokenBucket


def starts(rate, asked_at):
    """Return the times at which starts are allowed that are requested at given times."""
    bucket = TokenBucket(Rate.parse(rate))
    return [now + bucket.take(now) for now in asked_at]


@pytest.mark.parametrize(("rate", "interval"), [("10/s", 0.1), ("600/m", 0.1), ("60/h", 60)])
def test_starts_are_spread_evenly(rate, interval):
    """A hundred simultaneous requests start one interval apart, so no period exceeds its number."""
    times = starts(rate, [0.0] * 100)
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] == 0
    assert gaps == pytest.approx([interval] * 99)


def test_a_fast_rate_may_burst_a_tenth_of_a_second():
    """Timers are not accurate enough for a thousand separate starts a second."""
    times = starts("1000/s", [0.0] * 300)
    assert times.count(0.0) == pytest.approx(100, abs=1)
    assert times[-1] == pytest.approx(0.2, abs=0.01)


def test_idle_time_does_not_add_up():
    """After an hour without starts the rate is the same."""
    times = starts("10/s", [0.0] + [3600.0] * 3)
    assert times[1:] == pytest.approx([3600.0, 3600.1, 3600.2])


def test_asking_takes_nothing():
    """A task that has to wait too long is delayed by the broker, and must not use up a start."""
    bucket = TokenBucket(Rate.parse("1/s"))
    bucket.take(0.0)
    assert bucket.wait(0.5) == pytest.approx(0.5)
    assert bucket.wait(0.5) == pytest.approx(0.5)
    assert bucket.take(1.0) == 0
