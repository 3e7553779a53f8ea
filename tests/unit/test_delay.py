"""Decimal delays: digits, rounding and routing keys."""

import itertools
import random

import pytest

from stem_amqp.delay import (
    LEVELS,
    MAX_SECONDS,
    MAX_UNITS,
    UNIT_MS,
    DelayRoute,
    binding_key,
    delivery_key,
    exact_units,
    route,
    ttl_ms,
    two_digit_units,
)


def delays(seed, count=5000):
    """Yield delays in seconds of every magnitude."""
    generator = random.Random(seed)
    for _ in range(count):
        yield 10 ** generator.uniform(-3, 7)


def significant_digits(units):
    """Return the number of digits without the trailing zeros."""
    return len(str(units).rstrip("0"))


@pytest.mark.parametrize(
    ("delay", "units"),
    [
        (0, 1), (-5, 1), (0.0001, 1), (0.1, 1), (0.100001, 2), (0.3, 3), (0.35, 4), (1.1, 11),
        (15, 150), (86400, 864_000), (MAX_SECONDS, MAX_UNITS), (MAX_SECONDS + 1, MAX_UNITS),
        (1e12, MAX_UNITS),
    ],
)  # fmt: skip
def test_exact_units_are_the_fewest_that_are_long_enough(delay, units):
    """A delay is rounded up to whole units: at least one, at most the longest."""
    assert exact_units(delay) == units


def test_a_delay_in_tenths_is_not_rounded_up_by_a_floating_point_error():
    """0.3 s is three units, although 0.3 * 1000 / 100 is more than 3."""
    assert [exact_units(tenths / 10) for tenths in range(1, 5000)] == list(range(1, 5000))


def test_an_exact_delay_is_never_early_and_less_than_a_unit_late():
    """An ETA keeps all its digits."""
    for delay in delays(seed=1):
        wait = exact_units(delay) * UNIT_MS / 1000
        # the rounding lets a ten-thousandth of a millisecond pass
        assert delay - 1e-6 <= wait < delay + UNIT_MS / 1000 or wait == MAX_SECONDS


def test_two_digit_units_are_never_early_and_a_tenth_late_at_most():
    """A retry takes two hops at most."""
    for delay in delays(seed=2):
        exact, rounded = exact_units(delay), two_digit_units(delay)
        assert significant_digits(rounded) <= 2
        assert rounded <= MAX_UNITS
        if exact <= 99 * 10 ** (LEVELS - 2):
            assert exact <= rounded < exact * 1.1 + 1


@pytest.mark.parametrize(
    ("delay", "units"),
    [(0.1, 1), (9.9, 99), (10, 100), (10.1, 110), (99.9, 1000), (MAX_SECONDS, 99_000_000)],
)
def test_two_digit_units_carry_over(delay, units):
    """Rounding up a nine carries to the next digit, but not beyond the last."""
    assert two_digit_units(delay) == units


def test_two_digit_units_do_not_become_shorter_when_the_delay_becomes_longer():
    """Rounding keeps the order of delays."""
    rounded = [two_digit_units(delay) for delay in sorted(delays(seed=3))]
    assert rounded == sorted(rounded)


@pytest.mark.parametrize(
    ("units", "level", "key"),
    [
        (1, 0, "0.0.0.0.0.0.0.1.orders"),
        (150, 2, "0.0.0.0.0.1.5.0.orders"),
        (MAX_UNITS, 7, "9.9.9.9.9.9.9.9.orders"),
        (10_000_000, 7, "1.0.0.0.0.0.0.0.orders"),
    ],
)
def test_a_route_begins_at_the_first_digit_that_is_not_zero(units, level, key):
    """The message goes to the exchange of its first digit; the key has the digits and the queue."""
    assert route(units, "orders") == DelayRoute(level=level, routing_key=key, units=units)


@pytest.mark.parametrize("units", [0, -1, MAX_UNITS + 1])
def test_a_route_of_no_delay_or_too_long_a_one_is_refused(units):
    """A delay has eight digits at most."""
    with pytest.raises(ValueError, match="1 to 99999999 units"):
        route(units, "orders")


def test_a_route_says_how_long_the_broker_waits():
    """The seconds are those of the units: the requested delay, rounded up."""
    assert route(exact_units(12.34), "orders").seconds == pytest.approx(12.4)


def test_the_ttls_of_a_route_add_up_to_its_delay():
    """The message waits in one queue per digit, and the waits add up to the delay."""
    for delay in delays(seed=4, count=500):
        found = route(exact_units(delay), "orders")
        digits = [int(digit) for digit in found.routing_key.split(".")[:LEVELS]]
        waits = [ttl_ms(LEVELS - 1 - index, digit) for index, digit in enumerate(digits)]
        assert sum(waits) == found.units * UNIT_MS
        assert waits[: LEVELS - 1 - found.level] == [0] * (LEVELS - 1 - found.level)


def test_all_ttls_differ():
    """No two delay queues have the same TTL, so the TTL can be part of the name."""
    ttls = [ttl_ms(level, digit) for level in range(LEVELS) for digit in range(1, 10)]
    assert len(set(ttls)) == len(ttls) == 72


def matches(pattern, key):
    """Return whether a topic pattern matches: single-word wildcards, and # at its end at most."""
    words, parts = key.split("."), pattern.split(".")
    if parts[-1] == "#":
        parts = parts[:-1]
        words = words[: len(parts)]
    pairs = itertools.zip_longest(parts, words)
    return all(part in {"*", word} for part, word in pairs) and len(parts) == len(words)


def test_one_binding_of_a_level_fits_a_key():
    """At each level only the digit of that level decides, for any queue name."""
    for delay in delays(seed=5, count=300):
        for queue in ("orders", "7", "1.2.3.4.5.6.7.8"):
            key = route(exact_units(delay), queue).routing_key
            for level in range(LEVELS):
                fitting = [d for d in range(10) if matches(binding_key(level, d), key)]
                assert fitting == [int(key.split(".")[LEVELS - 1 - level])]


def test_a_delivery_key_fits_only_its_own_queue():
    """A queue does not get the messages of a queue whose longer name ends like its own."""
    queues = ["a", "b.a", "a.b", "a.a", "0", "0.a", "1.2.3.4.5.6.7.8"]
    for queue in queues:
        key = route(150, queue).routing_key
        assert [other for other in queues if matches(delivery_key(other), key)] == [queue]
