"""Keeps exceptions of exporters away from tasks: they are logged."""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

log = logging.getLogger("stem_amqp.observability")

LOG_INTERVAL = 10.0
"""Seconds between two log lines about exceptions of the same method of an exporter."""

R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., object])


def handles_errors(method: F) -> F:
    """Mark a method that logs its exceptions with `noting`: it is called without a function around it.

    One call less is a tenth of what a report costs. A method that overrides it is not marked.
    """
    vars(method)["handles_errors"] = True
    return method


def guarded(method: Callable[..., R], parameters: int) -> Callable[..., R | None]:
    """Return a function that logs exceptions of a method instead of raising them.

    Args:
        method: of an exporter.
        parameters: the number of its parameters. The reports of every task have 1 to 3: functions with
            so many parameters take half as long as one with any number.

    Returns:
        The method itself, if it handles its exceptions.
    """
    if getattr(method, "handles_errors", False):
        return method
    note = noting(method)

    def one(first: Any) -> R | None:
        try:
            return method(first)
        except Exception:  # noqa: BLE001 - logged there
            return note()

    def two(first: Any, second: Any) -> R | None:
        try:
            return method(first, second)
        except Exception:  # noqa: BLE001 - logged there
            return note()

    def three(first: Any, second: Any, third: Any) -> R | None:
        try:
            return method(first, second, third)
        except Exception:  # noqa: BLE001 - logged there
            return note()

    def none() -> R | None:
        try:
            return method()
        except Exception:  # noqa: BLE001 - logged there
            return note()

    call: Callable[..., R | None] = (none, one, two, three)[parameters]
    return functools.wraps(method)(call)


def noting(method: Callable[..., Any]) -> Callable[[], None]:
    """Return a function that logs the current exception of a method, at most once in `LOG_INTERVAL`."""
    logged = float("-inf")

    def note() -> None:
        nonlocal logged
        now = time.monotonic()
        if now - logged >= LOG_INTERVAL:
            logged = now
            error = sys.exception()
            log.error("an exporter failed: %s", name_of(method), exc_info=error)

    return note


def name_of(method: Callable[..., Any]) -> str:
    """Return the name of a function for the log."""
    return getattr(method, "__qualname__", repr(method))
