"""Refuse commands for tasks that no application and no worker knows; they are probably misspelt."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from stem_amqp.errors import ConfigurationError
from stem_amqp.topology.spec.mistake import did_you_mean

_SHOWN = 8
"""The most names in an error."""


def matches(task: str, known: Iterable[str]) -> bool:
    """Return whether a glob matches a known task."""
    return any(fnmatchcase(name, task) for name in known)


def refuse_unknown(task: str, known: Iterable[str]) -> None:
    """Refuse a glob that matches no known task, if any is known.

    Args:
        task: a glob of task names.
        known: the tasks of the application and of the workers that run.

    Raises:
        ConfigurationError: it matches none.
    """
    names = sorted(known)
    if names and not matches(task, names):
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise ConfigurationError(
            f"no task is named {task!r}{did_you_mean(task, names)}\n"
            f"  Known tasks: {', '.join(names[:_SHOWN])}{more}. A task that only workers have that do not"
            " run now is known with --app"
        )
