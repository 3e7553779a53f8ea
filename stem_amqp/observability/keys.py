"""The routing keys of the events exchange: ``<event>.<queue>.<task>``."""

from __future__ import annotations

_LIMIT = 255
"""The most bytes of a routing key."""


def event_key(event: str, *rest: str) -> str:
    """Return a routing key; one that is too long is cut.

    Args:
        event: the event's name.
        *rest: the queue and the task, or the worker's name.
    """
    key = ".".join((event, *rest))
    encoded = key.encode(errors="replace")
    return key if len(encoded) <= _LIMIT else encoded[:_LIMIT].decode(errors="ignore")
