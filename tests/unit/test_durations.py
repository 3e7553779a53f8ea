"""Durations and rates as users write them."""

from datetime import timedelta

import pytest

from stem_amqp.durations import Rate, format_seconds, seconds
from stem_amqp.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("200ms", 0.2), ("30s", 30), ("5m", 300), ("2h", 7200), ("14d", 1209600),
        ("1h30m", 5400), ("1.5s", 1.5), (3, 3.0), (0, 0.0), (timedelta(minutes=2), 120),
    ],
)  # fmt: skip
def test_a_duration_is_read(text, expected):
    """Numbers are seconds, texts have a unit."""
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "5", "5 s", "s", "-1s", "1x", "10/s", True, None, -1, float("nan"), float("inf")]
)
def test_what_is_no_duration_is_refused(text):
    """A text without a unit, a negative number or another type is an error."""
    with pytest.raises(ConfigurationError):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "count", "period"), [("10/s", 10, 1), ("600/m", 600, 60), ("5/h", 5, 3600)]
)
def test_a_rate_is_read(text, count, period):
    """A rate is a count and its period, and is written back in the same form."""
    rate = Rate.parse(text)
    assert (rate.count, rate.period, str(rate)) == (count, period, text)


@pytest.mark.parametrize("text", ["10", "0/s", "10/x", "1.5/s", " 10/s", "10 / s", "-1/s", ""])
def test_what_is_no_rate_is_refused(text):
    """The syntax is strict: a rate that cannot be read must not mean no limit."""
    with pytest.raises(ConfigurationError, match="not a valid rate"):
        Rate.parse(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "100 ms"),
        (1.5, "1.5 s"),
        (30, "30 s"),
        (300, "5 min"),
        (5400, "1.5 h"),
        (172800, "2 d"),
    ],
)
def test_seconds_are_written_for_people(value, text):
    """The largest unit that fits is used."""
    assert format_seconds(value) == text
