"""Throttled tasks: of equal calls, so many are enqueued in a period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from stem_amqp.durations import Rate, shown
from stem_amqp.errors import ConfigurationError
from stem_amqp.tasks.equal_calls.choice import checked_names, chosen

Second: TypeAlias = Literal["existing", "error"]

MOST_CALLS = 20
"""The most calls of a period: each has a key, and a call that is not enqueued looks at all of them."""


@dataclass(frozen=True, slots=True)
class Throttle:
    """Enqueue at most so many of several equal calls in any period.

    Args:
        rate: the most calls in a period, such as ``"1/m"``: 1 to 20 in a s, m, h or d.
        by: names of the arguments that identify equal calls; default: all arguments.
        second: what a further call returns or raises: ``"existing"`` returns a handle of the newest task
            that was enqueued; ``"error"`` raises `DuplicateTaskError` with its id.

    Raises:
        ConfigurationError: a value is not valid.
    """

    rate: str
    by: tuple[str, ...] | None = None
    second: Second = "existing"

    def __post_init__(self) -> None:
        calls = Rate.parse(self.rate).count
        if not 1 <= calls <= MOST_CALLS:
            raise ConfigurationError(
                f"throttle takes 1 to {MOST_CALLS} calls in a period, not {shown(self.rate)}.\n  To limit"
                " how often a task runs, and to lose no call, use rate_limit."
            )
        choices = get_args(Second)
        if self.second not in choices:
            raise ConfigurationError(
                f"second must be {' or '.join(map(repr, choices))}, not {shown(self.second)}"
            )
        object.__setattr__(self, "by", checked_names(self.by))

    @classmethod
    def parse(cls, value: Throttle | str | bool) -> Throttle | None:
        """Read the option's short forms.

        Args:
            value: a rate; False for none.

        Raises:
            ConfigurationError: the value is not valid.
        """
        if isinstance(value, Throttle):
            return value
        if value is False:
            return None
        given: Any = value
        return cls(given)

    @property
    def limit(self) -> Rate:
        """The rate."""
        return Rate.parse(self.rate)

    def chosen(self, task: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that identify equal calls; see `choice.chosen`."""
        return chosen(self.by, args, subject=f"task {task} is throttled", option="throttle_key")
