"""The keys of limits."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stem_amqp.durations import Rate
from stem_amqp.limits.base import KEY_LENGTH, Wanted, key_parts, limit_key

TEXTS = st.text(
    st.one_of(st.sampled_from(string.printable + "\0:~"), st.characters()), max_size=300
)
NAMES = st.text(st.sampled_from("ab:01~"), min_size=1, max_size=9) | TEXTS.filter(bool)


def test_keys_can_be_read():
    """Operators recognise the limit and the value."""
    assert limit_key("orders.sync") == "orders.sync"
    assert limit_key("crm", "acme") == "crm:acme"
    assert limit_key("crm", 7) == "crm:7"


@given(NAMES, TEXTS)
def test_keys_are_short_and_can_be_stored(name, value):
    """Whatever the value, the key is printable and has a bounded length."""
    key = limit_key(name, value)
    assert len(key) <= KEY_LENGTH
    assert key.isprintable()
    key.encode()


@given(NAMES, st.none() | NAMES, NAMES, st.none() | NAMES)
def test_different_limits_have_different_keys(name, value, other_name, other_value):
    """A name with a colon is no other name with a value, and long values that begin alike differ."""
    same = (name, value) == (other_name, other_value)
    assert (limit_key(name, value) == limit_key(other_name, other_value)) == same


@given(NAMES, st.none() | TEXTS)
def test_a_key_shows_its_name_and_value(name, value):
    """Operators see which limit and which value a key belongs to, unless it is too long."""
    key = limit_key(name, value)
    if "~" not in key:
        assert key_parts(key) == (name, value)


def test_a_long_key_shows_its_beginning():
    """The name is whole, and the value ends with a hash."""
    name, value = key_parts(limit_key("limit:crm", "acme " * 50))
    assert (name, value[:9]) == ("limit:crm", "acme acme")


def test_a_value_may_look_like_another_key():
    """Names and values that are chosen on purpose do not meet."""
    assert limit_key("a", "b") != limit_key("a:b")
    assert limit_key("a:1:b", "x") != limit_key("a", "b:5:x")
    long = "x" * 500
    hashed = limit_key("a", long)
    assert limit_key("a", hashed.removeprefix("a:")) != hashed
    assert limit_key("a", long) != limit_key("a", long + "y")
    assert limit_key("a", "\\0") != limit_key("a", "\0")


@pytest.mark.parametrize("values", [{"burst": 0}, {"concurrency": 0}, {"concurrency": -1}])
def test_a_limit_of_nothing_is_an_error(values):
    """It would never allow a start."""
    with pytest.raises(ValueError, match="'k' must be at least 1"):
        Wanted(key="k", rate=Rate(count=1, period=1.0), **values)
