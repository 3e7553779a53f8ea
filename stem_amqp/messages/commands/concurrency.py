"""A change of how many tasks run at once, as it is written and stored."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from stem_amqp.errors import ConfigurationError

MOST_CONCURRENCY = 65_535
"""The largest concurrency of a queue: AMQP's prefetch is an unsigned integer of 16 bits."""
_CHANGE = re.compile(r"([+=-])([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class ConcurrencyChange:
    """A change of the number of tasks at once.

    Args:
        number: the new number, or how many more; less than 0: fewer.
        relative: whether it is added to the present number.
    """

    number: int
    relative: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``+5``, ``-5`` or ``=20``.

        Raises:
            ConfigurationError: it is none of these, or changes nothing.
        """
        given: object = text  # callers without a type checker may pass any type
        found = _CHANGE.fullmatch(given.strip()) if isinstance(given, str) else None
        if found is None:
            raise ConfigurationError(
                f"{text!r:.60} is not a change of the concurrency: write +5 for five more, -5 for five"
                " fewer, or =20 for exactly twenty"
            )
        sign, number = found[1], int(found[2])
        if sign == "=" and not 1 <= number <= MOST_CONCURRENCY:
            raise ConfigurationError(
                f"the concurrency must be 1 to {MOST_CONCURRENCY}, not {number}\n"
                "  To run nothing, pause the queue: stem-amqp control pause --queue NAME"
            )
        if sign != "=" and not 1 <= number <= MOST_CONCURRENCY:
            raise ConfigurationError(f"{text!r:.60} changes nothing: write +1, -1 or more")
        return cls(-number if sign == "-" else number, relative=sign != "=")

    def __str__(self) -> str:
        return f"{self.number:+d}" if self.relative else f"={self.number}"

    def applied_to(self, present: int) -> int:
        """Return the number that it changes another number to; it may be out of bounds."""
        return present + self.number if self.relative else self.number

    def after(self, earlier: ConcurrencyChange | None) -> ConcurrencyChange | None:
        """Return the one change that is equal to an earlier one and then this; None: no change is left.

        Args:
            earlier: the earlier change; None: there is none.
        """
        if earlier is None or not self.relative:
            return self
        number = earlier.number + self.number
        if earlier.relative and number == 0:
            return None
        return ConcurrencyChange(number, relative=earlier.relative)
