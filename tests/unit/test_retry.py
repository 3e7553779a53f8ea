"""Retry policies."""

import pytest
import tenacity

from stem_amqp.errors import ConfigurationError
from stem_amqp.retry import DEFAULT_POLICY, RetryPolicy


def waits(policy, attempt, times=200):
    return [policy.delay(attempt, ValueError("x")) for _ in range(times)]


@pytest.mark.parametrize(("attempt", "longest"), [(0, 2), (1, 4), (2, 8), (8, 300), (60, 300)])
def test_the_default_doubles_from_two_seconds_to_five_minutes(attempt, longest):
    """A quarter of the wait is jitter, which is subtracted."""
    values = waits(DEFAULT_POLICY, attempt)
    assert all(0.75 * longest <= value <= longest for value in values)
    assert max(values) - min(values) > 0.1 * longest


def test_the_short_form_is_exponential():
    """base, factor and max give the wait; without jitter it is exact."""
    policy = RetryPolicy(base="1s", factor=3, max="10s", jitter=0)
    assert [policy.delay(n, ValueError()) for n in range(4)] == [1, 3, 9, 10]


def test_tenacity_strategies_are_used_as_they_are():
    """wait, stop and retry get the attempt, the exception and the time since the enqueue."""
    policy = RetryPolicy(
        wait=tenacity.wait_fixed(7) + tenacity.wait_incrementing(start=0, increment=1),
        stop=tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(100),
        retry=tenacity.retry_if_exception_type(OSError),
    )
    assert policy.delay(0, OSError()) == 7
    assert policy.delay(1, OSError()) == 8
    assert policy.delay(2, OSError()) is None
    assert policy.delay(0, OSError(), elapsed=101) is None
    assert policy.accepts(0, ConnectionError())
    assert not policy.accepts(0, ValueError())


def test_the_short_form_is_sent_and_a_strategy_is_not():
    """A call's own policy is sent in the message, so it must consist of plain values."""
    short = RetryPolicy(base="1s", max="1m").short_form()
    assert RetryPolicy.parse(short).short_form() == short
    for policy in (
        RetryPolicy(wait=tenacity.wait_fixed(1)),
        RetryPolicy(stop=tenacity.stop_after_delay(3)),
    ):
        with pytest.raises(ConfigurationError, match="cannot be sent"):
            policy.short_form()


@pytest.mark.parametrize(
    "values",
    [
        {"factor": 0.5}, {"base": "1h"}, {"jitter": 2}, {"jitter": -1}, {"base": "5"}, {"max": -1},
        {"wait": tenacity.wait_fixed(1), "base": 1},
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(values):
    """The error is raised where the policy is made."""
    with pytest.raises(ConfigurationError):
        RetryPolicy(**values)


def test_an_unknown_key_is_refused():
    """The error names the keys of the short form."""
    with pytest.raises(ConfigurationError, match="base, factor, max, jitter"):
        RetryPolicy.parse({"bas": 1})
