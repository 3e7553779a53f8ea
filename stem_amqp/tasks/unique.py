"""Unique tasks: which calls are equal, for how long, and what a second equal call returns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import orjson

from stem_amqp.durations import Duration, seconds, shown
from stem_amqp.errors import ConfigurationError
from stem_amqp.tasks.equal_calls.choice import checked_names, chosen

Until: TypeAlias = Literal["window", "finished"]
Second: TypeAlias = Literal["existing", "error"]

LONGEST_RUN = 86400.0
"""Seconds for which a task that is unique until it has finished blocks equal calls, unless a window
is set. The limit frees the key of a task whose message was purged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unique:
    """Allow only one of several equal calls of a task at a time.

    Args:
        by: names of the arguments that identify equal calls; default: all arguments.
        window: the longest time for which a call blocks equal ones: seconds or a text such as
            ``"1h"``, counted from its enqueue. Default with ``until="finished"``: 1 day.
        until: ``"window"``: for the whole window, whether the task has ended or not;
            ``"finished"``: until the task has ended, or the window has passed.
        second: what a second equal call returns or raises: ``"existing"`` returns a handle of the
            first task; ``"error"`` raises `DuplicateTaskError` with its id.

    Raises:
        ConfigurationError: a value is not valid.
    """

    by: tuple[str, ...] | None = None
    window: Duration | None = None
    until: Until = "window"
    second: Second = "existing"

    def __post_init__(self) -> None:
        object.__setattr__(self, "by", checked_names(self.by))
        for name, choices in (("until", get_args(Until)), ("second", get_args(Second))):
            if getattr(self, name) not in choices:
                raise ConfigurationError(
                    f"{name} must be {' or '.join(map(repr, choices))}, not {shown(getattr(self, name))}"
                )
        if self.window is None and self.until == "window":
            raise ConfigurationError(
                'a unique task needs a window, such as unique="1h", or until="finished"'
            )
        if self.window is not None and seconds(self.window) <= 0:
            raise ConfigurationError(f"window must be longer than 0, not {shown(self.window)}")

    @classmethod
    def parse(cls, value: Unique | Duration | bool) -> Unique | None:
        """Read the option's short forms.

        Args:
            value: a window; True for ``until="finished"``; False for no uniqueness.

        Raises:
            ConfigurationError: the value is not valid.
        """
        if isinstance(value, Unique):
            return value
        if isinstance(value, bool):
            return cls(until="finished") if value else None
        return cls(window=value)

    @property
    def ttl(self) -> float:
        """The longest time for which a call blocks equal ones, in seconds."""
        return LONGEST_RUN if self.window is None else seconds(self.window)

    def chosen(self, task: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that identify equal calls.

        Args:
            task: the task's name, for the error.
            args: JSON values by name, defaults included.

        Raises:
            ConfigurationError: an argument is missing.
        """
        return chosen(self.by, args, subject=f"task {task} is unique", option="unique_key")


def key_of(
    namespace: str, task: str, same: Mapping[str, Any] | str, *, kind: str = "unique"
) -> str:
    """Return the key of a call; equal calls have the same key in every process and release.

    Args:
        namespace: the application's namespace.
        task: the task's name.
        same: the arguments that identify the call, as JSON values; or the caller's key.
        kind: the rule for equal calls: ``unique``, ``debounce`` or ``throttle``.

    Raises:
        ConfigurationError: an argument cannot be written as JSON.
    """
    try:
        canonical = orjson.dumps(same, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise ConfigurationError(
            f"task {task}: an argument by which equal calls are found ({kind}) cannot be written as"
            f" JSON ({error})"
        ) from error
    return f"{kind}:{namespace}:{task}:{hashlib.sha256(canonical).hexdigest()}"
