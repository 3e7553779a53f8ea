"""Routing of delayed messages: one computation for new tasks, retries and snoozed tasks."""

import pytest

from stem_amqp.delay import exact_units, two_digit_units
from stem_amqp.topology.delay_router import DelayRouter
from stem_amqp.topology.file.load import parse_topology
from stem_amqp.topology.model import Topology
from stem_amqp.topology.names import Names, due_word

NAMES = Names("shop")
DELAYS = DelayRouter(NAMES, Topology(version=1))


@pytest.mark.parametrize("delay", [0, 0.0, -1.5])
def test_what_is_due_goes_straight_to_its_queue(delay):
    """A delay that is over is routed like a task without one."""
    assert DELAYS.after("orders", delay) == (NAMES.tasks, "orders")
    assert DELAYS.after("orders", delay, rounded=True) == (NAMES.tasks, "orders")


def test_a_delay_enters_at_its_first_digit():
    """The exchange is that of the first digit that is not zero; the key has the exact delay."""
    assert DELAYS.after("orders", 123.4) == (NAMES.delay_exchange(3), "0.0.0.0.1.2.3.4.orders")


def test_a_rounded_delay_has_two_digits():
    """It takes two hops at most, and is not shorter than the requested delay."""
    assert DELAYS.after("orders", 123.4, rounded=True) == (
        NAMES.delay_exchange(3),
        "0.0.0.0.1.3.0.0.orders",
    )


@pytest.mark.parametrize("delay", [0.01, 0.3, 59.99, 3600, 10**9])
def test_seconds_and_units_give_the_same_way(delay):
    """Seconds are converted once, for both kinds of rounding."""
    assert DELAYS.after("orders", delay) == DELAYS.to("orders", exact_units(delay))
    assert DELAYS.after("orders", delay, rounded=True) == DELAYS.to(
        "orders", two_digit_units(delay)
    )


def test_a_queue_that_can_be_full_gets_its_delays_through_a_holding_queue():
    """The key names the holding queue instead of the work queue; due messages go straight there."""
    topology = parse_topology("version: 1\nqueues:\n  full:\n    max_length: 3\n")
    router = DelayRouter(NAMES, topology)
    assert router.after("full", 1)[1] == f"0.0.0.0.0.0.1.0.{due_word('full')}"
    assert router.after("full", 0) == (NAMES.tasks, "full")
