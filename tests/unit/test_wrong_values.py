"""Values of wrong types: every setting and every reader refuses them with a readable error."""

import os
from decimal import Decimal
from pathlib import Path

import pytest

from stem_amqp import Stem
from stem_amqp.durations import Rate, seconds
from stem_amqp.errors import ConfigurationError
from stem_amqp.management.client import Management
from stem_amqp.results.postgres.address import parse_address
from stem_amqp.results.redis.address import RedisAddress
from stem_amqp.retry import RetryPolicy
from stem_amqp.settings import Settings
from stem_amqp.tasks.unique import Unique
from stem_amqp.transport.amqp.urls import BrokerUrl

TEXTS = [
    "", " ", "x", "{bad", "[1", "[1, 2]", "{}", '{"a": 2}', "{" * 5000, "null", "true", "-1", "1.5",
    "nan", "inf", "1e999", "9" * 5000, "9" * 5000 + "s", "9" * 400 + "/s", "é", "٣", "\n", "😀" * 300,
    "amqp://", "amqp://[::1", "amqp://h:99999/", "redis://h/" + "9" * 5000, "http://h:p/", "://", "a,b",
]  # fmt: skip
OTHERS = [
    10, -1, 0, 1.5, float("nan"), float("inf"), -float("inf"), 10**5000, -(10**5000), True, False,
    b"x", b"\xff", "\0", "\udcff", [], [1], [None], {}, {1: 2}, {"a": object()}, {object(): 1}, (), (1,), set(),
    object(), Decimal("NaN"), Path(), int, lambda: 1,
]  # fmt: skip
LONGEST = 1000
"""Characters of an error that fits one screen."""


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("STEM_")]:
        monkeypatch.delenv(name)


def used(settings):
    """Use settings as an application does, without connecting."""
    Stem(settings=settings)
    Management.of(settings)


def refused_in_words(name, read, *args, **values):
    """Check that a value is used, or refused by an error that names it and fits one screen."""
    try:
        read(*args, **values)
    except ConfigurationError as error:
        text, length = str(error)[:200], len(str(error))
        assert name in text
        assert length < LONGEST, text


@pytest.mark.parametrize("field", Settings.model_fields)
def test_a_setting_of_a_wrong_kind_is_refused_by_its_name(field):
    """Any value of a setting in code is accepted or refused with a `StemError`."""
    for value in [*OTHERS, *TEXTS]:
        refused_in_words(f"STEM_{field.upper()}", Settings.load, **{field: value})


@pytest.mark.parametrize("field", Settings.model_fields)
def test_a_variable_of_a_wrong_kind_is_refused_by_its_name(monkeypatch, field):
    """The same holds for values from the environment."""
    variable = f"STEM_{field.upper()}"
    for text in [*TEXTS, "\udcff"]:
        monkeypatch.setenv(variable, text)
        refused_in_words(variable, Settings.load)


def test_settings_that_are_taken_make_an_application_or_a_named_error(monkeypatch):
    """Mistakes that only appear in the application are a `ConfigurationError` too."""
    for field in Settings.model_fields:
        for text in TEXTS:
            monkeypatch.setenv(f"STEM_{field.upper()}", text)
            refused_in_words("", lambda: used(Settings.load()))
        monkeypatch.delenv(f"STEM_{field.upper()}")


@pytest.mark.parametrize(
    "read",
    [
        seconds, Rate.parse, RetryPolicy.parse, Unique.parse, BrokerUrl.parse, RedisAddress.parse,
        parse_address,
        lambda value: RetryPolicy.parse({"base": value}),
        lambda value: RetryPolicy.parse({"factor": value}),
        lambda value: RetryPolicy.parse({"max": value}),
        lambda value: RetryPolicy.parse({"jitter": value}),
        lambda value: Unique(by=value),
        lambda value: Unique(window=value),
        lambda value: Unique(until=value),
        lambda value: Unique(second=value),
    ],
)  # fmt: skip
def test_a_reader_refuses_a_wrong_kind_in_words(read):
    """Every ``parse`` accepts a value or raises `ConfigurationError`, for any type."""
    for value in [None, *OTHERS, *TEXTS]:
        refused_in_words("", read, value)


def test_numbers_that_are_none_are_no_retry_policy():
    """NaN and infinity pass comparisons that were written for numbers."""
    for name in ("base", "factor", "max", "jitter"):
        for value in (float("nan"), -1):
            with pytest.raises(ConfigurationError):
                RetryPolicy.parse({name: value})


@pytest.mark.parametrize(
    ("path", "name"),
    [("", "/"), ("/", "/"), ("/%2F", "/"), ("/a", "a"), ("/a%252Fb", "a%2Fb"), ("/a%2Fb", "a/b")],
)
def test_the_name_of_a_virtual_host_is_decoded_once(path, name):
    """All readers of the URL get the same name."""
    url = f"amqp://host{path}"
    assert BrokerUrl.parse(url).virtual_host == name
    assert Management.of(Settings.load(broker_url=url)).virtual_host == name
