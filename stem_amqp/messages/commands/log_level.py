"""Levels of the log."""

from __future__ import annotations

import difflib

from stem_amqp.errors import ConfigurationError

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
"""The levels, the most lines first."""


def checked_level(text: str) -> str:
    """Return a level in capitals.

    Raises:
        ConfigurationError: there is no level of that name.
    """
    level = str(text).strip().upper()
    if level not in LEVELS:
        close = difflib.get_close_matches(level, LEVELS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigurationError(
            f"{text!r:.60} is not a log level{hint}\n  The levels are {', '.join(LEVELS)}."
        )
    return level
