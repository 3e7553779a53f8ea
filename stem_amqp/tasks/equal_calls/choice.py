"""Which calls of a task are equal: those that agree in the chosen arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stem_amqp.durations import shown
from stem_amqp.errors import ConfigurationError


def checked_names(by: object) -> tuple[str, ...] | None:
    """Return the names of the arguments that identify equal calls; None for all arguments.

    Raises:
        ConfigurationError: the value is not a tuple of names.
    """
    if by is None:
        return None
    if isinstance(by, str):
        raise ConfigurationError(f"by must be a tuple of argument names: write ({shown(by)},)")
    names = tuple(by) if isinstance(by, Iterable) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"by must be a tuple of argument names, not {shown(by)}")
    return names


def chosen(
    by: tuple[str, ...] | None, args: Mapping[str, Any], *, subject: str, option: str
) -> dict[str, Any]:
    """Return the arguments that identify equal calls.

    Args:
        by: their names; None for all arguments.
        args: JSON values by name, defaults included.
        subject: the task and its rule, for the error: ``task orders.sync is unique``.
        option: the option with a key of the caller's own.

    Raises:
        ConfigurationError: an argument is missing.
    """
    if by is None:
        return dict(args)
    missing = [name for name in by if name not in args]
    if missing:
        raise ConfigurationError(
            f"{subject} by {', '.join(missing)}, which this call lacks.\n  Pass it, or a {option}."
        )
    return {name: args[name] for name in by}
