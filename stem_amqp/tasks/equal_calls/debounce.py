"""Debounced tasks: of equal calls that follow each other closely, the last one runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stem_amqp.durations import Duration, format_seconds, seconds, shown
from stem_amqp.errors import ConfigurationError
from stem_amqp.tasks import option_values as option
from stem_amqp.tasks.equal_calls.choice import checked_names, chosen

DEBOUNCE = "debounce"
"""The option in the body with the place of a call among equal ones."""
PREFIX = "debounce:"
"""The beginning of the keys in the result backend."""
LONGEST_KEY = 1024
"""The longest key that a worker accepts, in characters."""


@dataclass(frozen=True, slots=True)
class Debounce:
    """Run only the last of several equal calls that follow each other within a time.

    Args:
        wait: how long a call waits for the next equal one: seconds or a text such as ``"5s"``. Each
            further call begins the wait again.
        max_wait: the longest time from the first of the calls to the run, however many follow; None: no
            limit.
        by: names of the arguments that identify equal calls; default: all arguments.

    Raises:
        ConfigurationError: a value is not valid.
    """

    wait: Duration
    max_wait: Duration | None = None
    by: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.wait, bool):
            raise ConfigurationError(f'debounce takes a wait such as "5s", not {shown(self.wait)}')
        wait = option.positive("the wait of debounce", self.wait)
        if self.max_wait is not None and option.positive("max_wait", self.max_wait) < wait:
            raise ConfigurationError(
                f"max_wait ({format_seconds(seconds(self.max_wait))}) is shorter than the wait of debounce"
                f" ({format_seconds(wait)}): it limits the waits of several calls together"
            )
        object.__setattr__(self, "by", checked_names(self.by))

    @classmethod
    def parse(cls, value: Debounce | Duration | bool) -> Debounce | None:
        """Read the option's short forms.

        Args:
            value: a wait; False for none.

        Raises:
            ConfigurationError: the value is not valid.
        """
        if isinstance(value, Debounce):
            return value
        if value is False:
            return None
        return cls(value)

    @property
    def seconds(self) -> float:
        """The wait in seconds."""
        return seconds(self.wait)

    def due(self, first: float, now: float) -> float:
        """Return when a call is due, in seconds since the epoch.

        Args:
            first: when the first of the equal calls was made.
            now: when this one is.
        """
        due = now + self.seconds
        return due if self.max_wait is None else max(now, min(due, first + seconds(self.max_wait)))

    def chosen(self, task: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that identify equal calls; see `choice.chosen`."""
        return chosen(self.by, args, subject=f"task {task} is debounced", option="debounce_key")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The place of a debounced call among the equal ones, which its message carries.

    Args:
        key: the key in the result backend.
        window: the number of the window: the calls of one window are followed by one run.
        number: the number of the call in its window; calls at the same moment may have the same.
    """

    key: str
    window: int
    number: int

    def carried(self) -> dict[str, Any]:
        """Return the value of the option `DEBOUNCE` of the message."""
        return {"key": self.key, "window": self.window, "number": self.number}

    @classmethod
    def read(cls, value: Any) -> Place:
        """Read the value of the option `DEBOUNCE` of a received message.

        Raises:
            ConfigurationError: it is not valid.
        """
        fields = value if isinstance(value, Mapping) else {}
        key, window, number = (fields.get(name) for name in ("key", "window", "number"))
        if (
            not isinstance(key, str)
            or not key.startswith(PREFIX)
            or len(key) > LONGEST_KEY
            or type(window) is not int
            or type(number) is not int
            or window < 1
            or number < 1
        ):
            raise ConfigurationError(f"invalid value for the option {DEBOUNCE}: {value!r:.60}")
        return cls(key=key, window=window, number=number)
