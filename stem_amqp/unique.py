"""Unique tasks: which calls count as the same, for how long, and what becomes of the second one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import orjson

from stem_amqp.durations import Duration, seconds
from stem_amqp.errors import ConfigurationError

Until: TypeAlias = Literal["window", "finished"]
Second: TypeAlias = Literal["existing", "error"]

LONGEST_RUN = 86400.0
"""Seconds that a task which is unique until it has finished keeps others away, unless it says more:
so that one that was purged from its queue does not do so for ever."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unique:
    """Of the calls of a task that are the same, one is on its way at a time.

    Args:
        by: names of the arguments in which calls must be the same; default: all of them.
        window: how long a call keeps others away, at most: seconds or a text such as ``"1h"``,
            counted from its enqueue. Default: 1 day, with ``until="finished"``.
        until: ``"window"``: for the whole window, whether the task has ended or not;
            ``"finished"``: until the task has ended for good, or the window is over.
        second: what a second call is given meanwhile: ``"existing"``, a handle of the first task;
            ``"error"``, a `DuplicateTaskError` with its id.

    Raises:
        ConfigurationError: a value cannot be used.
    """

    by: tuple[str, ...] | None = None
    window: Duration | None = None
    until: Until = "window"
    second: Second = "existing"

    def __post_init__(self) -> None:
        if isinstance(self.by, str):
            raise ConfigurationError(f"by takes names of arguments: write ({self.by!r},)")
        if self.by is not None:
            object.__setattr__(self, "by", tuple(self.by))
            if not self.by or not all(isinstance(name, str) for name in self.by):
                raise ConfigurationError(f"by takes names of arguments, not {self.by!r}")
        for name, choices in (("until", get_args(Until)), ("second", get_args(Second))):
            if getattr(self, name) not in choices:
                raise ConfigurationError(
                    f"{name} is {' or '.join(map(repr, choices))}, not {getattr(self, name)!r}"
                )
        if self.window is None and self.until == "window":
            raise ConfigurationError(
                'a unique task needs a window, such as unique="1h", or until="finished"'
            )
        if self.window is not None and seconds(self.window) <= 0:
            raise ConfigurationError(f"window must be longer than nothing, not {self.window!r}")

    @classmethod
    def parse(cls, value: Unique | Duration | bool) -> Unique | None:
        """Read the option's short forms.

        Args:
            value: a window; True for ``until="finished"``; False for no uniqueness.

        Raises:
            ConfigurationError: it is none of them.
        """
        if isinstance(value, Unique):
            return value
        if isinstance(value, bool):
            return cls(until="finished") if value else None
        return cls(window=value)

    @property
    def ttl(self) -> float:
        """Seconds that a call keeps others away, at most."""
        return LONGEST_RUN if self.window is None else seconds(self.window)

    def chosen(self, task: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments in which calls must be the same.

        Args:
            task: the task's name, for the error.
            args: JSON values by name, with the defaults.

        Raises:
            ConfigurationError: one of them is not there.
        """
        if self.by is None:
            return dict(args)
        missing = [name for name in self.by if name not in args]
        if missing:
            raise ConfigurationError(
                f"task {task} is unique by {', '.join(missing)}, which this call does not have.\n"
                "  Give it, or a unique_key of your own."
            )
        return {name: args[name] for name in self.by}


def key_of(namespace: str, task: str, same: Mapping[str, Any] | str) -> str:
    """Return the key of a call, which is the same in every process and release.

    Args:
        namespace: the application's.
        task: the task's name.
        same: the chosen arguments, JSON values; or a key of the caller's own.

    Raises:
        ConfigurationError: an argument cannot be written as JSON.
    """
    try:
        canonical = orjson.dumps(same, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise ConfigurationError(
            f"task {task}: what it is unique by cannot be written as JSON ({error})"
        ) from error
    return f"unique:{namespace}:{task}:{hashlib.sha256(canonical).hexdigest()}"
