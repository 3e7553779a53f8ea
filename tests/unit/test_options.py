"""Options of tasks and calls."""

from datetime import UTC, datetime

import pytest
import tenacity

from stem_amqp import Stem
from stem_amqp.durations import Rate
from stem_amqp.errors import ConfigurationError
from stem_amqp.options import CallOptions, TaskOptions
from stem_amqp.retry import RetryPolicy


def test_task_options_are_normalised():
    """Durations become seconds, a single exception type becomes a tuple."""
    options = TaskOptions.build(
        {
            "time_limit": "1m",
            "soft_time_limit": 50,
            "rate_limit": "10/s",
            "retry_on": OSError,
            "retry": {"base": "1s"},
            "tags": ["a"],
            "queue": None,
        }
    )
    assert (options.time_limit, options.soft_time_limit) == (60, 50)
    assert options.rate_limit == Rate(count=10, period=1)
    assert options.retry_on == (OSError,)
    assert options.tags == ("a",)


@pytest.mark.parametrize(
    "keywords",
    [
        {"retries": 3}, {"max_retries": -1}, {"max_retries": True}, {"queue": "a b"},
        {"queue": "a..b"}, {"priority": 256}, {"rate_limit": "fast"}, {"time_limit": 0},
        {"time_limit": "10s", "soft_time_limit": "10s"}, {"retry_on": (ValueError, "x")},
        {"retry": "fast"}, {"never_retry_on": BaseException},
    ],
)  # fmt: skip
def test_a_task_option_that_makes_no_sense_is_refused(keywords):
    """The mistake is seen at decoration."""
    with pytest.raises(ConfigurationError):
        TaskOptions.build(keywords)


@pytest.mark.parametrize(
    "keywords",
    [
        {"countdown": 3}, {"delay": "1h", "eta": datetime.now(UTC)}, {"eta": datetime(2026, 1, 1)},
        {"eta": 5}, {"expires": datetime(2026, 1, 1)}, {"delay": -1},
        {"retry": RetryPolicy(wait=tenacity.wait_fixed(1))},
    ],
)  # fmt: skip
def test_a_call_option_that_makes_no_sense_is_refused(keywords):
    """The mistake is seen where the call is made."""
    with pytest.raises(ConfigurationError):
        CallOptions.build(keywords)


def test_only_what_the_worker_must_know_travels():
    """Queue, delay and priority are the broker's affair; the body carries the rest."""
    options = CallOptions.build(
        {"queue": "q", "delay": 3, "max_retries": 0, "retry": {"base": 1}, "ignore_result": False}
    )
    assert options.carried() == {
        "max_retries": 0,
        "ignore_result": False,
        "retry": {"base": 1.0, "factor": 2.0, "max": 300.0, "jitter": 0.25},
    }


def test_a_decorator_without_a_name_says_what_to_write():
    """The function comes as the name, and the error names it."""
    with pytest.raises(ConfigurationError, match=r"nameless.* write @stem\.task\('orders\.sync'\)"):

        @Stem().task
        def nameless():
            """Do nothing."""
