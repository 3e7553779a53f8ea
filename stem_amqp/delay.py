"""Decimal delay: encode a waiting time as digits of a routing key. Pure arithmetic.

A delay is a number of 100 ms units, written with eight digits. The routing key is the digits, most
significant first, then the logical queue: ``0.0.0.0.0.1.5.0.orders`` waits 15 s in two hops.
Each digit has an exchange and nine queues of one fixed TTL, so no message waits behind another's
longer delay. The message is published to the exchange of its first digit that is not zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEVELS = 8
"""Digits of a delay; level 0 is the least significant one."""
UNIT_MS = 100
"""Milliseconds of one unit."""
MAX_UNITS = 99_999_999
"""The longest single delay, about 115 days; a longer one is delayed again on arrival."""
MAX_SECONDS = MAX_UNITS * UNIT_MS / 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class DelayRoute:
    """The delay exchange and routing key for a delayed message.

    Args:
        level: the digit's level, 0 to 7, whose exchange takes the message.
        routing_key: the eight digits and the logical queue.
        units: the delay in units of 100 ms.
    """

    level: int
    routing_key: str
    units: int

    @property
    def seconds(self) -> float:
        """The delay that the broker applies."""
        return self.units * UNIT_MS / 1000


def exact_units(delay: float) -> int:
    """Return the smallest number of units that is not shorter than the delay in seconds.

    At least one unit, at most `MAX_UNITS`.
    """
    # Without rounding, 0.3 s would become four units: 0.3 * 1000 / 100 = 3.0000000000000004
    return min(max(math.ceil(round(delay * 1000 / UNIT_MS, 6)), 1), MAX_UNITS)


def two_digit_units(delay: float) -> int:
    """Return the delay in units with at most two significant digits, rounded up.

    A retry then takes two hops at most, and keeps its jitter.
    """
    units = exact_units(delay)
    step = int(10 ** max(len(str(units)) - 2, 0))
    rounded = -(-units // step) * step
    return rounded if rounded <= MAX_UNITS else 99 * 10 ** (LEVELS - 2)


def route(units: int, queue: str) -> DelayRoute:
    """Return the exchange's level and the routing key for a delay.

    Args:
        units: 1 to `MAX_UNITS` units of 100 ms.
        queue: the logical queue that receives the message, or the routing word of its holding queue.

    Raises:
        ValueError: the number of units is out of range.
    """
    if not 1 <= units <= MAX_UNITS:
        raise ValueError(f"a delay must have 1 to {MAX_UNITS} units, not {units}")
    digits = f"{units:0{LEVELS}d}"
    first = next(index for index, digit in enumerate(digits) if digit != "0")
    return DelayRoute(
        level=LEVELS - 1 - first, routing_key=".".join(digits) + "." + queue, units=units
    )


def ttl_ms(level: int, digit: int) -> int:
    """Return the TTL in milliseconds of the queue for one digit at one level."""
    return int(digit * 10**level * UNIT_MS)


def binding_key(level: int, digit: int) -> str:
    """Return the topic pattern that matches a digit at a level, with any other digits."""
    return "*." * (LEVELS - 1 - level) + f"{digit}.#"


def delivery_key(queue: str) -> str:
    """Return the topic pattern that binds a work queue to the exchange where delays end."""
    return "*." * LEVELS + queue


def due_key(queue: str) -> str:
    """Return the routing key of a message whose delay has ended."""
    return "0." * LEVELS + queue
